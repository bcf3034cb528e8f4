"""Linear expansion: all light is multiplied so that SDR white becomes the peak, what a display's "vivid" does."""

from __future__ import annotations

from torch import Tensor


class Expansion:
    """(B, 3, H, W) signal -> the same, times one constant.

    The light of signal 1.0 becomes `peak` cd/m2 where the light mapping has `white` and `display_gamma`. A roll-off
    that follows (to_nits) comes on top, as it does for every model.
    """

    halo = (0, 0)
    """A pixel sees itself only, so tiles need nothing around them."""

    def __init__(self, peak: float = 1000.0, white: float = 203.0, display_gamma: float = 2.24) -> None:
        if not peak >= white > 0.0:
            raise ValueError(f"a peak of {peak:g} cd/m2 is below white, {white:g} cd/m2")
        self.gain = float((peak / white) ** (1.0 / display_gamma))
        """Factor of the signal; the factor of the light is its power of display_gamma, peak / white."""

    def __call__(self, signal: Tensor) -> Tensor:
        return signal * self.gain
