from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from hdrunet_video import options
from hdrunet_video.baselines import MODELS
from hdrunet_video.baselines.bt2446a import BT2446A, expand
from hdrunet_video.baselines.expansion import Expansion
from hdrunet_video.color.light import LightMapping
from hdrunet_video.color.spec import Primaries
from hdrunet_video.color.tone import to_nits

NO_ROLL_OFF = LightMapping(peak=10000.0)


def _grey(*values: float) -> torch.Tensor:
    return torch.tensor(values)[None, None, None].expand(1, 3, 1, -1).contiguous()


def _light(signal: torch.Tensor) -> torch.Tensor:
    return to_nits(signal, Primaries.BT709, NO_ROLL_OFF)


@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str) -> None:
    signal = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))
    signal[:, :, 0] = 0.0
    signal[:, :, 1] = 1.0
    model, before = MODELS[name](), signal.clone()
    result = model(signal)
    assert result.shape == signal.shape
    assert result.dtype == torch.float32
    assert bool(result.isfinite().all())
    assert bool((result >= 0.0).all())
    assert torch.equal(signal, before)
    # A pixel stands alone: tiles of any kind give the same.
    assert torch.equal(model(signal[..., 2:5, 3:6]), result[..., 2:5, 3:6])
    grey = torch.linspace(0, 1, 256)[None, None, None].expand(1, 3, 1, 256).contiguous()
    made = model(grey)
    assert bool((made[0, 0, 0].diff() > 0).all())
    assert torch.allclose(made[:, :1].expand_as(made), made, rtol=0, atol=1e-5)


def test_expansion_takes_white_to_the_peak_and_keeps_ratios() -> None:
    colors = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert _light(Expansion()(_grey(1.0))) == pytest.approx(torch.full((1, 3, 1, 1), 1000.0), rel=1e-5)
    assert torch.allclose(_light(Expansion(600.0)(colors)), _light(colors) * (600.0 / 203.0), rtol=1e-4)
    with pytest.raises(ValueError, match="below white"):
        Expansion(peak=100.0)


def test_bt2446a_values_of_the_report() -> None:
    # Worked out from table 4 in double precision: Y'' = 255 Y', E of Y'', Y'' ** E thousandths to the power of 2.4.
    codes = torch.tensor([0.0, 10.0, 69.0, 128.0, 200.0, 255.0], dtype=torch.float64)
    expected = []
    for code in codes.tolist():
        a, b, c = (1.8712e-5, -2.7334e-3, 1.3141) if code <= 70 else (2.8305e-6, -7.4622e-4, 1.2528)
        expected.append(1000.0 * (code ** (a * code**2 + b * code + c) / 1000.0) ** 2.4)
    signal = (codes / 255)[None, None, None].expand(1, 3, 1, -1)
    made = expand(signal)
    assert made[0, 1, 0].tolist() == pytest.approx(expected, rel=1e-9)
    assert expected[-1] == pytest.approx(1000.0, rel=1e-3)
    # The same through the contract: signal of BT.709 in, signal out.
    light = _light(BT2446A()(signal.to(torch.float32)))
    assert light[0, 1, 0].tolist() == pytest.approx(expected, rel=2e-3, abs=1e-3)


def test_bt2446a_of_a_colour() -> None:
    # BT.2020 R' = 0.8, G' = 0.4, B' = 0.2, by hand: Y' 0.49322, Y'' 125.77, E 1.20372, Y'hdr 336.9.
    signal = torch.tensor([0.8, 0.4, 0.2], dtype=torch.float64)[None, :, None, None]
    luma = 0.2627 * 0.8 + 0.6780 * 0.4 + 0.0593 * 0.2
    code = 255 * luma
    bright = code ** (2.8305e-6 * code**2 - 7.4622e-4 * code + 1.2528)
    gain = 1.075 * bright / luma
    red = bright + (0.8 - luma) * gain
    blue = bright + (0.2 - luma) * gain
    made = expand(signal)[0, :, 0, 0].tolist()
    assert made[0] == pytest.approx(1000 * (red / 1000) ** 2.4, rel=1e-6)
    assert made[2] == pytest.approx(1000 * (max(blue, 0.0) / 1000) ** 2.4, rel=1e-6)
    assert made[0] > made[1] > made[2]


def test_hue_is_kept_in_order() -> None:
    colors = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 0.9
    for name in MODELS:
        assert torch.equal(MODELS[name]()(colors).argmax(dim=1), colors.argmax(dim=1))


def test_the_command_line_knows_them_without_torch() -> None:
    shown = options.parser().format_help()
    for name in MODELS:
        assert name in shown
    program = (
        "import sys; from hdrunet_video.baselines import MODELS; sys.exit('torch' in sys.modules or len(MODELS) < 3)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
