from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hdrunet_video.color.primaries import CHROMATICITIES, to_bt2020
from hdrunet_video.color.spec import Primaries


@pytest.mark.parametrize(
    ("primaries", "name"),
    [
        (Primaries.BT709, "bt709_to_bt2020"),
        (Primaries.SMPTE170M, "bt601_525_to_bt2020"),
        (Primaries.SMPTE240M, "bt601_525_to_bt2020"),
        (Primaries.BT470BG, "bt601_625_to_bt2020"),
        (Primaries.DISPLAY_P3, "p3d65_to_bt2020"),
    ],
)
def test_matrices_are_the_published_ones(vectors: dict[str, Any], primaries: Primaries, name: str) -> None:
    np.testing.assert_allclose(to_bt2020(primaries), vectors["matrices"][name], rtol=0, atol=1e-9)


def test_matrices_to_bt709_follow(vectors: dict[str, Any]) -> None:
    from_bt2020 = np.linalg.inv(to_bt2020(Primaries.BT709))
    expected = vectors["matrices"]
    np.testing.assert_allclose(from_bt2020, expected["bt2020_to_bt709"], rtol=0, atol=1e-9)
    for primaries, name in (
        (Primaries.SMPTE170M, "bt601_525_to_bt709"),
        (Primaries.BT470BG, "bt601_625_to_bt709"),
    ):
        np.testing.assert_allclose(from_bt2020 @ to_bt2020(primaries), expected[name], rtol=0, atol=1e-9)


# Made with colour-science 0.4.7: normalised_primary_matrix and, for other whites than D65,
# matrix_chromatic_adaptation_VonKries with Bradford.
@pytest.mark.parametrize(
    ("primaries", "expected"),
    [
        (
            Primaries.BT470M,
            [
                [0.9229760709553066, 0.05904232723629588, 0.01798160180839728],
                [0.07929859850508333, 0.8488786623222938, 0.07182273917262222],
                [-0.002230669350124464, 0.03786054113417193, 0.9643701282159524],
            ],
        ),
        (
            Primaries.FILM,
            [
                [0.8280657516735249, 0.13556471750751137, 0.0363695308189634],
                [0.04922976656168996, 0.9561433273415815, -0.005373093903271849],
                [-0.0015048148753641056, 0.033355103068196654, 0.9681497118071671],
            ],
        ),
        (
            Primaries.EBU3213,
            [
                [0.6495566958741417, 0.29545104576800035, 0.0549922583578577],
                [0.08865517279450928, 0.8698992991368205, 0.04144552806866996],
                [0.01692746563743332, 0.08171219149345871, 0.901360342869108],
            ],
        ),
        (
            Primaries.DCI_P3,
            [
                [0.7117832306885635, 0.24366031693026813, 0.044556452381167885],
                [0.04161516364649374, 0.9498416296589851, 0.00854320669452109],
                [-0.0008447283635059965, 0.019109507175969192, 0.9817352211875368],
            ],
        ),
        (Primaries.BT2020, np.eye(3)),
    ],
)
def test_rarer_primaries(primaries: Primaries, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(to_bt2020(primaries), expected, rtol=0, atol=1e-9)


def test_color_checker_patches(vectors: dict[str, Any]) -> None:
    for patch in vectors["patches709_2020"]:
        moved = to_bt2020(Primaries.BT709) @ patch["lin709"]
        np.testing.assert_allclose(moved, patch["lin2020"], rtol=0, atol=1e-9, err_msg=patch["name"])
        luminance = np.dot([0.26270021, 0.67799807, 0.05930172], moved)
        assert luminance == pytest.approx(patch["xyz"][1], abs=1e-7)


@pytest.mark.parametrize("primaries", CHROMATICITIES)
def test_grey_stays_grey(primaries: Primaries) -> None:
    np.testing.assert_allclose(to_bt2020(primaries) @ np.ones(3), np.ones(3), rtol=0, atol=1e-12)


def test_the_cached_matrix_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        to_bt2020(Primaries.BT709)[0, 0] = 0


@pytest.mark.parametrize("primaries", [Primaries.UNSPECIFIED, Primaries.XYZ])
def test_primaries_that_are_no_source_are_refused(primaries: Primaries) -> None:
    with pytest.raises(ValueError, match=primaries.name):
        to_bt2020(primaries)
