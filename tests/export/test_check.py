"""Every problem that check.py reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegraph.export.check import problems, require_legal
from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.errors import GraphError
from spikegraph.export.float_graph import FloatDense, FloatGraph, FloatPopulation
from spikegraph.export.graph import Dense, Graph, Input, Output, Population, SumPool2d


def legal(**population: Any) -> Graph:
    """in (3) → hidden (2) → out (2), legal everywhere unless a parameter says otherwise."""
    return Graph(
        inputs={"in": Input(shape=(3,))},
        populations={
            "hidden": Population(shape=(2,), **{"threshold_mant": 10, **population}),
            "out": Population(shape=(2,), threshold_mant=10),
        },
        projections={
            "first": Dense(source="in", target="hidden", weight=[[2, 4, 6], [8, -2, 0]]),
            "second": Dense(source="hidden", target="out", weight=[[2, 4], [6, 8]]),
        },
        outputs={"class": Output(population="out")},
        n_steps=10,
        coding=InputCoding(kind="rate"),
        readout=Readout(kind="count", output="class"),
    )


def float_legal(**population: Any) -> FloatGraph:
    return FloatGraph(
        inputs={"in": Input(shape=(3,))},
        populations={"out": FloatPopulation(shape=(2,), **population)},
        projections={"first": FloatDense(source="in", target="out", weight=np.ones((2, 3)))},
        outputs={"class": Output(population="out")},
        n_steps=10,
    )


def change(field: str, name: str, **values: Any) -> Callable[[Graph], Graph]:
    """Return a function that replaces values of one node, or adds the node."""

    def changed(graph: Graph) -> Graph:
        nodes = dict(getattr(graph, field))
        nodes[name] = replace(nodes[name], **values)
        return replace(graph, **{field: nodes})

    return changed


def hidden(**values: Any) -> Callable[[Graph], Graph]:
    return change("populations", "hidden", **values)


def first(**values: Any) -> Callable[[Graph], Graph]:
    return change("projections", "first", **values)


def whole(**values: Any) -> Callable[[Graph], Graph]:
    return lambda graph: replace(graph, **values)


def loop(graph: Graph) -> Graph:
    back = Dense(source="out", target="hidden", weight=np.ones((2, 2), int))
    return replace(graph, projections={**graph.projections, "back": back})


RATE = InputCoding(kind="rate")
PROBLEMS: list[tuple[str, Callable[[Graph], Graph], str]] = [
    ("n_steps 0", whole(n_steps=0), "graph: n_steps = 0 is outside 1…1048576; bring n_steps into that range"),
    (
        "n_steps",
        whole(n_steps=2**20 + 1),
        "graph: n_steps = 1048577 is outside 1…1048576; bring n_steps into that range",
    ),
    (
        "one name twice",
        whole(inputs={"in": Input(shape=(3,)), "out": Input(shape=(2,))}),
        "out: is both an input and a population; rename one of them",
    ),
    ("no inputs", whole(inputs={}, projections={}), "graph: has no inputs; add one of the inputs"),
    (
        "no populations",
        whole(populations={}, projections={}, outputs={}, readout=None),
        "graph: has no populations; add one of the populations",
    ),
    ("no outputs", whole(outputs={}, readout=None), "graph: has no outputs; add one of the outputs"),
    ("shape of two", hidden(shape=(1, 2)), "hidden: has shape (1, 2); use (n,) or (c, h, w), each at least 1"),
    ("shape of none", change("inputs", "in", shape=()), "in: has shape (); use (n,) or (c, h, w), each at least 1"),
    ("shape with 0", change("inputs", "in", shape=(0,)), "in: has shape (0,); use (n,) or (c, h, w), each at least 1"),
    ("source", first(source="nowhere"), "first: its source 'nowhere' does not exist; name a node of the graph"),
    ("target", first(target="nowhere"), "first: its target 'nowhere' does not exist; name a node of the graph"),
    ("into an input", first(target="in"), "first: its target 'in' does not exist; name a node of the graph"),
    (
        "shapes",
        first(weight=np.ones((2, 4), int)),
        "first (Dense, in → hidden): weight has shape (2, 4), expected (2, 3); make the shapes meet",
    ),
    ("delay", first(delay_steps=-1), "first: delay_steps = -1 is outside 0…1023; bring delay_steps into that range"),
    (
        "delay",
        first(delay_steps=1024),
        "first: delay_steps = 1024 is outside 0…1023; bring delay_steps into that range",
    ),
    (
        "population of an output",
        change("outputs", "class", population="hiden"),
        "class: its population 'hiden' does not exist; name one of hidden, out",
    ),
    (
        "an input as an output",
        change("outputs", "class", population="in"),
        "class: its population 'in' does not exist; name one of hidden, out",
    ),
    ("variable", change("outputs", "class", variable="u"), "class: variable = 'u'; use 's' or 'v'"),
    (
        "output of the readout",
        whole(readout=Readout(kind="count", output="clas")),
        "readout: its output 'clas' does not exist; name one of class",
    ),
    (
        "kind of the readout",
        whole(readout=Readout(kind="counts", output="class")),
        "readout: kind = 'counts'; use one of count, membrane, first_spike",
    ),
    (
        "classes of the readout",
        whole(readout=Readout(kind="count", output="class", neurons_per_class=3)),
        "readout: output 'class' has 2 neurons, which do not divide into classes of 3; change neurons_per_class, or"
        " the population",
    ),
    (
        "classes of no neurons",
        whole(readout=Readout(kind="count", output="class", neurons_per_class=0)),
        "readout: neurons_per_class = 0; give at least 1",
    ),
    (
        "a joined output",
        whole(readout=Readout(kind="count", output="class", joined=("clas",))),
        "readout: its output 'clas' does not exist; name one of class",
    ),
    (
        "weights of the readout",
        whole(readout=Readout(kind="count", output="class", weights=(1, 2))),
        "readout: has 2 weights, of outputs it has 1; give one for each, or none",
    ),
    (
        "a weight of the readout",
        whole(readout=Readout(kind="count", output="class", weights=(0,))),
        "readout: weights = 0 is outside 1…32767; bring weights into that range",
    ),
    (
        "potentials of several outputs",
        whole(readout=Readout(kind="membrane", output="class", joined=("class",))),
        "readout: reads the potentials of 2 outputs, which have no scale in common; read one of them, or their spikes:"
        " count or first_spike",
    ),
    (
        "kind of the coding",
        whole(coding=InputCoding(kind="rates")),
        "coding: kind = 'rates'; use one of rate, direct, first_spike, events",
    ),
    (
        "seed",
        whole(coding=InputCoding(kind="rate", seed=2**64)),
        "coding: seed = 18446744073709551616 is outside 0…18446744073709551615; bring seed into that range",
    ),
    (
        "seed",
        whole(coding=InputCoding(kind="rate", seed=-1)),
        "coding: seed = -1 is outside 0…18446744073709551615; bring seed into that range",
    ),
    (
        "direct coding",
        whole(coding=InputCoding(kind="direct", max_value=15)),
        "in: the coding sends 15, but its spikes carry 0…1; widen min_value…max_value, or change the coding",
    ),
    (
        "spikes of an input that carries none",
        change("inputs", "in", min_value=-3, max_value=-1),
        "in: the coding sends 1, but its spikes carry -3…-1; widen min_value…max_value, or change the coding",
    ),
    (
        "max_value of the coding",
        lambda g: replace(
            change("inputs", "in", max_value=40000)(g), coding=InputCoding(kind="direct", max_value=40000)
        ),
        "coding: max_value = 40000 is outside -32768…32767; bring max_value into that range",
    ),
    (
        "loop",
        loop,
        "hidden → out → hidden: is a loop without delay; give one of its projections delay_steps of at least 1",
    ),
    ("reset", hidden(reset="hard"), "hidden: reset = 'hard'; use one of zero, subtract, none"),
    (
        "refractory",
        hidden(refractory_steps=0),
        "hidden: refractory_steps = 0 is outside 1…1048576; bring refractory_steps into that range",
    ),
    (
        "max_spikes",
        hidden(max_spikes=-1),
        "hidden: max_spikes = -1 is outside 0…1048576; bring max_spikes into that range",
    ),
    (
        "min_value",
        change("inputs", "in", min_value=-32769),
        "in: min_value = -32769 is outside -32768…32767; bring min_value into that range",
    ),
    (
        "max_value",
        change("inputs", "in", max_value=32768),
        "in: max_value = 32768 is outside -32768…32767; bring max_value into that range",
    ),
    ("values", change("inputs", "in", min_value=2), "in: min_value = 2 exceeds max_value = 1; swap them"),
    (
        "granularity",
        hidden(decay_u=[1, 2, 3]),
        "hidden: decay_u has shape (3,), expected () or (2,); give one number, one per channel or one per neuron",
    ),
    ("start_step", hidden(start_step=-1), "hidden: start_step = -1 is negative; use 0, or `pipelined`"),
    (
        "weight",
        first(weight=[[0, 40000, 1], [-32769, 0, 0]]),
        "first: weight = 40000 (and 1 more) is outside -32768…32767; bring weight into that range",
    ),
    ("weight_exp", first(weight_exp=8), "first: weight_exp = 8 is outside -8…7; bring weight_exp into that range"),
    ("weight_exp", first(weight_exp=-9), "first: weight_exp = -9 is outside -8…7; bring weight_exp into that range"),
] + [
    (
        name,
        hidden(**{name: [legal_value, value]}),
        f"hidden: {name} = {value} is outside {limit}; bring {name} into that range",
    )
    for name, legal_value, limit, values in (
        ("decay_u", 1, "1…4096", (0, 4097)),
        ("decay_v", 0, "0…4096", (-1, 4097)),
        ("threshold_mant", 1, "1…131071", (0, 131072, -5)),
        ("bias_mant", 0, "-4096…4095", (-4097, 4096)),
        ("bias_exp", 0, "0…7", (-1, 8)),
    )
    for value in values
]


@pytest.mark.parametrize(("make", "says"), [pytest.param(m, s, id=f"{i}-{n}") for i, (n, m, s) in enumerate(PROBLEMS)])
def test_problem(make: Callable[[Graph], Graph], says: str) -> None:
    graph = legal()
    assert problems(graph) == []
    found = [str(problem) for problem in problems(make(graph))]
    assert says in found
    with pytest.raises(GraphError) as raised:
        require_legal(make(graph))
    assert says in str(raised.value)


FLOAT_PROBLEMS = [
    (lambda g: replace(g, dt=0.0), "graph: dt = 0.0 s; give a positive time step"),
    (lambda g: replace(g, dt=float("nan")), "graph: dt = nan s; give a positive time step"),
    (lambda g: replace(g, dt=float("inf")), "graph: dt = inf s; give a positive time step"),
    (
        lambda g: replace(g, populations={"out": FloatPopulation(shape=(2,), v_threshold=[1.0, 0.0])}),
        "out: v_threshold = 0.0 is not positive; train with positive thresholds",
    ),
    (
        lambda g: replace(g, populations={"out": FloatPopulation(shape=(2,), tau_syn=-1.0)}),
        "out: tau_syn = -1.0 s; give a time constant of 0 or more seconds",
    ),
    (
        lambda g: replace(g, populations={"out": FloatPopulation(shape=(2,), tau_mem=float("nan"))}),
        "out: tau_mem = nan s; give a time constant of 0 or more seconds",
    ),
    (
        lambda g: replace(g, populations={"out": FloatPopulation(shape=(2,), tau_mem=[0.1, -2.0])}),
        "out: tau_mem = -2.0 s; give a time constant of 0 or more seconds",
    ),
    (
        lambda g: replace(g, populations={"out": FloatPopulation(shape=(2,), tau_syn=[0.1, 0.2, 0.3])}),
        "out: tau_syn has shape (3,), expected () or (2,); give one number, one per channel or one per neuron",
    ),
    (
        lambda g: replace(g, populations={"out": FloatPopulation(shape=(2,), bias=[1.0, 2.0, 3.0])}),
        "out: bias has shape (3,), expected () or (2,); give one number, one per channel or one per neuron",
    ),
    (
        lambda g: replace(g, populations={"out": FloatPopulation(shape=(2,), v_threshold=[[1.0]])}),
        "out: v_threshold has shape (1, 1), expected () or (2,); give one number, one per channel or one per neuron",
    ),
    (lambda g: replace(g, n_steps=0), "graph: n_steps = 0 is outside 1…1048576; bring n_steps into that range"),
]


@pytest.mark.parametrize(("make", "says"), FLOAT_PROBLEMS)
def test_problem_of_a_float_graph(make: Callable[[FloatGraph], FloatGraph], says: str) -> None:
    assert problems(float_legal()) == []
    assert [str(problem) for problem in problems(make(float_legal()))] == [says]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    with pytest.raises(GraphError, match="weight: holds NaN or infinity; look at the training run"):
        FloatDense(source="a", target="b", weight=[[value]])
    with pytest.raises(GraphError, match="v_threshold: holds NaN or infinity"):
        FloatPopulation(shape=(1,), v_threshold=value)
    with pytest.raises(GraphError, match=r"weight: holds (NaN or infinity|-?inf)"):
        Dense(source="a", target="b", weight=[[value]])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0.5, "weight: is not integer .dtype float64.; quantize the graph first"),
        (True, "weight: is not integer .dtype bool."),
        ("1", "weight: is not integer"),
        (2**63, "weight: holds 9223372036854775808, too much for 64 bits"),
        (1e30, "weight: holds 1e.30, too much for 64 bits"),
    ],
)
def test_what_is_not_integer_is_refused(value: Any, says: str) -> None:
    with pytest.raises(GraphError, match=says):
        Dense(source="a", target="b", weight=[[value]])


def test_whole_floats_are_integers() -> None:
    assert Dense(source="a", target="b", weight=[[2.0, -3.0]]).weight.tolist() == [[2, -3]]


def test_all_problems_are_listed() -> None:
    graph = legal(decay_u=0, threshold_mant=0, bias_exp=9)
    for make in (whole(n_steps=0), first(delay_steps=-1), change("outputs", "class", population="x"), loop):
        graph = make(graph)
    found = problems(graph)
    assert {p.where for p in found} == {"graph", "first", "class", "hidden", "hidden → out → hidden"}
    assert len(found) == 7
    with pytest.raises(GraphError) as raised:
        require_legal(graph)
    assert raised.value.problems == tuple(found)
    lines = str(raised.value).splitlines()
    assert lines[0] == "7 problems:"
    assert [line.strip() for line in lines[1:]] == [str(problem) for problem in found]


def test_broken_shapes_do_not_hide_other_problems() -> None:
    """A shape that no projection can meet is reported, not raised."""
    graph = change("inputs", "in", shape=())(legal(decay_u=0))
    pool = SumPool2d(source="in", target="hidden")
    graph = replace(graph, projections={**graph.projections, "pool": pool})
    assert len(problems(graph)) == 4  # the shape, first, pool, decay_u


# CHIP stands for the chip's title.
ON_LOIHI1: list[tuple[Callable[[Graph], Graph], str]] = [
    (
        change("inputs", "in", max_value=3),
        "in: graded input (0…3), but spikes are binary on CHIP; "
        "use rate or first_spike coding, or events of max_value 1, or a chip with graded spikes",
    ),
    (hidden(decay_v=4096), "hidden: decay_v = 4096 is outside 0…4095 on CHIP; bring decay_v into that range"),
    (
        hidden(threshold_mant=[10, 11]),
        "hidden: threshold_mant has 2 values, but a population shares one on CHIP; quantize for this chip, or"
        " split the population",
    ),
    (
        hidden(decay_u=[10, 11]),
        "hidden: decay_u has 2 values, but a population shares one on CHIP; quantize for this chip, or split the"
        " population",
    ),
    (
        hidden(decay_v=[10, 11]),
        "hidden: decay_v has 2 values, but a population shares one on CHIP; quantize for this chip, or split the"
        " population",
    ),
    (
        hidden(bias_exp=[0, 1]),
        "hidden: bias_exp has 2 values, but a population shares one on CHIP; quantize for this chip, or split the"
        " population",
    ),
    (
        hidden(reset="subtract"),
        "hidden: reset = 'subtract', but only zero exists on CHIP; train with that reset, convert with --reset zero, or"
        " choose another chip",
    ),
    (
        hidden(refractory_steps=64),
        "hidden: refractory_steps = 64 is outside 1…63 on CHIP; bring refractory_steps into that range",
    ),
    (
        hidden(max_spikes=1),
        "hidden: max_spikes = 1, but neurons count no spikes on CHIP; use a refractory period that outlasts the sample",
    ),
    (
        first(weight=[[2, 3, 4], [5, 6, 8]]),
        "first: weight = 3 (and 1 more) is outside -256…254, multiples of 2 on CHIP; bring weight into that range",
    ),
    (
        first(weight=[[256, 0, 0], [0, 0, 0]]),
        "first: weight = 256 is outside -256…254, multiples of 2 on CHIP; bring weight into that range",
    ),
    (
        first(delay_steps=63),
        "first: delay_steps = 63 is outside 0…62 on CHIP; bring delay_steps into that range",
    ),
]


@pytest.mark.parametrize(("make", "says"), ON_LOIHI1)
def test_problem_on_a_chip(make: Callable[[Graph], Graph], says: str) -> None:
    chip = load_chip("loihi1")
    assert problems(legal(), chip) == []
    graph = make(legal())
    assert problems(graph) == []  # legal by the law, only not on this chip
    assert [str(problem) for problem in problems(graph, chip)] == [says.replace("CHIP", "Intel Loihi 1")]
    with pytest.raises(GraphError, match="Intel Loihi 1"):
        require_legal(graph, chip)


def test_one_value_in_an_array_is_shared() -> None:
    chip = load_chip("loihi1")
    assert problems(hidden(threshold_mant=[7, 7], decay_u=[9, 9], bias_mant=[1, 2])(legal()), chip) == []


@pytest.mark.parametrize("field", ["weight", "weight_exp", "delay_steps", "refractory_steps", *Population.PARAMETERS])
def test_every_range_of_a_chip_is_checked(field: str) -> None:
    """A chip that holds nothing but 3 in one field refuses 2 and 4 there, and nothing else."""
    generic = load_chip("generic")
    one = getattr(generic, field).model_copy(update={"minimum": 3, "maximum": 3})
    chip: Chip = generic.model_copy(update={field: one})
    populations = {k: replace(p, refractory_steps=3) for k, p in legal().populations.items()}
    on_populations = field in Population.PARAMETERS or field == "refractory_steps"

    def with_value(value: int) -> Graph:
        if on_populations:
            return replace(legal(), populations={k: replace(p, **{field: value}) for k, p in populations.items()})
        values = {
            k: np.full(p.weight.shape, value) if field == "weight" else value for k, p in legal().projections.items()
        }
        return replace(
            legal(), projections={k: replace(p, **{field: values[k]}) for k, p in legal().projections.items()}
        )

    assert problems(with_value(3), chip) == []
    for value in (2, 4):
        found = problems(with_value(value), chip)
        assert len(found) == 2  # two populations, or two projections
        assert all(f"{field} = {value}" in problem.what for problem in found)
        assert all("is outside 3…3 on Generic integer hardware" in problem.what for problem in found)
