"""Frames -> OpenEXR files, one a frame: half float, linear BT.2020 light, 1.0 = reference white."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np

from .errors import PresetError, write_error
from .frame import Frame
from .receipts import sync
from .sequence import numbered
from .writer import WriterSpec

BT2020_CHROMATICITIES = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
"""x, y of red, green, blue and white (Rec. ITU-R BT.2020 table 3): the `chromaticities` attribute."""


class ExrWriter:
    """Writes the frames of one segment into a folder of its own, one file each; the contract of `Writer`.

    `pattern` is the file name with a frame number (`out.%06d.exr`), `white` the luminance of 1.0 in cd/m2.
    """

    def __init__(self, folder: Path, spec: WriterSpec, pattern: str, first_number: int, white: float) -> None:
        self._folder, self._spec, self._white = folder, spec, white
        self._pattern, self._number = pattern, first_number
        try:
            folder.mkdir()
        except OSError as error:
            raise write_error(error, folder) from None

    def write(self, frame: Frame) -> None:
        """Write one frame of float32 planes R, G, B."""
        path = self._folder / numbered(self._pattern, self._number)
        self._number += 1
        write_exr(path, frame, self._spec, self._white)

    def close(self) -> None:
        """Nothing is left to do: each file was complete when it was written."""

    def abandon(self) -> None:
        """Give the segment up and remove its folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def write_exr(path: Path, frame: Frame, spec: WriterSpec, white: float) -> None:
    """One OpenEXR file with the attributes `chromaticities` and `whiteLuminance`."""
    import OpenEXR  # the extra [exr]; job.py has checked that it is there

    name = f"{spec.preset.options.get('compression', 'zip').upper()}_COMPRESSION".replace("NONE_", "NO_")
    if not hasattr(OpenEXR, name):
        raise PresetError(
            f"OpenEXR has no compression {name.removesuffix('_COMPRESSION').lower()!r}", "Try zip or dwaa."
        )
    header = {
        "compression": getattr(OpenEXR, name),
        "type": OpenEXR.scanlineimage,
        "chromaticities": BT2020_CHROMATICITIES,
        "whiteLuminance": float(white),
        "pixelAspectRatio": float(spec.sample_aspect_ratio),
    }
    # Half float ends at 65504; 10000 cd/m2 over a white of 50 is 200.
    pixels = np.stack([plane.numpy() for plane in frame.planes], axis=-1).astype(np.float16)
    try:
        with OpenEXR.File(header, {"RGB": pixels}) as file:
            file.write(str(path))
        sync(path)
    except (OSError, RuntimeError) as error:
        raise write_error(_with_number(error), path) from None


def _with_number(error: Exception) -> Exception:
    """OpenEXR tells what the system said in words alone."""
    for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        if os.strerror(number) in str(error):
            return OSError(number, os.strerror(number))
    return error
