"""What was compared is told at the end, place by place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_SAID: list[str] = []


@pytest.fixture
def tell() -> Callable[[str], None]:
    return _SAID.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _SAID:
        terminalreporter.section("conformance")
        for line in _SAID:
            terminalreporter.write_line(line)
