from __future__ import annotations

import ast
import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hdrunet_video
from hdrunet_video.metrics import flow
from hdrunet_video.network.config import HDRUNetConfig
from hdrunet_video.network.hdrunet import HDRUNet
from hdrunet_video.network.weights import save_network
from hdrunet_video.training import images
from hdrunet_video.training.evaluate import main
from hdrunet_video.training.evaluation.models import load_models
from tests.conftest import ffmpeg

BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights that is small enough to be quick."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(HDRUNet(HDRUNetConfig(channels=4, condition_channels=4, sft_channels=4, blocks=(1, 1, 1))), path)
    return path


def test_end_to_end(pairs: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "deep" / "report"
    arguments = ["identity", "bt2446a", f"net={weights}", "--pairs", str(pairs), "-o", str(report), "--figures", "2"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "Means over 4 pictures of 3 scenes" in shown
    assert "Better than identity" in shown
    assert {path.name for path in report.iterdir()} == {
        *("figures", "index.html", "tables.txt", "tables.md", "pictures.csv", "means.csv")
    }
    rows = list(csv.DictReader((report / "pictures.csv").read_text().splitlines()))
    assert [(row["picture"], row["model"]) for row in rows[:4]] == [
        ("beach_00", "identity"),
        ("beach_00", "bt2446a"),
        ("beach_00", "net"),
        ("lamp", "identity"),
    ]
    # The same number from the files, by the challenge's formula in numpy.
    x = images.read_8bit(pairs / "sdr" / "lamp.png") / 255
    y = np.load(pairs / "hdr" / "lamp.npy").astype(np.float64)
    light, true = x**2.24, y**2.24
    norm = np.percentile(true, 99)
    mu = [np.log(1 + 5000 * np.tanh(each / norm)) / np.log(5001) for each in (light, true)]
    assert float(rows[3]["psnr_mu"]) == pytest.approx(-10 * np.log10(np.mean((mu[0] - mu[1]) ** 2)), abs=1e-4)
    assert float(rows[3]["psnr_l"]) == pytest.approx(-10 * np.log10(np.mean(((x - y) / y.max()) ** 2)), abs=1e-4)
    means = list(csv.DictReader((report / "means.csv").read_text().splitlines()))
    expected = np.mean([float(row["psnr_mu"]) for row in rows if row["model"] == "identity"])
    assert float(means[0]["mean"]) == pytest.approx(expected)
    assert float(means[0]["low"]) <= expected <= float(means[0]["high"])
    first = (report / "tables.md").read_bytes(), (report / "pictures.csv").read_bytes()
    assert main(arguments[:-2]) == 0
    assert first == ((report / "tables.md").read_bytes(), (report / "pictures.csv").read_bytes())


def test_flicker_and_a_single_model(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["identity", "--pairs", str(pairs), "--flicker", "--limit", "1"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[-3:] == ["-", "-", "-"]  # too small
    picture = np.random.default_rng(0).random((72, 80, 3)).astype(np.float32)
    images.write_png(pairs / "sdr" / "a.png", np.rint(picture * 255).astype(np.uint8))
    np.save(pairs / "hdr" / "a.npy", picture)
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "Better than" not in shown
    assert "flicker pan (of source)" in shown
    assert shown.splitlines()[3].split()[-3:] == ["1.00", "1.00", "0.00"]


def moving_clip(folder: Path) -> None:
    """Twelve frames of 96x72 of a window over a picture, lossless."""
    random = np.random.default_rng(0)
    coarse = random.integers(30, 200, (30, 40, 3)).astype(np.uint8)
    images.write_png(folder / "still.png", coarse)
    ffmpeg(
        *("-loop", "1", "-i", folder / "still.png", "-frames:v", "12", "-pix_fmt", "yuv444p", "-c:v", "libx264"),
        *("-vf", "scale=160:120:flags=bicubic:out_color_matrix=bt709,crop=96:72:4+n*2:30-n"),
        *("-qp", "0", *BT709, folder / "pan_00.mkv"),
    )


@pytest.mark.skipif(not flow.is_installed(), reason="OpenCV is not installed")
def test_clips(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moving_clip(tmp_path)
    report = tmp_path / "report"
    arguments = ["identity", "expansion", f"net={weights}", "--clips", str(tmp_path)]
    assert main([*arguments, "-o", str(report)]) == 0
    assert "Better than identity" in capsys.readouterr().out
    rows = {row["model"]: row for row in csv.DictReader((report / "pictures.csv").read_text().splitlines())}
    assert rows["identity"] == {
        **{"picture": "pan_00.mkv", "scene": "pan", "model": "identity", "flow_added": "0.0", "flow_p99": "0.0"},
        **{"flow_ratio": "1.0", "detail": "1.0", "pumping": "0.0"},
    }
    # One gain for all frames: about as many codes more as the picture has more contrast.
    assert float(rows["expansion"]["flow_ratio"]) == pytest.approx(float(rows["expansion"]["detail"]), rel=0.1)
    assert float(rows["net"]["flow_ratio"]) > 0


def test_clips_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    take = ["identity", "--clips", str(tmp_path)]
    monkeypatch.setattr(flow, "is_installed", lambda: True)
    for arguments, code, message in (
        (take, 65, "text.mp4"),
        ([*take, "--flicker"], 2, "--flicker needs pairs"),
        ([*take, "--save-pairs", "x"], 2, "--save-pairs needs pairs"),
        (["identity", "--clips", str(tmp_path / "none")], 65, "is not a folder of clips"),
        (["identity", "--clips", str(Path(__file__).parent)], 65, "has no clips"),
    ):
        assert main(arguments) == code, arguments
        assert message in capsys.readouterr().err
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x24:d=0.5", "-c:v", "ffv1", tmp_path / "a.mkv")
    assert main(take) == 65
    assert "a.mkv is 64x24, too small for optical flow" in capsys.readouterr().err
    monkeypatch.setattr(flow, "is_installed", lambda: False)
    assert main(take) == 2
    assert "pip install 'hdrunet-video[flow]'" in capsys.readouterr().err


def test_models(weights: Path) -> None:
    picture = torch.rand(1, 3, 10, 14, generator=torch.Generator().manual_seed(0))
    identity, network, named = load_models(["identity", str(weights), f"again={weights}"])
    assert [model.label for model in (identity, network, named)] == ["identity", "tiny", "again"]
    assert torch.equal(identity(picture), picture)
    assert network(picture).shape == picture.shape
    assert torch.equal(network(picture), named(picture))


def test_mistakes_are_one_sentence(
    pairs: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "file").write_text("")
    take = ["--pairs", str(pairs)]
    for arguments, code, message in (
        (["nonsense", *take], 2, "neither a file of weights nor a model"),
        ([str(broken), *take], 65, "broken.pth"),
        (["identity", "identity", *take], 2, "two models are called"),
        (["identity", "--pairs", str(tmp_path)], 65, "no pairs"),
        (["identity", *take, "--figures", "1"], 2, "--figures needs a folder"),
        (["identity", *take, "--over", "hdrunet"], 2, "not among the models"),
        (["identity", *take, "--device", "cuda:99"], 2, "cannot be used"),
        (["identity", *take, "-o", str(tmp_path / "file" / "x")], 73, "cannot be made"),
        (["identity", *take, "--scenes", "none"], 2, "no picture has a scene"),
        (["identity", *take, "--split", "held-out"], 2, "--split needs --views"),
        (["identity", "--ntire", str(pairs), "--split", "all"], 2, "--split needs --views"),
        (["identity", "--clips", str(pairs), "--split", "train"], 2, "--split needs --views"),
    ):
        assert main(arguments) == code, arguments
        shown = capsys.readouterr().err
        assert shown.startswith("python -m hdrunet_video.training evaluate: error: ")
        assert message in shown
        assert "hint: " in shown
        assert len(shown.splitlines()) == 2


def test_labels_that_differ_by_a_sign_have_pictures_of_their_own(pairs: Path, tmp_path: Path) -> None:
    models = ["lr 1=identity", "lr:1=identity", "lr_1=identity"]
    report = tmp_path / "report"
    assert main([*models, "--pairs", str(pairs), "--limit", "1", "-o", str(report), "--figures", "1"]) == 0
    shown = re.findall(r'src="([^"]+)"', (report / "index.html").read_text())
    assert len(shown) == len(set(shown))
    assert all((report / each).is_file() for each in shown)


def test_as_a_command(pairs: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "hdrunet_video.training.evaluate",
        "identity",
        "--pairs",
        str(pairs),
        "--limit",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Each picture" in done.stdout


def test_the_runtime_imports_none_of_it() -> None:
    root = Path(hdrunet_video.__file__).parent
    for path in (
        *root.glob("*.py"),
        *root.glob("color/*.py"),
        *root.glob("network/*.py"),
        *root.glob("baselines/*.py"),
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            for name in names:
                assert not {"metrics", "training"} & set(name.split(".")), f"{path} imports {name}"
