"""A run file whose checksum is right and whose contents are not: one message, whatever is wrong; never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from five_neurons import network

from spikegraph.cli import main
from spikegraph.export.chips import load_chip
from spikegraph.export.container import Json, read_container, write_container
from spikegraph.export.errors import ChipError, FileFormatError
from spikegraph.hwsim import run_file
from spikegraph.hwsim.compare import compare_additions
from spikegraph.hwsim.cost import cost_of
from spikegraph.hwsim.placement import place
from spikegraph.hwsim.profile import load_profile
from spikegraph.hwsim.run_file import load_run
from spikegraph.hwsim.simulate import simulate

PROFILES = [load_profile(name) for name in ("loihi1-fit", "spinnaker")]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    graph = network()
    path = tmp_path_factory.mktemp("run") / "run.h5"
    samples = [(np.ones((3, 2), np.float32), np.zeros(3, np.int64), np.arange(3))]
    simulate(graph, samples, placement=place(graph, load_chip("loihi1")), out=path)
    return read_container(path, "run")


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in tree.items():
        if name != "provenance":
            yield (*path, name)
            if isinstance(value, dict):
                yield from leaves(value, (*path, name))


def changed(tree: dict[str, Any], path: tuple[str, ...], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Copy the tree with another value at one path; the entry is gone if the change returns None."""
    copy = dict(tree)
    if len(path) > 1:
        return copy | {path[0]: changed(tree[path[0]], path[1:], change)}
    value = change(copy.pop(path[0]))
    return copy if value is None else copy | {path[0]: value}


CHANGES: dict[str, Callable[[Any], Any]] = {
    "gone": lambda _: None,
    "text": lambda _: "x",
    "a number": lambda _: 7,
    "zero": lambda _: 0,
    "a list of text": lambda _: ["x", "y"],
    "nothing in it": lambda _: np.zeros(0, np.int64),
    "less than zero": lambda value: np.asarray(value).astype(np.int64) * 0 - 1 if numeric(value) else -1,
    "out of range": lambda value: np.asarray(value).astype(np.int64) * 0 + 2**40 if numeric(value) else 2**40,
    "fractions": lambda value: np.asarray(value) + 0.5 if numeric(value) else 0.5,
    "one more axis": lambda value: np.asarray(value)[None] if numeric(value) else ["x"],
}


def numeric(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "biuf" if not isinstance(value, dict) else False


@pytest.mark.parametrize("what", CHANGES)
def test_every_entry_damaged(tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    refused = 0
    for path in leaves(tree):
        damaged = changed(tree, path, CHANGES[what])
        monkeypatch.setattr(run_file, "read_container", lambda *_, damaged=damaged, **__: damaged)
        try:
            run = load_run("run.h5")
        except FileFormatError:
            refused += 1
            continue
        # What was let in must be fit for use: a plausible other number, or something that older files lack.
        run.summary()
        compare_additions(run, run)
        for profile in PROFILES:
            with suppress(ChipError):  # the run is not one of a chip now
                cost_of(run, profile).to_json()
    assert refused > 20


def test_the_message_says_what_is_wrong(tree: dict[str, Any], tmp_path: Path) -> None:
    damaged = changed(tree, ("placement", "tiles"), lambda tiles: tiles[:, :1])
    damaged["provenance"] = Json(value=tree["provenance"])
    write_container(tmp_path / "run.h5", "run", damaged)
    result = CliRunner().invoke(main, ["cost", str(tmp_path / "run.h5"), "--profile", "loihi1-fit"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "run.h5: is not a whole run (placement/tiles is not of numbers from 0 on, one for each)" in result.stderr
