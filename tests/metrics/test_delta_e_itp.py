from __future__ import annotations

import pytest
import torch

from hdrunet_video.metrics.delta_e_itp import delta_e_itp, delta_e_itp_map, ictcp
from hdrunet_video.metrics.light import GAMMA, WHITE_NITS, bt2020_nits

# colour-science 0.4.7: RGB_to_ICtCp(light, method="ITU-R BT.2100-2 PQ") (its difference.delta_E_ITP below).
_LIGHT = ((100.0, 100.0, 100.0), (203.0, 10.0, 5.0), (4000.0, 3000.0, 50.0), (0.5, 0.2, 0.1))
_ICTCP = (
    (0.508078421517399, 0.0, 0.0),
    (0.45982833752381047, -0.08968773080835366, 0.33879292439337316),
    (0.8722901982828413, -0.356473854833111, 0.09045399890794553),
    (0.09398183358163645, -0.021316624347612636, 0.04806045905568255),
)


def _column(colors: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """Colours as a picture (3, N, 1)."""
    return torch.tensor(colors, dtype=torch.float64).T[..., None]


def test_ictcp_is_colour_science_s() -> None:
    assert torch.allclose(ictcp(_column(_LIGHT)), _column(_ICTCP), rtol=0, atol=1e-9)


def test_delta_is_colour_science_s() -> None:
    # The same library: RGB_to_RGB of 203 * signal ** 2.24 from BT.709 to BT.2020, then as above.
    first = _column(((0.5, 0.5, 0.5), (1.8, 0.3, 0.2), (0.02, 0.05, 0.9), (2.5, 2.4, 1.9)))
    second = _column(((0.52, 0.5, 0.5), (2.0, 0.33, 0.2), (0.02, 0.06, 0.85), (2.0, 2.0, 2.0)))
    expected = (4.060894196868783, 18.022955450381204, 7.639963904408038, 40.286441664598364)
    # Its matrix is rounded to four decimals, ours is not.
    assert delta_e_itp_map(first, second)[:, 0].tolist() == pytest.approx(expected, rel=1e-3)
    assert delta_e_itp(first, second) == pytest.approx(sum(expected) / 4, rel=1e-3)


def test_grey_at_two_brightnesses() -> None:
    def grey(nits: float) -> torch.Tensor:
        return torch.full((3, 4, 4), (nits / WHITE_NITS) ** (1 / GAMMA), dtype=torch.float64)

    # A grey's difference is 720 times that of its PQ signals: 100 cd/m2 is 0.508078, 203 is 0.580689 (ST 2084).
    assert delta_e_itp(grey(203.0), grey(100.0)) == pytest.approx(720 * (0.580689 - 0.508078), abs=1e-3)
    assert delta_e_itp(grey(203.0), grey(203.0)) == 0.0
    assert delta_e_itp_map(grey(50.0), grey(60.0)).shape == (4, 4)
    assert bt2020_nits(grey(203.0)) == pytest.approx(torch.full((3, 4, 4), 203.0, dtype=torch.float64))


def test_hue_counts() -> None:
    grey = torch.full((3, 2, 2), 0.5)
    red = grey * torch.tensor([1.02, 0.99, 1.0])[:, None, None]
    assert 1.0 < delta_e_itp(red, grey) < delta_e_itp(red * torch.tensor([1.1, 1.0, 1.0])[:, None, None], grey)
