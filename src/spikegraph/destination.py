"""Whether a file may be written where a command is told to write it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spikegraph.export.container import container_kind
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.formats import FORMATS, OWN


def require_place_for(out: str | Path | None, *kinds: str, not_of: Sequence[str | Path] = ()) -> None:
    """Refuse, before any work, a file without a folder, or that would replace another kind, or one of `not_of`."""
    if out is None:
        return
    path = Path(out)
    if path.resolve() in [Path(one).resolve() for one in not_of]:
        raise OptionError(str(out), "is what is read, and would be replaced", "name another file")
    if not path.parent.is_dir():
        raise OptionError(str(out), f"there is no folder {path.parent}", "make the folder, or name another file")
    if not path.is_file() or path.stat().st_size == 0 or path.suffix.lower() in FORMATS.keys() - {OWN}:
        return  # files of other formats do not say what they are: they are replaced
    try:
        found = container_kind(path)
    except FileFormatError:
        found = "something that spikegraph did not write"
    if found not in kinds:
        what = f"is {found if ' ' in found else f'a {found}'}, and would be replaced by a {kinds[0]}"
        raise OptionError(str(out), what, "name another file, or delete it")
