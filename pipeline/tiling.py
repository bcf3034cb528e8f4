"""Which tiles frames are computed in: what a device has memory for."""

from __future__ import annotations

import logging
import threading

import torch
from torch import Tensor

from .device import total_memory
from .errors import RetryError, UsageError
from .frame import Frame
from .network.hdrunet import HDRUNet
from .network.tiles import Network, Size, choose_tile, run_in_tiles, smaller_tile

_SHARE_OF_MEMORY = 0.5
"""The rest is for the decoder, the encoder and other programs; running out of it makes tiles smaller."""
_log = logging.getLogger(__name__)


class Tiling:
    """Tiles of one network on one device, from any thread.

    tile: `auto`, `off`, or (width, height). halo: as HDRUNet.halo; None for a network that sees the whole picture.
    bytes_per_pixel: peak of a frame from planes to planes. Raises UsageError for a tile that cannot be.
    """

    def __init__(
        self, tile: str | Size, halo: tuple[int, int] | None, device: torch.device, bytes_per_pixel: int
    ) -> None:
        self._halo, self._device, self._bytes_per_pixel = halo, device, bytes_per_pixel
        self._lock = threading.Lock()
        self.tile = _checked(tile, halo)
        """As asked for, or smaller where the device ran out of memory."""

    def of(self, width: int, height: int) -> Size | None:
        """Width and height of the tiles that a frame of this size is computed in; None where in one piece.

        `auto` depends on the frame's size and on the memory that the device has in all, not on what is free,
        so that a run that goes on later computes the same.
        """
        if isinstance(self.tile, tuple):
            return None if self.tile[0] >= width and self.tile[1] >= height else self.tile
        if self.tile == "off" or self._halo is None:
            return None
        return choose_tile(width, height, self._halo, self._memory() // self._bytes_per_pixel)

    def bytes_of(self, width: int, height: int) -> int:
        """Memory that a frame of this size takes at its peak, in its tiles."""
        tile, halo = self.of(width, height), sum(self._halo or (0, 0))
        if tile is not None:
            width, height = min(width, tile[0] + halo), min(height, tile[1] + halo)
        return width * height * self._bytes_per_pixel

    def frames_that_fit(self, width: int, height: int) -> int:
        """Frames of this size that there is memory for at the same time; at least 1."""
        return max(1, self._memory() // self.bytes_of(width, height))

    def run(self, network: Network, signal: Tensor, tile: Size | None) -> Tensor:
        """network(signal), in one piece where `tile` is None."""
        if tile is None or self._halo is None:
            return network(signal)
        return run_in_tiles(network, signal, tile, self._halo)

    def shrink(self, frame: Frame, used: Size | None, repeat: bool) -> Size | None:
        """The tiles to go on with where memory did not do for those `used`: for all frames, or for a repeat alone,
        whose fp32 takes more than they do. Raises RetryError where there are no smaller ones."""
        with self._lock:
            now = self.of(frame.width, frame.height)
            if not repeat and now != used:
                return now  # another thread's frame has done it
            tile = smaller_tile(frame.width, frame.height, used) if self._halo is not None else None
            if tile is None:
                raise RetryError(
                    f"a frame of {frame.width}x{frame.height} does not fit in the memory of {self._device}",
                    "end other programs on it or take a machine with more; the same command goes on",
                )
            if not repeat:
                self.tile = tile
        meant = f"computing {frame!r} again" if repeat else "going on"
        _log.warning("out of memory on %s: %s with tiles of %dx%d", self._device, meant, *tile)
        return tile

    def _memory(self) -> int:
        return int(total_memory(self._device) * _SHARE_OF_MEMORY)


def _checked(tile: str | Size, halo: tuple[int, int] | None) -> str | Size:
    if tile in ("auto", "off"):
        return tile
    if not isinstance(tile, tuple) or len(tile) != 2 or min(tile) < HDRUNet.MULTIPLE:
        raise UsageError(f"{tile!r} is not a tile", "--tile takes auto, off or WIDTHxHEIGHT, at least 4x4")
    if halo is None:
        raise UsageError("this network sees the whole picture, so it cannot have tiles", "give --tile off")
    return tile
