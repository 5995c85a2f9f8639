"""Run files: written as the batches come, the same bytes whatever the batches; whole or absent; read on demand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Array
from spikegraph.export.container import Json, read_container, write_container
from spikegraph.export.container import write as container_write
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim import simulate as simulating
from spikegraph.hwsim.result import VARIABLES
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.run_file import Recording, load_run, save_run
from spikegraph.hwsim.simulate import samples_per_batch, simulate

N = 23


def network(n_hidden: int = 40, n_steps: int = 9) -> Graph:
    rng = np.random.default_rng(0)
    return Graph(
        inputs={"in": Input(shape=(6,))},
        populations={
            "hidden": Population(shape=(n_hidden,), threshold_mant=90, decay_v=300),
            "out": Population(shape=(3,), threshold_mant=90, decay_v=300),
        },
        projections={
            "p": Dense(source="in", target="hidden", weight=rng.integers(-50, 90, (n_hidden, 6))),
            "q": Dense(source="hidden", target="out", weight=rng.integers(-50, 90, (3, n_hidden))),
        },
        outputs={"class": Output(population="out")},
        n_steps=n_steps,
        coding=InputCoding(kind="rate", seed=3),
        readout=Readout(kind="first_spike", output="class"),
    )


def batches(size: int, n: int = N) -> Iterator[tuple[Array, Array, Array]]:
    x = np.random.default_rng(1).random((n, 6)).astype(np.float32)
    for first in range(0, n, size):
        part = x[first : first + size]
        yield part, np.arange(first, first + len(part)) % 3, np.arange(first, first + len(part))


def run_into(out: Path | None, size: int = N, **options: Any) -> Run:
    options = {"record": ["hidden", "out"], **options}
    return simulate(network(), batches(size), out=out, **options)


@pytest.fixture(params=[1 << 19, 1 << 13, 200])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks that hold all samples, a few, and a part of one."""
    monkeypatch.setattr(container_write, "_CHUNK", request.param)
    return int(request.param)


def test_the_batches_do_not_show_in_the_file(tmp_path: Path, chunk: int) -> None:
    run_into(tmp_path / "whole.h5")
    for size in (1, 2, 5, 7, 22):
        run_into(tmp_path / "parts.h5", size)
        assert (tmp_path / "parts.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    save_run(run_into(None, 4), tmp_path / "saved.h5")
    assert (tmp_path / "saved.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    save_run(load_run(tmp_path / "whole.h5"), tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_traces_are_read_when_they_are_asked_for(tmp_path: Path, chunk: int) -> None:
    expected = run_into(None)
    for run in (run_into(tmp_path / "run.h5", 4), load_run(tmp_path / "run.h5")):
        assert set(run.traces) == {"hidden", "out"}
        for name, trace in run.traces.items():
            assert isinstance(trace, Recording)
            assert set(trace) == set(VARIABLES)
            for variable in trace:
                whole = expected.traces[name][variable]
                assert trace[variable].dtype == whole.dtype
                assert np.array_equal(trace[variable], whole)
                assert np.array_equal(trace.samples(variable, 5, 9), whole[:, 5:9])
        assert run.summary() == expected.summary()
        for quantity, nodes in expected.counts.window.items():
            for node, array in nodes.items():
                assert np.array_equal(run.counts.window[quantity][node], array)


def test_a_file_of_its_own_format_is_checked_by_its_checksum(tmp_path: Path) -> None:
    """The checksum of arrays that were read piece by piece is the one of the same arrays in memory."""
    run_into(tmp_path / "run.h5")
    tree = read_container(tmp_path / "run.h5", "run")  # all in memory
    tree["provenance"] = Json(value=tree["provenance"])
    write_container(tmp_path / "copy.h5", "run", tree)
    with h5py.File(tmp_path / "run.h5") as a, h5py.File(tmp_path / "copy.h5") as b:
        assert a.attrs["checksum"] == b.attrs["checksum"]
    assert np.array_equal(load_run(tmp_path / "copy.h5").traces["out"]["v"], run_into(None).traces["out"]["v"])


@pytest.mark.parametrize("path", ["recorded/hidden/v", "recorded/out/s", "label"])
def test_a_changed_trace_is_refused(tmp_path: Path, path: str) -> None:
    run_into(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        item = file[path]
        item[(3,) + (0,) * (item.ndim - 1)] = not item[(3,) + (0,) * (item.ndim - 1)]
    with pytest.raises(FileFormatError, match="checksum"):
        load_run(tmp_path / "run.h5")


def test_a_trace_that_declares_more_than_is_stored_is_refused(tmp_path: Path) -> None:
    run_into(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r+") as file:
        file["recorded/out"].create_dataset("more", (10**12,), "i1", chunks=(1 << 20,), compression="gzip")
    with pytest.raises(FileFormatError, match="declares 1000000000000 bytes, of which 0 are stored"):
        load_run(tmp_path / "run.h5")


def test_a_file_that_was_replaced_is_not_read(tmp_path: Path) -> None:
    run = run_into(tmp_path / "run.h5")
    run_into(tmp_path / "run.h5", engine="reference")
    with pytest.raises(FileFormatError, match="was replaced"):
        run.traces["hidden"]["v"]
    (tmp_path / "run.h5").unlink()
    with pytest.raises(FileFormatError, match="does not exist"):
        run.traces["hidden"]["v"]


def test_files_of_before_are_read(tmp_path: Path) -> None:
    """They have no `until`, and their traces begin with the steps, in a group called traces."""
    run = run_into(None)
    save_run(replace(run, traces={}), tmp_path / "new.h5")
    tree = read_container(tmp_path / "new.h5", "run")
    tree["provenance"] = Json(value=tree["provenance"])
    del tree["until"], tree["recorded"]
    tree["traces"] = {name: dict(trace) for name, trace in run.traces.items()}
    write_container(tmp_path / "old.h5", "run", tree)
    old = load_run(tmp_path / "old.h5")
    assert old.until == "window"
    assert old.summary() == run.summary()
    assert np.array_equal(old.traces["hidden"]["u"], run.traces["hidden"]["u"])


def test_a_run_until_decision_has_no_counts_over_the_window_in_its_file(tmp_path: Path) -> None:
    run = run_into(tmp_path / "run.h5", until="decision", record=())
    with h5py.File(tmp_path / "run.h5") as file:
        assert list(file["counts"]) == ["until_decision"]
        assert "output_spikes" not in file
    again = load_run(tmp_path / "run.h5")
    assert (again.until, again.counts.window, again.output_spikes) == ("decision", {}, None)
    assert again.summary() == run.summary()
    save_run(again, tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "run.h5").read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_stops_in_the_middle_leaves_no_file(tmp_path: Path, error: type[BaseException], chunk: int) -> None:
    def some_then_stop() -> Iterator[tuple[Array, Array, Array]]:
        yield from list(batches(10))[:2]
        assert len(list(tmp_path.iterdir())) == 1  # the file under its temporary name
        raise error

    with pytest.raises(error):
        simulate(network(), some_then_stop(), out=tmp_path / "run.h5", record=["hidden"])
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_if_the_run_fails(tmp_path: Path) -> None:
    run_into(tmp_path / "run.h5")
    before = (tmp_path / "run.h5").read_bytes()
    with pytest.raises(OptionError, match="there are none"):
        simulate(network(), [], out=tmp_path / "run.h5")
    assert (tmp_path / "run.h5").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "run.h5"]


def test_no_space_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(FileFormatError, match=r"cannot be written \(No space left on device\)"):
        run_into(tmp_path / "run.h5", 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.txt", "run", "run.h5.gz"])
def test_the_suffix_says_what_it_is(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=r"a run file is called something\.h5"):
        run_into(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    graph = network(n_hidden=500, n_steps=100)
    sample = 21 * 500 * 100  # bytes of x, u, v, s, v_before_reset

    def peak(n: int) -> int:
        tracemalloc.start()
        simulate(graph, batches(4, n), out=tmp_path / "run.h5", record=["hidden"])
        load_run(tmp_path / "run.h5")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4)
    few, many = peak(40), peak(120)
    assert many - few < 2 * sample  # 80 samples more
    assert many < 30 * sample


def test_a_batch_fits_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network()
    assert samples_per_batch(graph) == simulating.MOST_SAMPLES
    # Per step: 6 bytes of input, 8 bytes for each of 1 + 5 · 2 + 2 · 2 = 15 counts, 21 for each of 3 traced neurons.
    per_sample = 9 * (6 + 8 * 15 + 21 * 3)
    monkeypatch.setattr(simulating, "BATCH_BYTES", 7 * per_sample)
    assert samples_per_batch(graph) == 7
    monkeypatch.setattr(simulating, "BATCH_BYTES", 7 * (per_sample + 9 * 21 * 40))
    assert samples_per_batch(graph, ["hidden"]) == 7
    assert (
        samples_per_batch(graph, ["hidden"], "reference") == 5
    )  # 8 bytes for the spikes of each of 49 lines: 7 · 1029 / 1421
    monkeypatch.setattr(simulating, "BATCH_BYTES", 1)
    assert samples_per_batch(graph) == 1
