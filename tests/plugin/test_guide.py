"""The README's section on VapourSynth does what it says; the stub says what the library takes."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from vapoursynth import core

from tests.conftest import mediainfo

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").split("## VapourSynth\n")[1].split("\n## ")[0]


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "film.vpy").write_text(block("py"))
    return tmp_path


def commands() -> list[str]:
    lines = re.sub(r"\\\n *", "", block("sh")).splitlines()
    return [line for line in lines if line.startswith("vspipe ")]


def shell(command: str, folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def test_hdr10_through_a_pipe(folder: Path) -> None:
    if shutil.which("x265") is None:
        pytest.skip("x265 is not installed")
    shell(commands()[0], folder)
    facts = mediainfo(folder / "film.hevc")
    assert facts["transfer_characteristics"] == "PQ"
    assert facts["colour_primaries"] == "BT.2020"
    assert facts["BitDepth"] == "10"
    assert facts["MasteringDisplay_ColorPrimaries"] == "Display P3"
    assert facts["MasteringDisplay_Luminance"] == "min: 0.0001 cd/m2, max: 1000 cd/m2"


def test_chunk(folder: Path) -> None:
    shell(commands()[1], folder)
    whole = folder / "whole.y4m"
    shell(f"vspipe -c y4m film.vpy {whole}", folder)
    frames = whole.read_bytes().split(b"FRAME\n")
    assert (folder / "chunk-2-4.y4m").read_bytes().split(b"FRAME\n")[1:] == frames[3:6]


def test_stub_has_the_librarys_arguments() -> None:
    tree = ast.parse((ROOT / "plugin" / "__init__.pyi").read_text(encoding="utf-8"))
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "Reconstruct")
    stub = [argument.arg for argument in function.args.args][1:]
    library = [entry.split(":")[0] for entry in core.hdrunet.Reconstruct.signature.split(";") if entry]
    assert stub == library
    for name in library[1:]:
        assert f"`{name}`" in SECTION


def test_core_for_editors() -> None:
    import hdrunet_video.plugin

    assert hdrunet_video.plugin.core is core
    with pytest.raises(AttributeError, match="no attribute 'cor'"):
        hdrunet_video.plugin.cor  # type: ignore[attr-defined]  # noqa: B018
