"""How tests of our kernels run under sanitizers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from hdrunet_video.network import native_structs as structs
from hdrunet_video.network.native_team import Team

from .native_cases import EMULATED


@pytest.fixture(autouse=True, scope="session")
def scratch_of_each_call() -> Iterator[None]:
    """Under sanitizers, so that they see what is read or written beyond it: it is kept for the next call otherwise."""

    def having(team: Team, floats: int) -> structs.Team:
        team._own.scratch = torch.empty(floats)
        return structs.Team(1, team._parallel, team._number, team._own.scratch.data_ptr(), floats)

    with pytest.MonkeyPatch.context() as patch:
        if EMULATED:
            patch.setattr(Team, "having", having)
        yield
