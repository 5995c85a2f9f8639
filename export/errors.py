"""The error family: each message names the node, the numbers and the next step.

Every error that a user can cause derives from `SpikegraphError`; the command line prints its text without a traceback
and exits with `exit_code`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong with a graph: where, what (with the numbers), and what to do about it.

    `found` and `limit` are those numbers again, for programs to read; None where there is no such number.
    """

    where: str
    what: str
    remedy: str
    found: int | str | None = field(default=None, compare=False)
    limit: int | str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


class SpikegraphError(Exception):
    """Base of every error that a user can cause.

    Parameters
    ----------
    where : str
        The node, file or option at fault.
    what : str
        What is wrong, with the value found and the limit.
    remedy : str
        What to do next.
    found, limit : int or str, optional
        See `Problem`.
    """

    exit_code = 2

    def __init__(
        self, where: str, what: str, remedy: str, found: int | str | None = None, limit: int | str | None = None
    ) -> None:
        self.problem = Problem(where=where, what=what, remedy=remedy, found=found, limit=limit)
        super().__init__(str(self.problem))


class GraphError(SpikegraphError):
    """A graph is not legal; carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.where, first.what, first.remedy)
        if len(self.problems) > 1:
            self.args = (f"{len(self.problems)} problems:\n" + "\n".join(f"  {problem}" for problem in self.problems),)


class FileFormatError(SpikegraphError):
    """A file is not what it should be: wrong kind, truncated, tampered with, too new, too large."""


class DataError(SpikegraphError):
    """A data set is missing, incomplete or of the wrong shape."""


class RecipeError(SpikegraphError):
    """A training recipe is unknown or holds a value that is out of range."""


class ChipError(SpikegraphError):
    """A chip profile is unknown, or a graph cannot be brought onto the chip."""


class TargetError(SpikegraphError):
    """A target is missing, or cannot express a graph."""


class RefusalError(TargetError):
    """A graph that a target does not take; carries every reason, not only the first."""

    said = "it cannot be built from this graph"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(problems[0].where, problems[0].what, problems[0].remedy)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        self.args = (f"{self.said}, {len(self.problems)} reason(s):\n{lines}",)


class OptionError(SpikegraphError):
    """An option has a value that makes no sense."""
