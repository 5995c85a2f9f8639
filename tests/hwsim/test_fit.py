"""Will it fit: every limit that is passed, with its numbers, and what each core would hold."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import numpy as np

from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population
from spikegraph.hwsim.fit import fit
from spikegraph.hwsim.placement import place

LOIHI1 = load_chip("loihi1")


def neurons(*shape: int) -> Population:
    return Population(shape=shape, threshold_mant=500)


def even(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-60, 64, shape) * 2


def two_layers(n_in: int, n_hidden: int, n_out: int = 10) -> Graph:
    return Graph(
        inputs={"in": Input(shape=(n_in,))},
        populations={"hidden": neurons(n_hidden), "out": neurons(n_out)},
        projections={
            "p": Dense(source="in", target="hidden", weight=even(n_hidden, n_in)),
            "q": Dense(source="hidden", target="out", weight=even(n_out, n_hidden)),
        },
        outputs={"o": Output(population="out")},
        n_steps=4,
    )


def small(**limits: int) -> Chip:
    assert LOIHI1.core is not None
    cut = {name: getattr(LOIHI1.core, name).model_copy(update={"maximum": limit}) for name, limit in limits.items()}
    return LOIHI1.model_copy(update={"core": LOIHI1.core.model_copy(update=cut)})


def test_what_fits_is_what_is_placed() -> None:
    graph = two_layers(784, 512)
    found, placed = fit(graph, LOIHI1), place(graph, LOIHI1)
    assert found.problems == found.notes == ()
    report = found.to_json()
    assert [core["population"] for core in report["cores"]] == list(placed.population)
    for name, load in placed.loads.items():
        assert [core["loads"][name] for core in report["cores"]] == load.tolist()
    assert report["cores"][0]["utilization"] == placed.to_json()["cores"][0]["utilization"]
    assert report["populations"]["hidden"] == {"cores": 4, "cut_for": "synapse_bits"}
    assert report["populations"]["out"] == {"cores": 1, "cut_for": None}


def test_every_population_that_is_too_large_is_named() -> None:
    # Both have neurons that no core can hold: 5,000 axons in, and 5,000 of the hidden ones.
    found = fit(two_layers(5000, 5000), LOIHI1)
    assert [(p.where, p.found, p.limit) for p in found.problems] == [
        ("hidden on loihi1", 5000, 4096),
        ("out on loihi1", 5000, 4096),
    ]
    assert found.to_json()["cores"] == []


def test_how_many_cores_are_missing() -> None:
    found = fit(two_layers(4, 200), small(neurons=1))
    (problem,) = found.problems
    assert (problem.found, problem.limit) == (210, 128)
    assert "hidden 200 for its neurons, out 10 for its neurons" in problem.what
    assert len(found.to_json()["cores"]) == 210  # what each would hold is known all the same
    # A core of 4 words of 64 bits holds lists of 6 synapses of 8 bits from each of 4 sources: 1,334 cores.
    problem = fit(two_layers(4, 8000, 1), small(synapse_bits=256, axons_in=8000)).problems[0]
    assert (problem.where, problem.found, problem.limit) == ("hidden on loihi1", "more than 512", 128)


def test_too_few_cores_even_for_the_populations_that_can_be_cut() -> None:
    found = fit(two_layers(4, 5000, 10), small(neurons=20, synapse_bits=2000 * 64))
    # 5,000 neurons at 20 a core; and no core holds the 5,000 lists of one word that one of the other ten has.
    assert [(p.where, p.found, p.limit) for p in found.problems] == [
        ("out on loihi1", 5000 * 64, 2000 * 64),
        ("chip 'loihi1'", 250, 128),
    ]
    assert "needs at least 250 cores" in found.problems[1].what


def test_axons_that_leave_a_core() -> None:
    (problem,) = fit(two_layers(4, 3, 9), small(neurons=3, axons_out=2)).problems
    assert (problem.where, problem.found, problem.limit) == ("hidden on loihi1", 3, 2)
    assert "axons_out" in problem.what


def test_a_population_that_is_cut_for_what_leaves_its_cores() -> None:
    # 60 neurons that reach 90 others in 2 cores: 120 entries, 60 a core, so 2 cores.
    found = fit(two_layers(4, 60, 90), small(neurons=60, axons_out=60))
    assert found.problems == ()
    assert found.to_json()["populations"]["hidden"] == {"cores": 2, "cut_for": "axons_out"}
    # A core that may send but one: a neuron that reaches 2 cores is too much by itself.
    (problem,) = fit(two_layers(4, 60, 90), small(neurons=60, axons_out=1)).problems
    assert "axons_out" in problem.what


def test_delays_on_the_clock_of_the_chip() -> None:
    # A skip of 70 populations: delay 0 by the law, and 69 beyond the step of delivery on the chip.
    names = [f"n{k:02}" for k in range(70)]
    graph = Graph(
        inputs={"in": Input(shape=(2,))},
        populations={name: neurons(2) for name in names},
        projections={
            f"to_{name}": OneToOne(source=before, target=name, weight=510 // 2)
            for before, name in zip(["in", *names], names, strict=False)
        }
        | {"skip": OneToOne(source="in", target=names[-1], weight=2)},
        outputs={"o": Output(population=names[-1])},
        n_steps=4,
    )
    (problem,) = fit(graph, LOIHI1).problems
    assert (problem.where, problem.found, problem.limit) == ("skip", 69, 62)
    loop = {"loop": OneToOne(source=names[1], target=names[0], weight=2, delay_steps=1)}
    found = fit(replace(graph, projections={**graph.projections, **loop}), LOIHI1)
    assert "a loop of 2 projections with 1 delay steps" in found.problems[0].what
    assert found.assignment is None


def test_what_is_not_known_is_said() -> None:
    found = fit(two_layers(784, 512), load_chip("loihi2"))
    assert found.notes[0] == "not published, so not checked: axons_in, axons_out, decay_profiles, threshold_profiles"
    assert found.notes[1] == "assumed, not published: mesh, packing, synapse_bits"
    assert "axons_in" not in found.to_json()["cores"][0]["utilization"]
    generic = fit(two_layers(4, 4), load_chip("generic"))
    assert generic.notes == ("Generic integer hardware has no cores: nothing is said of neurons, memory and axons",)
    assert generic.to_json() == {"limits": {}, "notes": list(generic.notes)}


def test_weights_that_are_too_wide_are_counted_as_the_widest() -> None:
    graph = two_layers(100, 100)
    wide = replace(graph.projections["p"], weight=even(100, 100) * 99)
    graph = replace(graph, projections={**graph.projections, "p": wide})
    assert fit(graph, LOIHI1).notes == ("memory is counted with weights of at most 8 bits, also for p",)


def test_a_large_network_takes_seconds() -> None:
    """128C5-128C5-2048-100 on 28 × 28 with strides of 2: seven million synapses of convolutions, four of others."""
    channels = 128
    graph = Graph(
        inputs={"in": Input(shape=(1, 28, 28))},
        populations={
            "a": neurons(channels, 12, 12),
            "b": neurons(channels, 4, 4),
            "h": neurons(2048),
            "o": neurons(100),
        },
        projections={
            "p": Conv2d(source="in", target="a", weight=even(channels, 1, 5, 5), stride=2),
            "q": Conv2d(source="a", target="b", weight=even(channels, channels, 5, 5), stride=2),
            "r": Dense(source="b", target="h", weight=even(2048, channels * 16)),
            "s": Dense(source="h", target="o", weight=even(100, 2048)),
        },
        outputs={"o": Output(population="o")},
        n_steps=16,
    )
    start = process_time()
    (problem,) = fit(graph, LOIHI1).problems
    assert process_time() - start < 20  # some 2 s on a quiet machine
    assert (problem.where, problem.limit) == ("chip 'loihi1'", 128)
