"""Whether a file may be written where a command is told to write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spikegraph.export.container import container_kind
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.formats import made_here

OTHERS = "something that spikegraph did not write"


def require_place_for(out: str | Path | None, *kinds: str, not_of: Sequence[str | Path] = ()) -> None:
    """Refuse, before any work, a file without a folder, or that would replace another kind, or one of `not_of`.

    `kinds` are what spikegraph's own files may be that are replaced; without any, files of others may be.
    """
    if out is None:
        return
    path = Path(out)
    if path.resolve() in [Path(one).resolve() for one in not_of]:
        raise OptionError(str(out), "is what is read, and would be replaced", "name another file")
    if not path.parent.is_dir():
        raise OptionError(str(out), f"there is no folder {path.parent}", "make the folder, or name another file")
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        found = container_kind(path)
    except FileFormatError:
        found = "graph" if made_here(path) else OTHERS
    if found not in (kinds or [OTHERS]):
        by = f" by a {kinds[0]}" if kinds else ""
        what = f"is {found if ' ' in found else f'a {found}'}, and would be replaced{by}"
        raise OptionError(str(out), what, "name another file, or delete it")
