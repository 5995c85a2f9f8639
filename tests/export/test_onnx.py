"""ONNX models: what goes in and comes out, in which types, what is stored, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from spikegraph.export.errors import GraphError, OptionError
from spikegraph.export.graph import (
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
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.onnx import OnnxRefusalError, ranges, run_model, step_model
from spikegraph.export.passes import pipelined


def network(population=None, projection=None, kind=Dense, source=None, **graph) -> Graph:
    """One input, one population, one projection between them; arguments replace fields."""
    shape = (source or Input(shape=(4,))).shape
    projection = {"weight": np.ones((3, 4), int)} | (projection or {})
    fields = {
        "inputs": {"x": source or Input(shape=shape)},
        "populations": {"a": Population(**{"shape": (3,), "threshold_mant": 5} | (population or {}))},
        "projections": {"p": kind(source="x", target="a", **projection)},
        "outputs": {"out": Output(population="a")},
        "n_steps": 6,
    }
    return Graph(**fields | graph)


def declared(values) -> dict[str, tuple[str, list[str | int]]]:
    return {
        value.name: (
            TensorProto.DataType.Name(value.type.tensor_type.elem_type),
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


def graphs_in(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs_in(attribute.g)


def kinds(model) -> list[str]:
    return [node.op_type for graph in graphs_in(model.graph) for node in graph.node]


def stored(model) -> dict[str, np.ndarray]:
    return {
        constant.name.removeprefix("step:"): numpy_helper.to_array(constant)
        for graph in graphs_in(model.graph)
        for constant in graph.initializer
    }


RECURRENT = network(
    {"decay_u": 100, "decay_v": 50, "refractory_steps": 3, "max_spikes": 2},
    projections={
        "p": Dense(source="x", target="a", weight=np.ones((3, 4), int), delay_steps=2),
        "a": Dense(source="a", target="a", weight=np.ones((3, 3), int), delay_steps=4),  # named like the population
    },
)


def test_step_takes_spikes_and_state_and_returns_both() -> None:
    model = step_model(RECURRENT)
    states = {
        "a/u": ("INT32", ["B", 3]),
        "a/v": ("INT32", ["B", 3]),
        "a/held": ("INT32", ["B", 3]),
        "a/n_spikes": ("INT32", ["B", 3]),
        "x/past": ("UINT8", ["B", 2, 4]),
        "a/past": ("UINT8", ["B", 4, 3]),
    }
    inputs, outputs = declared(model.graph.input), declared(model.graph.output)
    assert inputs == {"x": ("UINT8", ["B", 4])} | {f"{name}/last": value for name, value in states.items()}
    assert outputs == {"a/s": ("UINT8", ["B", 3]), "a/v_before_reset": ("INT32", ["B", 3])} | states
    assert declared(step_model(RECURRENT, ["a"]).graph.output) == outputs  # u and v are state already


def test_run_takes_rasters() -> None:
    model = run_model(RECURRENT)
    assert declared(model.graph.input) == {"x": ("UINT8", ["T", "B", 4])}
    outputs = {"a/s": ("UINT8", ["T", "B", 3]), "a/v_before_reset": ("INT32", ["T", "B", 3])}
    assert declared(model.graph.output) == outputs
    traces = {"a/u": ("INT32", ["T", "B", 3]), "a/v": ("INT32", ["T", "B", 3])}
    assert declared(run_model(RECURRENT, ["a"]).graph.output) == outputs | traces


def test_state_that_is_forgotten_at_once_is_none() -> None:
    model = step_model(network({"decay_u": 4096, "decay_v": 4096}), ["a"])
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output] == ["a/s", "a/v_before_reset", "a/u", "a/v"]


def test_graded_spikes_are_int16() -> None:
    graph = network(source=Input(shape=(4,), min_value=-3, max_value=200))
    assert declared(run_model(graph).graph.input) == {"x": ("INT16", ["T", "B", 4])}
    assert run_model(graph).graph.input[0].doc_string == "spikes of the input, -3…200"


@pytest.mark.parametrize("make", [step_model, run_model])
def test_every_value_has_a_name_a_type_and_a_shape(make) -> None:
    model = make(RECURRENT)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    seen = set()
    for graph in graphs_in(model.graph):
        values = declared([*graph.input, *graph.value_info, *graph.output])
        for node in graph.node:
            assert node.name
            assert node.domain == ""
            for name in node.output:
                assert name in values, name
                assert None not in values[name][1], name
        names = {name for node in graph.node for name in node.output} | {value.name for value in graph.input}
        assert not names & seen
        seen |= names
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]


def test_names_of_a_graph_meet_no_other_names() -> None:
    """Names that the models use themselves, and the same ones for an input, a population and a projection."""
    weight = np.ones((2, 2), int)
    graph = Graph(
        inputs={"s": Input(shape=(2,)), "int32": Input(shape=(2,))},
        populations={name: Population(shape=(2,), decay_u=7, threshold_mant=64) for name in ("step", "list", "window")},
        projections={
            "step": Dense(source="s", target="step", weight=weight, delay_steps=1),
            "s": Dense(source="int32", target="list", weight=weight),
            "list": Dense(source="list", target="window", weight=weight, weight_exp=-1),
        },
        outputs={"s": Output(population="step"), "step": Output(population="window")},
        n_steps=6,
    )
    for make in (step_model, run_model):
        onnx.checker.check_model(make(graph, list(graph.populations)), full_check=True)


def test_a_reader_learns_what_the_graph_says() -> None:
    graph = RECURRENT
    model = step_model(graph)
    properties = {prop.key: prop.value for prop in model.metadata_props}
    assert properties["spikegraph"] == "step"
    assert properties["graph"] == graph_checksum(graph)
    assert json.loads(properties["n_steps"]) == 6
    assert json.loads(properties["inputs"]) == {"x": [0, 1]}
    assert json.loads(properties["outputs"]) == {"out": "a/s"}
    assert json.loads(properties["states"]) == ["a/u", "a/v", "a/held", "a/n_spikes", "x/past", "a/past"]
    potential = run_model(replace(graph, outputs={"out": Output(population="a", variable="v")}))
    [outputs] = [prop.value for prop in potential.metadata_props if prop.key == "outputs"]
    assert json.loads(outputs)["out"] in declared(potential.graph.output)
    assert model.producer_name == "spikegraph"
    assert {value.name: value.doc_string for value in model.graph.output}["a/held"] == (
        "steps for which v stays 0 yet, after the step"
    )


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert run_model(RECURRENT).SerializeToString() == run_model(RECURRENT).SerializeToString()


def test_weights_are_stored_as_narrow_as_they_are() -> None:
    # -256, 254 and 2 share a factor of 2: -128, 127 and 1 fit in 8 bits.
    weight = np.array([[-256, 254, 2, 0]] * 3)
    model = run_model(network(projection={"weight": weight}))
    assert stored(model)["p/weight"].dtype == np.int8
    assert stored(model)["p/weight"].T.tolist() == [[-128, 127, 1, 0]] * 3
    assert "int32/128" in stored(model)  # x << 6, doubled
    model = run_model(network(projection={"weight": weight + 1}))
    assert stored(model)["p/weight"].dtype == np.int16


def test_synapses_are_stored_one_by_one_where_that_is_smaller() -> None:
    n = 100
    few = {"indptr": np.arange(n + 1), "indices": np.arange(n) % 3, "weight": np.arange(n) % 5 - 2}
    constants = stored(
        run_model(network(projection=few, kind=Sparse, source=Input(shape=(n,)), population={"shape": (9,)}))
    )
    assert constants["p/weight"].shape == constants["p/places"].shape == (n,)  # 500 bytes, of 900 in a matrix
    assert constants["p/places"].dtype == np.int32
    constants = stored(run_model(network(projection=few, kind=Sparse, source=Input(shape=(n,)))))
    assert constants["p/weight"].shape == (n, 3)  # 300 bytes
    assert "p/places" not in constants


@pytest.mark.parametrize(
    ("n", "weight", "source", "sum_type"),
    [
        (512, 127, {}, TensorProto.INT32),  # binary spikes, 8 bits
        (512, 32767, {}, TensorProto.FLOAT),  # 512 · 32767 = 16776704 < 2^24 = 16777216
        (513, 32767, {}, TensorProto.DOUBLE),  # 16809471
        (4, 127, {"min_value": -32768, "max_value": 32767}, TensorProto.FLOAT),  # 4 · 127 · 32768 = 16646144
        (5, 127, {"min_value": -32768, "max_value": 32767}, TensorProto.DOUBLE),  # 20807680
        (513, -32768, {}, TensorProto.INT32),  # a power of two: -1 in 8 bits
    ],
)
def test_sums_are_exact_in_the_type_chosen(n, weight, source, sum_type) -> None:
    graph = network(projection={"weight": np.full((3, n), weight)}, source=Input(shape=(n,), **source))
    assert ranges.ranges(graph).sums["p"].sum_type == sum_type
    product = "MatMulInteger" if sum_type == TensorProto.INT32 else "MatMul"
    assert product in kinds(run_model(graph))


def test_windows_in_float64_are_products() -> None:
    image = Input(shape=(1, 5, 5), min_value=-32768, max_value=32767)
    wide = {"shape": (1, 3, 3)}
    conv = network(wide, {"weight": np.full((1, 1, 3, 3), 127)}, Conv2d, image)  # 9 · 127 · 32768 > 2^24
    assert "Conv" not in kinds(run_model(conv))
    narrow = network(wide, {"weight": np.full((1, 1, 3, 3), 51)}, Conv2d, image)  # 15040512
    assert "Conv" in kinds(run_model(narrow))
    pool = {"weight": np.array(32767), "kernel_size": 3, "stride": 1}  # the weight comes after the sum of 9 · 32768
    assert "Conv" in kinds(run_model(network(wide, pool, SumPool2d, image)))


def test_states_are_wrapped_and_clipped_only_where_they_can_leave() -> None:
    # u grows by 4 · 127 << 6 = 32512 a step at most: up to 32512 · 4096 / 16 = 8323072, and 2^23 = 8388608.
    # v grows by that: up to 8323072 · 4096 / 4065 = 8386544; with 4064 it is 8388608, one more than v can be.
    def used(decay_u: int, decay_v: int) -> set[str]:
        graph = network({"decay_u": decay_u, "decay_v": decay_v}, {"weight": np.full((3, 4), 127)})
        return {"BitwiseAnd", "Clip"} & set(kinds(run_model(graph)))

    assert used(16, 4065) == set()
    assert used(16, 4064) == {"Clip"}
    assert used(15, 4096) == {"BitwiseAnd", "Clip"}  # a wrapped u may be 2^23
    assert used(4096, 0) == {"Clip"}  # no leak: no bound


def test_decay_is_in_32_bits_where_the_product_fits() -> None:
    # u up to 4 << 6 = 256, so 256 · 4096 / 1000 = 1049 · 3097 / 4096 in 32 bits; 127 · 4 << 13 needs 64.
    small = run_model(network({"decay_u": 999, "decay_v": 4096}))
    large = run_model(network({"decay_u": 999, "decay_v": 4096}, {"weight": np.full((3, 4), 127), "weight_exp": 7}))
    assert [np.dtype(name.partition("/")[0]) for name in stored(small) if name.endswith("/3097")] == [np.int32]
    assert [np.dtype(name.partition("/")[0]) for name in stored(large) if name.endswith("/3097")] == [np.int64]


def refused(graph: Graph) -> list[str]:
    with pytest.raises(OnnxRefusalError) as error:
        run_model(graph)
    with pytest.raises(OnnxRefusalError):
        step_model(graph)
    assert all(str(problem) in str(error.value) for problem in error.value.problems)
    return [str(problem) for problem in error.value.problems]


def test_a_pipelined_graph_is_refused() -> None:
    [problem] = refused(pipelined(network()))
    assert problem == "a: start_step = 1: the graph is pipelined; export the original"


def test_sums_that_no_type_adds_exactly_are_refused() -> None:
    # 2^23 synapses of -32767 between two neurons, and a spike of -32768: 2^38 · 32767 < 2^53 = 2^38 · 32768.
    graded = Input(shape=(1,), min_value=-32768, max_value=32767)
    synapses = {"weight": np.array([-32767]), "indptr": np.array([0, 1]), "indices": np.array([0])}

    def graph(n: int, weight_exp: int) -> Graph:
        many = {name: np.repeat(array, n) if name != "indptr" else array * n for name, array in synapses.items()}
        return network({"shape": (1,)}, {**many, "weight_exp": weight_exp}, Sparse, graded)

    problems = refused(graph((1 << 23) + 300, 7))
    assert [problem.partition(":")[0] for problem in problems] == ["a", "p"]
    assert "too much for 64 bits" in problems[0]
    assert "beyond what float64 adds without rounding (2^53)" in problems[1]


def test_a_matrix_that_is_too_large_is_refused() -> None:
    n = 1 << 14
    one = {"weight": np.array([1]), "indptr": np.append(np.zeros(n + 1, int), [1]), "indices": np.array([0])}
    [problem] = refused(network({"shape": (n,)}, one, Sparse, Input(shape=(n + 1,))))
    assert problem.startswith("p: its matrix has 268,451,840 entries when the model is loaded, of 268,435,456 allowed")


def test_a_file_that_is_too_large_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(ranges, "LARGEST_FILE", 11)
    [problem] = refused(network())
    assert problem.startswith("graph: has 12 bytes of weights, and an ONNX file holds 11")


def test_all_reasons_are_listed_at_once(monkeypatch) -> None:
    monkeypatch.setattr(ranges, "LARGEST_FILE", 11)
    assert len(refused(pipelined(network()))) == 2


def test_an_illegal_graph_and_an_unknown_population_are_refused() -> None:
    with pytest.raises(GraphError, match="outside -32768…32767"):
        run_model(network(projection={"weight": np.full((3, 4), 1 << 15)}))
    with pytest.raises(OptionError, match="there is no population 'b'; choose among a"):
        step_model(network(), ["b"])


def test_kinds_that_need_no_matrix() -> None:
    assert "MatMul" not in kinds(
        run_model(network(projection={"weight": np.array(7)}, kind=OneToOne, source=Input(shape=(3,))))
    )
    quiet = replace(network(), projections={})  # nothing but a bias drives it, and something must count the steps
    assert declared(run_model(quiet).graph.input) == {"x": ("UINT8", ["T", "B", 4])}
