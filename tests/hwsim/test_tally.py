"""Counts for each core: both engines agree, cores add up to nodes, and messages and hops as counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from graph_strategies import Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.chips import load_chip
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, Output, Population, Sparse, SumPool2d
from spikegraph.hwsim.kernel import LEVELS, kernel
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.placement import Placement, place
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.tally import CORE_QUANTITIES, tally_of

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def scattered(graph: Graph, seed: int) -> Placement:
    """Put every neuron into any core of its population, and the cores anywhere."""
    random = np.random.default_rng(seed)
    core_of, population = {}, []
    for name, node in graph.populations.items():
        n_groups = int(random.integers(1, 4))
        core_of[name] = random.integers(0, n_groups, node.n) + len(population)
        population += [name] * n_groups
    n_cores = len(population)
    return Placement(
        chip="loihi1",
        core_of=core_of,
        population=tuple(population),
        tiles=random.integers(0, 3, (n_cores, 2)),
        start_step=np.zeros(n_cores, np.int64),
        loads={},
        limits={},
        traffic=np.zeros((n_cores, n_cores), np.int64),
    )


@settings(relaxed, max_examples=150)
@given(case=cases(), seed=st.integers(0, 2**32), level=st.sampled_from(LEVELS[: kernel().sg_level() + 1]))
def test_engines_agree_and_cores_add_up(case: Case, seed: int, level: str) -> None:
    graph, placement = case.graph, scattered(case.graph, seed)
    program = compile_program(graph, tally_of(graph, placement))
    expected, got = run_reference(program, case.rasters), run_native(program, case.rasters, level=level)
    assert expected.per_core is not None
    assert got.per_core is not None
    assert np.array_equal(expected.per_core, got.per_core)

    counted = dict(zip(CORE_QUANTITIES, np.moveaxis(expected.per_core, 2, 0), strict=True))
    steps = expected.per_step
    for name in graph.populations:
        cores = [core for core, population in enumerate(placement.population) if population == name]
        for quantity in ("spikes", "active_updates"):
            assert np.array_equal(counted[quantity][..., cores].sum(axis=-1), steps[quantity][name])
        into = [steps["sops"][projection] for projection in graph.into(name)]
        sops = sum(counted[f"sops_{kind}"][..., cores].sum(axis=-1) for kind in ("dense", "convolution", "sparse"))
        assert np.array_equal(sops, sum(into, start=np.zeros_like(sops)))
    # A tally changes nothing else.
    plain = run_native(compile_program(graph), case.rasters)
    for quantity, nodes in plain.per_step.items():
        for node, array in nodes.items():
            assert np.array_equal(array, got.per_step[quantity][node])


def line(delay_steps: int = 0) -> tuple[Graph, Placement]:
    """Two inputs → two neurons, one a core → three neurons in two cores; each projection is dense with weights 1."""

    def ones(*shape: int) -> np.ndarray:
        return np.ones(shape, np.int64)

    graph = Graph(
        inputs={"in": Input(shape=(2,))},
        populations={
            "first": Population(shape=(2,), threshold_mant=1),
            "second": Population(shape=(3,), threshold_mant=1),
        },
        projections={
            "a": Dense(source="in", target="first", weight=[[2, 0], [0, 2]]),
            "b": Dense(source="first", target="second", weight=ones(3, 2), delay_steps=delay_steps),
            "c": Dense(source="first", target="second", weight=ones(3, 2), delay_steps=delay_steps + 1),
        },
        outputs={"out": Output(population="second")},
        n_steps=4,
    )
    placement = Placement(
        chip="loihi1",
        core_of={"first": np.array([0, 1]), "second": np.array([2, 3, 3])},
        population=("first", "first", "second", "second"),
        tiles=np.array([[0, 0], [2, 1], [0, 0], [1, 3]]),
        start_step=np.zeros(4, np.int64),
        loads={},
        limits={},
        traffic=np.zeros((4, 4), np.int64),
    )
    return graph, placement


def counted_of(graph: Graph, placement: Placement, raster: np.ndarray) -> dict[str, np.ndarray]:
    result = run_native(compile_program(graph, tally_of(graph, placement)), {"in": raster})
    assert result.per_core is not None
    return dict(zip(CORE_QUANTITIES, np.moveaxis(result.per_core[:, 0], 1, 0), strict=True))


def test_messages_and_hops_by_hand() -> None:
    graph, placement = line()
    raster = np.zeros((4, 1, 2), np.uint8)
    raster[1, 0] = [1, 0]  # neuron 0 of `first` fires in step 1
    raster[2, 0] = [1, 1]  # both fire in step 2
    counts = counted_of(graph, placement, raster)
    assert counts["spikes"][:, :2].tolist() == [[0, 0], [1, 0], [1, 1], [0, 0]]
    # A spike of `first` reaches cores 2 and 3 by two projections: one message for each core, not two.
    assert counts["messages"].tolist() == [[0, 0, 0, 0], [2, 0, 0, 0], [2, 2, 0, 0], [0, 0, 0, 0]]
    # Core 0, on tile (0, 0), reaches core 2 on its own tile and core 3 on (1, 3); core 1 is on (2, 1).
    assert counts["tile_messages"][:, :2].tolist() == [[0, 0], [1, 0], [1, 0], [0, 0]]
    assert counts["hops_east_west"][:, :2].tolist() == [[0, 0], [0 + 1, 0], [0 + 1, 2 + 1], [0, 0]]
    assert counts["hops_north_south"][:, :2].tolist() == [[0, 0], [0 + 3, 0], [0 + 3, 1 + 2], [0, 0]]
    # A message arrives with the faster projection. Each input reaches both cores of `first`, its zero weights as well.
    assert counts["messages_in"].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [0, 0, 0, 0]]
    # The slower projection adds one step later: core 2 has one neuron, core 3 two.
    assert counts["sops_dense"][:, 2:].tolist() == [[0, 0], [1, 2], [2 + 1, 4 + 2], [2, 4]]


def test_a_message_arrives_with_the_fastest_synapse_that_it_has_there() -> None:
    graph = Graph(
        inputs={"in": Input(shape=(2,))},
        populations={"first": Population(shape=(2,), threshold_mant=1)},
        projections={
            "fast": Sparse(source="in", target="first", indptr=[0, 1, 1], indices=[0], weight=[2]),
            "slow": Dense(source="in", target="first", weight=[[2, 2], [2, 2]], delay_steps=2),
        },
        outputs={"out": Output(population="first")},
        n_steps=4,
    )
    placement = replace(
        line()[1],
        core_of={"first": np.array([0, 1])},
        population=("first", "first"),
        tiles=np.array([[0, 0], [1, 0]]),
        start_step=np.zeros(2, np.int64),
    )
    raster = np.zeros((4, 1, 2), np.uint8)
    raster[0, 0] = 1
    # Input 0 reaches core 0 at once, and core 1 two steps later; input 1 reaches both two steps later.
    assert counted_of(graph, placement, raster)["messages_in"].tolist() == [[1, 0], [0, 0], [1, 2], [0, 0]]


def test_kinds_of_synapses_are_apart() -> None:
    graph = Graph(
        inputs={"in": Input(shape=(1, 4, 4))},
        populations={
            "conv": Population(shape=(2, 4, 4), threshold_mant=1),
            "pool": Population(shape=(2, 2, 2), threshold_mant=1),
            "out": Population(shape=(3,), threshold_mant=1),
        },
        projections={
            "a": Conv2d(source="in", target="conv", weight=np.full((2, 1, 3, 3), 2), padding=1),
            "b": SumPool2d(source="conv", target="pool", weight=np.array(2), kernel_size=2),
            "c": Dense(source="pool", target="out", weight=np.full((3, 8), 2)),
        },
        outputs={"out": Output(population="out")},
        n_steps=1,
    )
    raster = np.zeros((1, 1, 1, 4, 4), np.uint8)
    raster[0, 0, 0, 1, 1] = 1  # 9 taps in 2 channels fire 18 neurons, which fire all 8 of the pool
    placement = place(graph, load_chip("loihi1"))
    counts = counted_of(graph, placement, raster)
    core = {name: placement.population.index(name) for name in graph.populations}
    assert counts["sops_convolution"][0, core["conv"]] == 18
    assert counts["sops_convolution"][0, core["pool"]] == 18
    assert counts["sops_dense"][0, core["out"]] == 8 * 3
    assert counts["sops_sparse"].sum() == 0
