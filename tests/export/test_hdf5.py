from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegraph.export import container, formats, hdf5
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.container import Json, read_container, tree_checksum, write_container
from spikegraph.export.errors import FileFormatError, GraphError, OptionError, SpikegraphError
from spikegraph.export.float_graph import (
    FLOAT_PROJECTIONS,
    FloatConv2d,
    FloatDense,
    FloatGraph,
    FloatOneToOne,
    FloatPopulation,
    FloatSparse,
    FloatSumPool2d,
)
from spikegraph.export.graph import (
    PROJECTIONS,
    Conv2d,
    Dense,
    Graph,
    Input,
    OneToOne,
    Output,
    Population,
    Sparse,
    SumPool2d,
)
from spikegraph.export.hdf5 import graph_checksum, load_graph, save_graph

# One projection of each kind, with its shapes: weight shape, geometry, source, target.
GEOMETRY: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "Dense": ((5, 12), {}, (3, 2, 2), (5,)),
    "Conv2d": ((4, 1, 3, 2), {"stride": (2, 1), "padding": 1, "groups": 2}, (2, 7, 5), (4, 4, 6)),
    "SumPool2d": ((), {"kernel_size": 2, "padding": (0, 1)}, (3, 4, 4), (3, 2, 3)),
    "Sparse": ((4,), {"indptr": [0, 1, 1, 4], "indices": [3, 0, 1, 3]}, (3,), (4,)),
    "OneToOne": ((3,), {}, (3, 2, 2), (3, 2, 2)),
}

provenance = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    max_size=4,
)
codings = st.none() | st.builds(
    InputCoding,
    kind=st.sampled_from(["rate", "direct", "first_spike"]),
    seed=st.integers(0, 2**64 - 1),
    max_value=st.integers(1, 255),
)
readouts = (
    st.none()
    | st.builds(Readout, kind=st.sampled_from(["count", "membrane", "first_spike"]), output=st.just("out"))
    | st.builds(
        Readout, kind=st.just("count"), output=st.just("out"), joined=st.just(("out",)), weights=st.just((2, 3))
    )
)


def parameters(shape: tuple[int, ...], low: int, high: int) -> st.SearchStrategy[np.ndarray]:
    return st.sampled_from([(), shape[:1], shape]).flatmap(
        lambda of: hnp.arrays(np.int64, of, elements=st.integers(low, high))
    )


def positive(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    return st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(
            dtype, shape[:1], elements=st.floats(0.125, 1e6, width=32 if dtype == np.float32 else 64)
        )
    )


def time_constants(shape: tuple[int, ...]) -> st.SearchStrategy[float | np.ndarray]:
    each = st.floats(0, allow_nan=False)
    return each | st.sampled_from([shape[:1], shape]).flatmap(lambda of: hnp.arrays(np.float64, of, elements=each))


@st.composite
def graphs(draw: st.DrawFn, kind: str, population: str = "p", projection: str = "w") -> Graph:
    weight_shape, geometry, source, target = GEOMETRY[kind]
    low = draw(st.integers(-(1 << 15), 0))
    return Graph(
        inputs={"in": Input(shape=source, min_value=low, max_value=draw(st.integers(255, 32767)))},
        populations={
            population: Population(
                shape=target,
                decay_u=draw(parameters(target, 1, 4096)),
                decay_v=draw(parameters(target, 0, 4096)),
                threshold_mant=draw(parameters(target, 1, (1 << 17) - 1)),
                bias_mant=draw(parameters(target, -4096, 4095)),
                bias_exp=draw(parameters(target, 0, 7)),
                reset=draw(st.sampled_from(["zero", "subtract", "none"])),
                refractory_steps=draw(st.integers(1, 1 << 20)),
                max_spikes=draw(st.integers(0, 1 << 20)),
                start_step=draw(st.integers(0, 100)),
            )
        },
        projections={
            projection: PROJECTIONS[kind](
                source="in",
                target=population,
                weight=draw(hnp.arrays(np.int64, weight_shape, elements=st.integers(-(1 << 15), (1 << 15) - 1))),
                weight_exp=draw(st.integers(-8, 7)),
                delay_steps=draw(st.integers(0, 1023)),
                **geometry,
            )
        },
        outputs={"out": Output(population=population, variable=draw(st.sampled_from(["s", "v"])))},
        n_steps=draw(st.integers(1, 1 << 20)),
        coding=draw(codings),
        readout=draw(readouts),
        provenance=draw(provenance),
    )


@st.composite
def float_graphs(draw: st.DrawFn, kind: str) -> FloatGraph:
    weight_shape, geometry, source, target = GEOMETRY[kind]
    dtype, width = draw(st.sampled_from([(np.float32, 32), (np.float64, 64)]))
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    return FloatGraph(
        inputs={"in": Input(shape=source, max_value=255)},
        populations={
            "p": FloatPopulation(
                shape=target,
                tau_syn=draw(time_constants(target)),
                tau_mem=draw(time_constants(target) | st.integers(0, 3)),
                v_threshold=draw(positive(target)),
                bias=draw(hnp.arrays(dtype, target, elements=finite)),
                reset=draw(st.sampled_from(["zero", "subtract", "none"])),
                refractory_steps=draw(st.integers(1, 1 << 20)),
                max_spikes=draw(st.integers(0, 1 << 20)),
            )
        },
        projections={
            "w": FLOAT_PROJECTIONS[kind](
                source="in",
                target="p",
                weight=draw(hnp.arrays(dtype, weight_shape, elements=finite)),
                delay_steps=draw(st.integers(0, 1023)),
                clip=draw(st.none() | st.floats(0.125, 1e6, width=32)),
                **geometry,
            )
        },
        outputs={"out": Output(population="p")},
        n_steps=draw(st.integers(1, 1 << 20)),
        dt=draw(st.floats(1e-9, 1.0)),
        coding=draw(codings),
        readout=draw(readouts),
        provenance=draw(provenance),
    )


def assert_same(a: Any, b: Any) -> None:
    """Same type, field by field; arrays with dtype; dicts with order."""
    if hasattr(a, "__dataclass_fields__"):
        assert type(a) is type(b)
        for field in fields(a):
            if field.name == "provenance":
                assert dict(a.provenance) == dict(b.provenance)
            else:
                assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif hasattr(a, "keys"):
        assert list(a) == list(b)
        for name in a:
            assert_same(a[name], b[name])
    else:
        assert a == b


def small() -> Graph:
    """The example of docs/format.md."""
    return Graph(
        inputs={"pixels": Input(shape=(2,))},
        populations={"hidden": Population(shape=(3,), decay_v=128, threshold_mant=[64, 64, 200], reset="subtract")},
        projections={"fc": Dense(source="pixels", target="hidden", weight=[[1, -2], [3, 4], [5, 127]])},
        outputs={"class": Output(population="hidden")},
        n_steps=8,
        coding=InputCoding(kind="rate", seed=1),
        readout=Readout(kind="count", output="class"),
        provenance={"recipe": "example"},
    )


def small_float() -> FloatGraph:
    return FloatGraph(
        inputs={"pixels": Input(shape=(2,))},
        populations={"hidden": FloatPopulation(shape=(3,))},
        projections={"fc": FloatDense(source="pixels", target="hidden", weight=np.ones((3, 2), np.float32))},
        outputs={"class": Output(population="hidden")},
        n_steps=8,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.h5"
    save_graph(small(), path)
    return path


def rewritten(path: Path, change: Callable[[dict[str, Any]], None], kind: str = "graph") -> None:
    """Change the tree in a file and give it right checksums again."""
    tree = read_container(path, kind)
    change(tree)
    content = {name: value for name, value in tree.items() if name not in ("content", "provenance")}
    tree |= {"content": tree_checksum(kind, content)}
    if isinstance(tree.get("provenance"), dict):
        tree["provenance"] = Json(value=tree["provenance"])
    write_container(path, kind, tree)


@pytest.mark.parametrize("kind", GEOMETRY)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.h5"

    @settings(max_examples=15, deadline=None)
    @given(graphs(kind))
    def check(graph: Graph) -> None:
        save_graph(graph, path)
        loaded = load_graph(path)
        assert_same(graph, loaded)
        assert graph_checksum(loaded) == graph_checksum(graph)

    check()


@pytest.mark.parametrize("kind", GEOMETRY)
def test_round_trip_of_a_float_graph(tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.h5"

    @settings(max_examples=15, deadline=None)
    @given(float_graphs(kind))
    def check(graph: FloatGraph) -> None:
        save_graph(graph, path)
        loaded = load_graph(path)
        assert_same(graph, loaded)
        assert graph_checksum(loaded) == graph_checksum(graph)

    check()


def test_every_kind_is_tested() -> None:
    assert set(GEOMETRY) == set(PROJECTIONS) == set(FLOAT_PROJECTIONS)
    assert {Dense, Conv2d, SumPool2d, Sparse, OneToOne} == set(PROJECTIONS.values())
    assert {FloatDense, FloatConv2d, FloatSumPool2d, FloatSparse, FloatOneToOne} == set(FLOAT_PROJECTIONS.values())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_names_may_be_any(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    name = st.sampled_from(["order", "kind", "version", "checksum", "content"]) | st.from_regex(
        r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,6}", fullmatch=True
    )
    graph = data.draw(graphs("Dense", data.draw(name.filter(lambda n: n != "in")), data.draw(name)))
    path = tmp_path_factory.mktemp("graph") / "graph.h5"
    save_graph(graph, path)
    assert_same(graph, load_graph(path))


@settings(max_examples=10, deadline=None)
@given(st.permutations([f"p{i}" for i in range(12)]))
def test_order_survives(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    graph = Graph(
        inputs={f"in-{name}": Input(shape=(1,)) for name in names},
        populations={name: Population(shape=(1,), threshold_mant=1) for name in names},
        projections={f"w{n}": Dense(source=f"in-{n}", target=n, weight=[[1]]) for n in reversed(names)},
        outputs={f"out-{name}": Output(population=name) for name in names},
        n_steps=1,
    )
    path = tmp_path_factory.mktemp("graph") / "graph.h5"
    save_graph(graph, path)
    assert_same(graph, load_graph(path))


def test_provenance_that_is_long_and_nested(tmp_path: Path) -> None:
    provenance = {"log": ["é" * 1000] * 100, "data": {"sha256/train": None, "": [1, 2.5, {"a": False}]}}
    save_graph(replace(small(), provenance=provenance), tmp_path / "a.h5")
    assert load_graph(tmp_path / "a.h5").provenance == provenance


def test_numpy_numbers_are_numbers(tmp_path: Path) -> None:
    save_graph(replace(small(), n_steps=np.int16(8)), tmp_path / "a.h5")
    assert type(load_graph(tmp_path / "a.h5").n_steps) is int
    assert graph_checksum(load_graph(tmp_path / "a.h5")) == graph_checksum(small())


def test_same_graph_same_bytes(path: Path, tmp_path: Path) -> None:
    save_graph(load_graph(path), tmp_path / "again.h5")
    assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_content_leaves_out_provenance_and_nothing_else(path: Path) -> None:
    graph = small()
    content = graph_checksum(graph)
    assert read_container(path, "graph")["content"] == content
    assert graph_checksum(replace(graph, provenance={"seed": 2})) == content
    others = [
        replace(graph, n_steps=9),
        replace(graph, coding=None),
        replace(graph, readout=Readout(kind="membrane", output="class")),
        replace(graph, inputs={"pixels": Input(shape=(2,), max_value=2)}),
        replace(graph, populations={"hidden": replace(graph.populations["hidden"], bias_exp=1)}),
        replace(graph, projections={"fc": replace(graph.projections["fc"], delay_steps=1)}),
        replace(graph, outputs={"class": Output(population="hidden", variable="v")}),
        replace(graph, projections={"fc2": graph.projections["fc"]}),
    ]
    assert len({content, *map(graph_checksum, others)}) == 9  # 8 changes and the graph itself


def test_float_graph_is_not_an_integer_graph(tmp_path: Path) -> None:
    save_graph(small_float(), tmp_path / "a.h5")
    assert isinstance(load_graph(tmp_path / "a.h5"), FloatGraph)
    with pytest.raises(FileFormatError, match="is a float-graph, expected a graph"):
        read_container(tmp_path / "a.h5", "graph")


def test_other_kind(tmp_path: Path) -> None:
    write_container(tmp_path / "a.h5", "run", {})
    with pytest.raises(FileFormatError, match="is a run, expected a graph or float-graph"):
        load_graph(tmp_path / "a.h5")


# Saving


def test_illegal_graph_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="n_steps = 0"):
        save_graph(replace(small(), n_steps=0), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"n_steps": 8.0}, {"coding": InputCoding(kind="rate", seed=1.0)}])
def test_field_of_the_wrong_type_is_not_saved(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(GraphError, match="cannot be saved"):
        save_graph(replace(small(), **change), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_provenance_that_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"a\.h5: provenance: .*JSON"):
        save_graph(replace(small(), provenance={"weights": np.ones(3)}), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_failed_save_keeps_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(FileFormatError):
        save_graph(replace(small(), provenance={1: 2}), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# Loading: the checksums are right, the content is not.


def put(group: str, name: str, field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tree: tree[group][name].update({field: value})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (put("populations", "hidden", "threshold_mant", np.array(0, np.int8)), "hidden: threshold_mant = 0 is outside"),
        (put("populations", "hidden", "threshold_mant", np.array([1, 2], np.int8)), "threshold_mant has shape"),
        (put("populations", "hidden", "shape", [4]), "weight has shape"),
        (put("projections", "fc", "weight", np.ones((2, 2), np.int8)), "weight has shape"),
        (put("projections", "fc", "weight", np.full((3, 2), np.nan)), "projections/fc: weight holds NaN"),
        (put("projections", "fc", "weight", np.full((3, 2), 0.5)), "projections/fc: weight is not integer"),
        (put("projections", "fc", "weight", np.full((3, 2), 1 << 16)), "weight = 65536 .* is outside"),
        (put("projections", "fc", "source", "nowhere"), "source 'nowhere' does not exist"),
        (put("projections", "fc", "delay_steps", 2000), "delay_steps = 2000 is outside"),
        (put("outputs", "class", "population", "nowhere"), "population 'nowhere' does not exist"),
        (lambda tree: tree.update(n_steps=0), "n_steps = 0"),
    ],
)
def test_illegal_graph_in_a_file(path: Path, change: Callable[[dict[str, Any]], None], match: str) -> None:
    rewritten(path, change)
    with pytest.raises(GraphError, match=match) as caught:
        load_graph(path)
    assert all(problem.where.startswith(str(path)) for problem in caught.value.problems)


def test_loop_without_delay_in_a_file(path: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        loop = {**tree["projections"]["fc"], "source": "hidden", "weight": np.ones((3, 3), np.int8)}
        tree["projections"]["loop"] = loop
        tree["order"]["projections"].append("loop")

    rewritten(path, change)
    with pytest.raises(GraphError, match="hidden → hidden: is a loop without delay"):
        load_graph(path)


def test_what_was_added_is_left_out_at_its_default(tmp_path: Path) -> None:
    """So the same graph is still the same file, and files of before load."""
    path = tmp_path / "a.h5"
    save_graph(small_float(), path)
    fields_of_version_1 = {
        "populations": "bias max_spikes refractory_steps reset shape tau_mem tau_syn v_threshold",
        "projections": "delay_steps kind source target weight",
    }
    tree = read_container(path, "float-graph")
    for group, names in fields_of_version_1.items():
        (node,) = tree[group].values()
        assert " ".join(sorted(node)) == names
    assert tree["content"] == "6aefca05b661460303df01529e7adb7b8ad5cabc79c067b3779160fc8f02d7cc"


def test_nan_in_a_float_graph(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    save_graph(small_float(), path)
    rewritten(path, put("projections", "fc", "weight", np.full((3, 2), np.nan)), "float-graph")
    with pytest.raises(GraphError, match="projections/fc: weight holds NaN"):
        load_graph(path)


@pytest.mark.parametrize(
    ("name", "remove"),
    [
        ("small.h5: populations/hidden: lacks decay_u", lambda tree: tree["populations"]["hidden"].pop("decay_u")),
        ("small.h5: populations/hidden: lacks reset", lambda tree: tree["populations"]["hidden"].pop("reset")),
        ("small.h5: projections/fc: lacks weight", lambda tree: tree["projections"]["fc"].pop("weight")),
        ("small.h5: projections/fc: has the unknown kind None", lambda tree: tree["projections"]["fc"].pop("kind")),
        ("small.h5: inputs/pixels: lacks max_value", lambda tree: tree["inputs"]["pixels"].pop("max_value")),
        ("small.h5: readout: lacks output", lambda tree: tree["readout"].pop("output")),
        ("small.h5: lacks n_steps", lambda tree: tree.pop("n_steps")),
        ("small.h5: lacks outputs", lambda tree: tree.pop("outputs")),
        ("small.h5: lacks order", lambda tree: tree.pop("order")),
        ("small.h5: order: lacks inputs", lambda tree: tree["order"].pop("inputs")),
        ("small.h5: lacks provenance", lambda tree: tree.pop("provenance")),
    ],
)
def test_missing_field(path: Path, name: str, remove: Callable[[dict[str, Any]], Any]) -> None:
    rewritten(path, remove)
    with pytest.raises(FileFormatError, match=name):
        load_graph(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (put("projections", "fc", "kind", "Conv3d"), "projections/fc: has the unknown kind 'Conv3d'"),
        (put("projections", "fc", "kind", ["Dense"]), "projections/fc: has the unknown kind"),
        (put("populations", "hidden", "colour", 1), "populations/hidden: has the unknown colour"),
        (lambda tree: tree.update(dt=0.5), "has the unknown dt"),
        (lambda tree: tree["order"].update(more=[]), "order: has the unknown more"),
        (put("populations", "hidden", "decay_u", 4096), "hidden: decay_u = 4096 .*array"),
        (put("populations", "hidden", "shape", "3"), "hidden: shape = '3'"),
        (put("populations", "hidden", "shape", [3.5]), "hidden: shape"),
        (put("populations", "hidden", "refractory_steps", 1.0), "hidden: refractory_steps = 1.0 .*integer"),
        (put("populations", "hidden", "refractory_steps", np.array(1)), "hidden: refractory_steps"),
        (put("populations", "hidden", "max_spikes", True), "hidden: max_spikes = True"),
        (put("populations", "hidden", "reset", "soft"), "hidden: reset = 'soft' .*'zero', 'subtract' or 'none'"),
        (put("projections", "fc", "source", None), "projections/fc: source = None"),
        (lambda tree: tree["coding"].update(kind="loud"), "coding: kind = 'loud'"),
        (lambda tree: tree.update(coding=None), "coding: is not a group"),
        (lambda tree: tree.update(inputs=3), "inputs is not a group"),
        (lambda tree: tree["populations"].update(hidden=3), "populations: hidden is not a group"),
        (lambda tree: tree.update(n_steps="8"), "n_steps = '8'"),
        (lambda tree: tree.update(provenance="me"), "provenance = 'me'"),
        (lambda tree: tree["order"].update(populations=[]), "order/populations is .*, but the populations are hidden"),
        (lambda tree: tree["order"].update(populations=["hidden", "hidden"]), "order/populations"),
        (lambda tree: tree["order"].update(populations="hidden"), "order/populations"),
        (lambda tree: tree["order"].update(inputs=[2, None]), "order/inputs"),
        (put("projections", "fc", "weight", np.ones((3, 2), np.int64)), "holds a graph of content"),
        (put("populations", "hidden", "bias_exp", np.array(0.0)), "holds a graph of content"),
    ],
)
def test_field_that_is_not_what_it_should_be(path: Path, change: Callable[[dict[str, Any]], None], match: str) -> None:
    rewritten(path, change)
    with pytest.raises(FileFormatError, match=match) as caught:
        load_graph(path)
    assert caught.value.problem.where.startswith(str(path))


def test_geometry_that_makes_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    graph = Graph(
        inputs={"in": Input(shape=(1, 4, 4))},
        populations={"p": Population(shape=(1, 4, 4), threshold_mant=1)},
        projections={"c": Conv2d(source="in", target="p", weight=np.ones((1, 1, 1, 1), int))},
        outputs={"out": Output(population="p")},
        n_steps=1,
    )
    save_graph(graph, path)
    for stride in ([], [1], [1, 1, 1], [0, 0], [-1, 1]):
        rewritten(path, put("projections", "c", "stride", stride))
        with pytest.raises(SpikegraphError):
            load_graph(path)


HOSTILE = [
    *(2**70, -(2**70), 0, -1, 1.5, float("nan"), float("inf"), "", "in", None, True),
    *([], [2**70], [-1], [0], [1, 2], [1, 2, 3], ["in"], [[1]]),
    *(np.array([]), np.array(2**63, np.uint64), np.array(-(2**63)), np.array(1e300), np.array([[True]])),
    *(np.zeros((1, 1, 1, 1, 1), int), np.zeros((0, 2, 3, 1), int), np.zeros((), int)),
]


@pytest.mark.parametrize("kind", GEOMETRY)
def test_any_value_in_any_field_is_refused_or_legal(tmp_path_factory: pytest.TempPathFactory, kind: str) -> None:
    path = tmp_path_factory.mktemp("graph") / "graph.h5"
    weight_shape, geometry, source, target = GEOMETRY[kind]
    save_graph(
        Graph(
            inputs={"in": Input(shape=source)},
            populations={"p": Population(shape=target, threshold_mant=1)},
            projections={
                "w": PROJECTIONS[kind](source="in", target="p", weight=np.zeros(weight_shape, int), **geometry)
            },
            outputs={"out": Output(population="p")},
            n_steps=1,
            coding=InputCoding(kind="rate"),
        ),
        path,
    )
    original = path.read_bytes()
    tree = read_container(path, "graph")
    places = [("inputs", "in"), ("populations", "p"), ("projections", "w"), ("outputs", "out")]

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from([(g, n, field) for g, n in places for field in tree[g][n]]), st.sampled_from(HOSTILE))
    def check(place: tuple[str, str, str], value: Any) -> None:
        path.write_bytes(original)
        rewritten(path, put(*place, value))
        with suppress(SpikegraphError):
            load_graph(path)

    check()


def test_content_that_differs(path: Path) -> None:
    tree = read_container(path, "graph")
    write_container(path, "graph", {**tree, "provenance": Json(value=tree["provenance"]), "content": "0" * 64})
    with pytest.raises(FileFormatError, match="but says 0000"):
        load_graph(path)


def listing(group: h5py.Group, indent: str = "") -> str:
    lines = []
    for name, value in sorted(group.attrs.items()):
        text = isinstance(value, bytes)
        stored = f"STRING[{len(value)}]" if text else value.dtype.name
        lines.append(f"{indent}ATTRIBUTE {name} : {stored} = {value.decode() if text else value}")
    for name, item in sorted(group.items()):
        if isinstance(item, h5py.Group):
            lines += [f"{indent}GROUP {name}", listing(item, indent + "    ")]
        else:
            lines.append(f"{indent}DATASET {name} : {item.dtype.name} {list(item.shape)} = {item[()].tolist()}")
    return "\n".join(line for line in lines if line)


def test_the_example_of_the_specification_is_true(path: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "format.md").read_text("utf-8")
    with h5py.File(path) as file:
        assert listing(file) in document


# Suffixes


def test_formats_by_suffix(tmp_path: Path) -> None:
    formats.save(small(), tmp_path / "a.H5")
    assert_same(small(), formats.load(str(tmp_path / "a.H5")))


@pytest.mark.parametrize(
    ("name", "match"),
    [("a.onnx", "suffix '.onnx'; use one of .h5, .net, .nir, then spikegraph build"), ("a", "no suffix")],
)
def test_other_suffix(tmp_path: Path, name: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        formats.save(small(), tmp_path / name)
    with pytest.raises(OptionError, match=match):
        formats.load(tmp_path / name)


def large_sparse() -> Graph:
    n = 300
    k = np.arange(20 * n)
    return Graph(
        inputs={"in": Input(shape=(n,))},
        populations={"n": Population(shape=(n,), threshold_mant=5)},
        projections={
            "w": Sparse(
                source="in", target="n", indptr=np.arange(n + 1) * 20, indices=k * 7919 % n, weight=k * 31 % 255 - 127
            )
        },
        outputs={"out": Output(population="n")},
        n_steps=3,
    )


def test_targets_are_int64_in_the_file_however_memory_holds_them(tmp_path: Path) -> None:
    graph, path = large_sparse(), tmp_path / "g.h5"
    assert graph.projections["w"].indices.dtype == np.int32
    # What the first spikegraph, which held them as int64, gave.
    assert graph_checksum(graph) == "bbf83215f6d5bd94a29c6dbe19aef417bbb52ef07dd070079a38fc937504ad16"
    save_graph(graph, path)
    with h5py.File(path) as file:
        stored = file["projections/w/indices"]
        assert stored.dtype == np.int64
        assert np.array_equal(stored[()], graph.projections["w"].indices)
    loaded = load_graph(path).projections["w"]
    assert loaded.indices.dtype == np.int32
    assert graph_checksum(load_graph(path)) == graph_checksum(graph)


def test_a_file_is_not_copied_once_more_to_become_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, trees = tmp_path / "g.h5", []
    save_graph(large_sparse(), path)

    def kept(*arguments: Any, **options: Any) -> dict[str, Any]:
        trees.append(container.read_container(*arguments, **options))
        return trees[-1]

    monkeypatch.setattr(hdf5, "read_container", kept)
    loaded, read = load_graph(path).projections["w"], trees[0]["projections"]["w"]
    assert loaded.weight is read["weight"]
    assert loaded.indices is read["indices"]
