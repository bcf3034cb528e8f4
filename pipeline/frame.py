"""Frame: the one thing that flows from the reader to the writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .color.spec import ColorSpec, PixelFormat

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LightLevels:
    """Light of one frame or, merged, of a film (CTA-861.3 annex P): the source of MaxCLL and MaxFALL."""

    max_nits: float = 0.0
    """Largest max(R, G, B) of any pixel, cd/m2."""
    average_nits: float = 0.0
    """Mean of max(R, G, B) over the active picture, cd/m2; of a film, the largest such mean."""

    def merge(self, other: LightLevels) -> LightLevels:
        """Levels of both together. Merging is order-free, so segments may finish in any order."""
        return LightLevels(max(self.max_nits, other.max_nits), max(self.average_nits, other.average_nits))


@dataclass(frozen=True)
class Frame:
    """One picture: its planes, what their numbers mean, and when it is shown."""

    planes: tuple[Tensor, ...]
    """One (rows, columns) tensor a component, in the order Y Cb Cr, R G B or Y: uint8, uint16, or float32 or
    float16 where `format.is_float`. Subsampled chroma planes are smaller; see PixelFormat.plane_shapes."""
    format: PixelFormat
    """Component model, depth and subsampling of `planes`."""
    color: ColorSpec
    """What the integers mean."""
    pts: int = 0
    """Presentation time in the stream's time base."""
    light: LightLevels | None = None
    """Measured on HDR frames only."""

    def __post_init__(self) -> None:
        shapes = tuple(tuple(plane.shape) for plane in self.planes)
        if not shapes or shapes != self.format.plane_shapes(self.width, self.height):
            raise ValueError(f"planes of shapes {shapes} are not a {self.format.name} picture")

    @property
    def width(self) -> int:
        """Columns of the luma (or red) plane."""
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        """Rows of the luma (or red) plane."""
        return int(self.planes[0].shape[0])

    def __repr__(self) -> str:
        return f"Frame({self.width}x{self.height} {self.format.name}, pts={self.pts})"
