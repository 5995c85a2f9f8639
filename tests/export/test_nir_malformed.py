"""NIR files that are not what they should be: refused with a message, in bounded memory, by no other exception."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from commands import refused

from spikegraph.export.assumptions import NOTHING_ASSUMED, Assumptions
from spikegraph.export.container import read_foreign
from spikegraph.export.errors import FileFormatError, GraphError, SpikegraphError
from spikegraph.export.formats import read, save
from spikegraph.export.nir.read import graph_of_tree

Tree = dict[str, Any]


def every_node() -> nir.NIRGraph:
    """Return a graph with every type of node that NIR has."""
    one, four, image = np.ones, np.ones(4), np.ones((4, 5, 3))
    pool = (np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    rest = {"v_leak": four * 0, "r": four}
    nodes = {
        "image": nir.Input(np.array([2, 8, 6])),
        "conv": nir.Conv2d((8, 6), one((4, 1, 3, 2)), 1, (2, 1), 1, 2, four),
        "average": nir.AvgPool2d(*pool),
        "cubalif": nir.CubaLIF(image * 0.01, image * 0.02, image, image * 0.1, image),
        "sum": nir.SumPool2d(*pool),
        "flat": nir.Flatten(np.array([4, 2, 1]), 0, -1),
        "affine": nir.Affine(one((4, 8)), four),
        "lif": nir.LIF(tau=four * 0.02, v_threshold=four, **rest),
        "row": nir.Input(np.array([2, 8])),
        "conv1d": nir.Conv1d(8, one((3, 2, 3)), 1, "same", 1, 1, one(3)),
        "if": nir.IF(one((3, 8)), one((3, 8))),
        "row_flat": nir.Flatten(np.array([3, 8]), 0, -1),
        "delay": nir.Delay((np.arange(24) % 3) * 1e-3),
        "scale": nir.Scale(one(24) * 2),
        "linear": nir.Linear(one((4, 24))),
        "li": nir.LI(tau=four * 0.02, **rest),
        "threshold": nir.Threshold(four),
        "cubali": nir.CubaLI(tau_syn=four * 0.01, tau_mem=four * 0.02, **rest),
        "out_current": nir.Output(np.array([4])),
        "i": nir.I(four),
        "out_i": nir.Output(np.array([4])),
        "nested": nir.NIRGraph(
            {
                "in": nir.Input(np.array([4])),
                "lif": nir.LIF(tau=four, v_threshold=four, **rest),
                "out": nir.Output(four),
            },
            [("in", "lif"), ("lif", "out")],
            type_check=False,
        ),
        "out": nir.Output(np.array([4])),
    }
    chains = [
        ["image", "conv", "average", "cubalif", "sum", "flat", "affine", "lif", "nested", "out"],
        ["row", "conv1d", "if", "row_flat", "delay", "scale", "linear", "li", "threshold", "cubali", "out_current"],
        ["threshold", "i", "out_i"],
        ["lif", "lif"],
    ]
    edges = [edge for chain in chains for edge in pairwise(chain)]
    return nir.NIRGraph(nodes, edges, type_check=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nir") / "whole.nir"
    nir.write(path, every_node())
    return path


@pytest.fixture
def tree(whole: Path) -> Tree:
    return read_foreign(whole, wrote="the nir package")


def test_the_file_that_all_others_are_made_of_is_read(whole: Path) -> None:
    graph, _ = read(whole)
    assert len(graph.outputs) == 3


# Damaged files.


def test_truncated_anywhere(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    path = tmp_path / "cut.nir"
    for length in range(0, len(content), max(1, len(content) // 60)):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match=r"cut\.nir"):
            read(path)


def test_bytes_that_are_others_are_refused_or_make_no_difference_to_the_form(whole: Path, tmp_path: Path) -> None:
    content, rng = whole.read_bytes(), random.Random(1)  # noqa: S311
    path, n_refused = tmp_path / "flipped.nir", 0
    for _ in range(12):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            read(path)
        except (FileFormatError, GraphError):
            n_refused += 1
    assert n_refused  # the others hold another weight, or were hit where nothing is stored


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"", "is empty"), (b"PK\x03\x04", "not an HDF5 file"), (b"\x89HDF\r\n\x1a\n", "truncated or damaged")],
)
def test_no_hdf5(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "net.nir").write_bytes(content)
    with pytest.raises(FileFormatError, match=match):
        read(tmp_path / "net.nir")


@pytest.mark.parametrize("command", [["inspect"], ["convert", "--chip", "loihi2"]])
def test_commands_end_with_one_message(tmp_path: Path, whole: Path, command: list[str]) -> None:
    broken, out = tmp_path / "broken.nir", tmp_path / "out.h5"
    broken.write_bytes(whole.read_bytes()[:5000])
    more = [str(out)] if command[0] == "convert" else []
    said = refused(command[0], broken, *more, *command[1:])
    assert "broken.nir" in said
    assert not out.exists()


# Anything in the place of anything.


def paths(tree: Tree, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in tree.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


JUNK: list[Callable[[], Any]] = [
    lambda: "text",
    lambda: {},
    lambda: {"type": "LIF"},
    lambda: np.array(["a", "b"], object),
    lambda: np.array([["image", "nowhere"]], object),
    lambda: np.zeros(0),
    lambda: np.zeros((0, 3)),
    lambda: np.array(np.nan),
    lambda: np.array([np.inf, 1]),
    lambda: np.array(-1),
    lambda: np.array(0),
    lambda: np.array(2**62),
    lambda: np.array(2**64 - 1, np.uint64),
    lambda: np.array([2**40, 2**40, 2**40]),
    lambda: np.array(99_999),
    lambda: np.array(1e300),
    lambda: np.array(1e-320),
    lambda: np.array([1.5, 2]),
    lambda: np.array([True]),
    lambda: np.ones((3, 2, 1, 5, 1)),
    lambda: np.ones((7, 7), np.float16),
]


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_value_replaced_by_everything(tree: Tree, every: int) -> None:
    """Each place of the file with each sort of junk, or with every seventh pair of these: 21 sorts at 150 places."""
    n_refused = taken = n = 0
    for *above, name in list(paths(tree)):
        folder = tree
        for step in above:
            folder = folder[step]
        before = folder[name]
        for junk in JUNK:
            n += 1
            if n % every:
                continue
            folder[name] = junk()
            try:
                graph_of_tree(tree, "net.nir", NOTHING_ASSUMED)
                taken += 1
            except SpikegraphError:
                n_refused += 1
        folder[name] = before
    assert n_refused > 5 * taken


def test_every_value_left_out(tree: Tree) -> None:
    for *above, name in list(paths(tree)):
        folder = tree
        for step in above:
            folder = folder[step]
        before = folder.pop(name)
        try:
            graph_of_tree(tree, "net.nir", NOTHING_ASSUMED)
        except SpikegraphError:
            pass
        else:
            assert name in ("version", "v_reset", "w_in", "input_shape", "input_type")
        folder[name] = before


# What is said of it.


def chain(*nodes: Any, shape: tuple[int, ...] = (4,)) -> Tree:
    named = {"input": {"type": "Input", "shape": np.array(shape)}, **{f"n{i}": node for i, node in enumerate(nodes)}}
    named["output"] = {"type": "Output", "shape": np.array([4])}
    edges = np.array(list(zip(named, list(named)[1:], strict=False)), object)
    return {"node": {"type": "NIRGraph", "nodes": named, "edges": edges}}


def lif(**fields: Any) -> Tree:
    ones = np.ones(4)
    return {"type": "LIF", "tau": ones, "r": ones, "v_leak": ones * 0, "v_threshold": ones, **fields}


def linear(**fields: Any) -> Tree:
    return {"type": "Linear", "weight": np.ones((4, 4)), **fields}


def conv(**fields: Any) -> Tree:
    geometry = {name: np.array(1) for name in ("stride", "padding", "dilation", "groups")}
    return {"type": "Conv2d", "weight": np.ones((4, 1, 3, 3)), "bias": np.zeros(4), **geometry, **fields}


def with_edges(*edges: tuple[str, str]) -> Tree:
    made = chain(linear(), lif())
    made["node"]["edges"] = np.array(edges, object)
    return made


def nested(depth: int) -> Tree:
    made = chain(lif())
    for _ in range(depth):
        inner = made["node"]
        made = {"node": {"type": "NIRGraph", "nodes": {"inner": inner}, "edges": np.zeros(0)}}
    return made


def two_ways_in() -> Tree:
    inner = {"type": "NIRGraph", "nodes": {"a": END, "b": END, "c": linear()}, "edges": np.zeros(0)}
    made = chain(lif())
    made["node"]["nodes"]["inner"] = inner
    made["node"]["edges"] = np.array([["input", "inner"], ["inner", "n0"], ["n0", "output"]], object)
    return made


def through_filters(*taus: float) -> Tree:
    """Lead the input to one neuron through filters side by side, the last one with weights of 0 and a bias."""
    made = chain(lif())
    nodes, edges = made["node"]["nodes"], [("n0", "output")]
    for i, tau in enumerate(taus):
        last = i == len(taus) - 1
        nodes[f"w{i}"] = {"type": "Affine", "weight": np.eye(4) * (not last), "bias": np.ones(4)}
        nodes[f"li{i}"] = {"type": "LI", "tau": np.full(4, tau), "r": np.ones(4), "v_leak": np.zeros(4)}
        edges += [("input", f"w{i}"), (f"w{i}", f"li{i}"), (f"li{i}", "n0")]
    made["node"]["edges"] = np.array(edges, object)
    return made


IMAGE = (1, 4, 4)
END = {"type": "Input", "shape": np.array([4])}
FLATTEN = {"type": "Flatten", "start_dim": np.array(2), "end_dim": np.array(1)}


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ({}, "has no group 'node'"),
        ({"node": {"type": "NIRGraph"}}, "nodes: is not a group"),
        (chain(lif(type="Izhikevich")), "n0: has the unknown type 'Izhikevich'; use one of Input, Output"),
        (chain(lif(type=np.ones(3))), "n0: has no type"),
        (chain({"type": "LIF"}), "lacks r, tau, v_leak, v_threshold"),
        (chain(lif(tau="slow")), "n0: tau: is text, expected numbers"),
        (chain(lif(tau=np.array(["a"] * 4, object))), "n0: tau: is text, expected numbers"),
        (chain(lif(v_threshold=np.full(4, np.nan))), r"holds nan \(4 of 4 numbers\)"),
        (chain(lif(tau=np.full(4, -1.0))), "n0: tau: holds the time -1"),
        (chain(lif(tau=np.ones(5))), r"\(LIF\) has parameters of the shapes \(5,\), \(4,\)"),
        (chain(lif(v_threshold=np.zeros(4))), "has a threshold of 0 above v_reset"),
        (chain(linear(weight=np.ones((4, 5))), lif()), r"n0: reads 5 numbers, and gets \(4,\)"),
        (chain(linear(weight=np.ones(4)), lif()), r"has the shape \(4,\), expected \(out, in\)"),
        (chain(linear(weight=np.ones((0, 4))), lif()), "is empty"),
        (chain(linear(weight=np.ones((4, 4), object)), lif()), "is text, expected numbers"),
        (chain(conv(padding="some"), lif(), shape=IMAGE), "padding: is 'some'"),
        (chain(conv(padding="same", stride=np.array(2)), lif(), shape=IMAGE), 'has padding "same" and a stride'),
        (chain(conv(groups=np.array(3)), lif(), shape=IMAGE), "4 output channels do not divide into 3 groups"),
        (chain(conv(stride=np.array(0)), lif(), shape=IMAGE), "expected integers of at least 1"),
        (chain(conv(stride=np.array([1, 1, 1])), lif(), shape=IMAGE), "holds 3 numbers, expected one or two"),
        (chain(conv(weight=np.ones((4, 1, 9, 9)), padding=np.array(0)), lif(), shape=IMAGE), "larger than the padded"),
        (chain(conv(), lif()), r"\(Conv2d\) gets the shape \(4,\)"),
        (chain(conv(padding=np.array(10**6)), lif(), shape=IMAGE), "synapses, the limit is"),
        (chain(lif(), shape=(10**6, 10**6)), "neurons; the limit is"),
        (chain(lif(), shape=(2, 3, 4, 5)), "at most three dimensions"),
        (chain({"type": "Delay", "delay": np.full(4, np.inf)}, lif()), "is infinite"),
        (chain({"type": "Delay", "delay": np.full(4, 1e6)}, lif()), "delay_steps = 1"),
        (with_edges(("input", "nowhere")), "an edge with the node 'nowhere', which does not exist"),
        (
            with_edges(("input", "n0"), ("n0", "n0"), ("n0", "n1"), ("n1", "output")),
            "the loop n0 → n0, in which nothing",
        ),
        (with_edges(("input", "n1"), ("n1", "output"), ("output", "n0")), "edges lead from inputs to outputs"),
        (with_edges(("input", "output"), ("n0", "n1"), ("n1", "n0")), "not reached from any input"),
        (two_ways_in(), "inner: has 2 nodes of type Input, and an edge does not say"),
        (through_filters(1.0, 2.0, 3.0), "n0: is reached through filters that differ"),
        (through_filters(1.0, 2.0), "n0: is reached through filters that differ"),
        (chain(FLATTEN, lif(), shape=IMAGE), r"flattens the dimensions 2 to 1 of \(1, 4, 4\)"),
        (chain(lif(), shape=(5,)), r"output: declares the shape \(4,\), and gets \(5,\)"),
        (nested(40), "nests graphs more than 32 deep"),
    ],
)
def test_messages(tree: Tree, match: str) -> None:
    with pytest.raises(SpikegraphError, match=match):
        graph_of_tree(tree, "net.nir", NOTHING_ASSUMED)


# Small files that declare much.


def bomb(path: Path, shape: tuple[int, ...], *, stored: bool) -> None:
    """Replace a weight by one that unpacks to far more than the file holds: one chunk of zeros, again and again."""
    with h5py.File(path, "a") as file:
        del file["node/nodes/n0/weight"]
        chunks = (1 << 20, *shape[1:])
        weight = file.create_dataset("node/nodes/n0/weight", shape, np.float32, compression="gzip", chunks=chunks)
        packed = zlib.compress(bytes(4 << 20), 9)
        for start in range(0, shape[0] if stored else 0, 1 << 20):
            weight.id.write_direct_chunk((start, 0), packed)


def bombs(folder: Path) -> Iterator[Path]:
    def written(name: str, *nodes: Any, shape: tuple[int, ...], out: tuple[int, ...] = (1,)) -> Path:
        named = {"input": nir.Input(np.array(shape)), **{f"n{i}": node for i, node in enumerate(nodes)}}
        named["output"] = nir.Output(np.array(out))
        path = folder / f"{name}.nir"
        nir.write(path, nir.NIRGraph(named, list(zip(named, list(named)[1:], strict=False)), type_check=False))
        return path

    one, spiking = np.ones(1), nir.IF(np.array([1.0]), np.array([1.0]))
    path = written("unpacks", nir.Linear(np.ones((1, 1))), spiking, shape=(1,))
    bomb(path, (2100 << 20, 1), stored=True)
    yield path
    path = written("fills", nir.Linear(np.ones((1, 1))), spiking, shape=(1,))
    bomb(path, (1 << 40, 1), stored=False)
    yield path
    yield written("declares", spiking, shape=(1 << 30, 1 << 30))
    yield written("pads", nir.Conv2d((4, 4), np.ones((1, 1, 3, 3)), 1, 10**8, 1, 1, one), spiking, shape=(1, 4, 4))
    far = nir.Conv2d((4, 4), np.ones((1, 1, 2, 2)), 1, "same", 10**8 + 1, 1, one)
    yield written("dilates", far, spiking, shape=(1, 4, 4), out=(1, 4, 4))
    wide = nir.Conv2d((4096, 4096), np.ones((1, 1, 3, 3)), 1, 1, 1, 1, one)
    pool = nir.SumPool2d(np.array([2047, 2047]), np.array([1, 1]), np.array([0, 0]))
    yield written("unrolls", wide, pool, spiking, shape=(1, 4096, 4096), out=(1, 2050, 2050))
    flat = nir.Flatten(np.array([1, 4096, 4096]), 0, -1)
    yield written("lists", wide, flat, spiking, shape=(1, 4096, 4096), out=(4096 * 4096,))
    doubled = [nir.Scale(np.array([2.0])) for _ in range(12)]
    named = {"input": nir.Input(one), **{f"a{i}": n for i, n in enumerate(doubled)}}
    named |= {f"b{i}": nir.Scale(np.array([3.0])) for i in range(12)} | {"n": spiking, "output": nir.Output(one)}
    edges = [("input", "a0"), ("input", "b0"), ("a11", "n"), ("b11", "n"), ("n", "output")]
    edges += [(x + str(i), y + str(i + 1)) for i in range(11) for x in "ab" for y in "ab"]
    path = folder / "branches.nir"
    nir.write(path, nir.NIRGraph(named, edges, type_check=False))
    yield path
    path = folder / "silent_branches.nir"  # ways of which nothing is left are ways too
    silent = {**named, "zero": nir.Linear(np.zeros((1, 1)))}
    edges = [("input", "zero"), ("zero", "a0"), ("zero", "b0"), *edges[2:]]
    nir.write(path, nir.NIRGraph(silent, edges, type_check=False))
    yield path
    path = written("never_written", nir.Linear(np.ones((1, 1))), spiking, shape=(1,))
    with h5py.File(path, "a") as file:
        del file["node/nodes/n0/weight"]
        file["node/nodes/n0"].create_dataset("weight", (1 << 20, 1 << 8), np.float32)
    yield path


def test_small_files_that_declare_much_are_refused_in_little_memory(tmp_path: Path) -> None:
    """Read in a process that may have 600 MB more than it begins with, and does not die of it."""
    files = [str(path) for path in bombs(tmp_path)]
    assert max(Path(path).stat().st_size for path in files) < 10 << 20
    program = f"""
import resource, sys, traceback
from spikegraph.export.errors import SpikegraphError
from spikegraph.export.formats import read, save
import spikegraph.export.nir
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20),) * 2)
for path in {files!r}:
    try:
        read(path)
    except SpikegraphError as error:
        print(path, error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert not result.stderr
    assert "MemoryError" not in result.stdout
    assert len(result.stdout.splitlines()) == len(files), result.stdout


def test_a_matrix_that_is_multiplied_along_many_ways_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four ways, each with its own copy of 4 × 4 weights: 16 + 4 · 16 are multiplied."""
    made = chain(linear(), lif())
    nodes = made["node"]["nodes"]
    nodes |= {f"s{i}": {"type": "Scale", "scale": np.full(4, i + 2.0)} for i in range(4)}
    edges = [
        ("input", "n0"),
        ("n1", "output"),
        *((a, b) for i in range(4) for a, b in [("n0", f"s{i}"), (f"s{i}", "n1")]),
    ]
    made["node"]["edges"] = np.array(edges, object)
    graph, _ = graph_of_tree(made, "net.nir", NOTHING_ASSUMED)
    assert len(graph.projections) == 4
    monkeypatch.setattr("spikegraph.export.nir.wiring._MOST_WEIGHTS", 60)
    with pytest.raises(FileFormatError, match="weights would be multiplied, the limit is 60"):
        graph_of_tree(made, "net.nir", NOTHING_ASSUMED)


@pytest.mark.parametrize("shape", [[1 << 36], [-1], "text", None, [0, 1 << 70]])
def test_metadata_that_declare_arrays_are_left_out(tmp_path: Path, shape: Any) -> None:
    """Their checksum is of the nodes alone: whoever makes a file can make that right."""
    graph, _ = graph_of_tree(chain(linear(), lif()), "net.nir", NOTHING_ASSUMED)
    save(graph, tmp_path / "net.nir")
    with h5py.File(tmp_path / "net.nir", "a") as file:
        record = next(iter(file["node/metadata/spikegraph/graph/projections"].values()))
        del record["weight"]
        record["weight"] = json.dumps({"empty": shape, "dtype": "float64"})
    again, report = read(tmp_path / "net.nir")
    assert again.populations
    assert any("its metadata are damaged" in fact for fact in report.facts)


# Files of older versions.


def test_an_integrator_without_v_reset_resets_to_zero() -> None:
    ones = np.ones(4, np.float32)
    made = chain(linear(), {"type": "IF", "r": ones, "v_threshold": ones})
    graph, _ = graph_of_tree(made, "net.nir", Assumptions(convention="lava", dt=1.0))
    assert graph.populations["n1"].reset == "zero"


def test_nodes_without_inputs_and_outputs_get_them() -> None:
    made = chain(linear(), lif())
    del made["node"]["nodes"]["input"], made["node"]["nodes"]["output"]
    made["node"]["edges"] = np.array([["n0", "n1"]], object)
    graph, report = graph_of_tree(made, "net.nir", NOTHING_ASSUMED)
    assert list(graph.inputs) == ["input_n0"]
    assert list(graph.outputs) == ["output_n1"]
    assert any("input_n0: added" in fact for fact in report.facts)


def test_an_edge_that_is_written_twice_counts_once() -> None:
    made = with_edges(("input", "n0"), ("n0", "n1"), ("n0", "n1"), ("n1", "output"))
    graph, report = graph_of_tree(made, "net.nir", NOTHING_ASSUMED)
    assert len(graph.projections) == 1
    assert any("written twice" in fact for fact in report.facts)


def test_fields_that_nobody_knows_are_told() -> None:
    _, report = graph_of_tree(chain(linear(), lif(colour=np.ones(4))), "net.nir", NOTHING_ASSUMED)
    assert any(loss.attribute == "colour" and loss.effect == "dropped" for loss in report.losses)


def test_names_that_a_graph_cannot_hold_are_changed_and_told() -> None:
    made = chain(linear(), lif())
    made["node"]["nodes"]["two words"] = made["node"]["nodes"].pop("n1")
    made["node"]["edges"] = np.array([["input", "n0"], ["n0", "two words"], ["two words", "output"]], object)
    graph, report = graph_of_tree(made, "net.nir", NOTHING_ASSUMED)
    assert list(graph.populations) == ["two_words"]
    assert any((loss.node, loss.attribute, loss.effect) == ("two words", "name", "none") for loss in report.losses)


def test_filters_that_are_alike_are_one_current() -> None:
    graph, _ = graph_of_tree(through_filters(1.0, 1.0), "net.nir", NOTHING_ASSUMED)
    assert set(graph.populations) == {"n0", "n0_constant"}


def test_one_node_is_a_network() -> None:
    graph, _ = graph_of_tree({"node": lif()}, "net.nir", NOTHING_ASSUMED)
    assert [p.shape for p in graph.populations.values()] == [(4,)]
