"""Networks are trained once a session, each framework in its own environment; without that its tests are skipped."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from frameworks.cases import Case
from frameworks.comparison import Comparison, compare, python_of, run_side


def require(framework: str) -> None:
    if python_of(framework) is None:
        pytest.skip(f"{framework} has no environment here; `make peers-envs` makes it")


@cache
def _compared(case: Case, root: Path) -> Comparison:
    folder = root / case.framework
    if not folder.exists():
        run_side(case.framework, "train_and_export", folder)
    return compare(case, folder)


@pytest.fixture(scope="session")
def trained_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frameworks")


@pytest.fixture
def comparison(case: Case, trained_networks: Path) -> Comparison:
    require(case.framework)
    return _compared(case, trained_networks)
