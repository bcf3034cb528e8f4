"""What every refusal has in common: one sentence, a hint, the right exit code, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdrunet_video.cli import main

SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=0.5")
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "6")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder, hidden ones too, and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def check_failure(arguments: list[str], code: int, says: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    assert main([*arguments, "--model", "identity"] if "--weights" not in arguments else arguments) == code
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert [line.startswith("hdrunet-video: error: ") for line in lines].count(True) == 1, output.err
    assert says in output.err
    (hint,) = [line for line in lines if line.startswith("  hint: ")]
    assert len(hint) > len("  hint: ") + 5
    assert "Traceback" not in output.err
    assert output.out == ""
    assert contents(folder) == before
