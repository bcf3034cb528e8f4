from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Expected values, computed with colour-science alone. Its key "columns" says what each group holds."""
    vectors: dict[str, Any] = json.loads(Path(__file__).with_name("color_vectors.json").read_text())
    return vectors
