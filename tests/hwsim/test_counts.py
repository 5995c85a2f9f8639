"""Counts against counts made by hand; each says how it was counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegraph.export.coding import Readout
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.counts import QUANTITIES, Counts
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import BatchResult

NEVER = 131071
GRADED = {"min_value": -100, "max_value": 100}


def run(projection: Any, source: Input, target: Population, raster: Any, n_steps: int | None = None) -> BatchResult:
    raster = np.asarray(raster).astype(int)
    graph = Graph(
        inputs={"in": source},
        populations={"n": target},
        projections={"p": projection},
        outputs={"out": Output(population="n")},
        n_steps=n_steps or len(raster),
    )
    return run_reference(compile_program(graph), {"in": raster[:, None]})


def count(result: BatchResult, quantity: str, node: str = "p") -> list[int]:
    """Return the first sample's counts, step by step."""
    return result.per_step[quantity][node][:, 0].tolist()


def test_dense() -> None:
    p = Dense(source="in", target="n", weight=[[1, 0, 5], [0, 0, 5], [2, 0, 5], [0, 0, 0]])
    result = run(p, Input(shape=(3,)), Population(shape=(4,), threshold_mant=NEVER), [[1, 1, 1], [1, 0, 0], [0, 1, 1]])
    # Fan-out 4 of each neuron: 3 spikes × 4 = 12, 1 × 4, 2 × 4. Zero weights are stored and count.
    assert count(result, "sops") == [12, 4, 8]
    # Not zero: column 0 has 2, column 1 none, column 2 has 3: 2 + 0 + 3, 2, 0 + 3.
    assert count(result, "effective_sops") == [5, 2, 3]
    assert count(result, "spikes", "in") == [3, 1, 2]


def test_conv2d_at_the_borders() -> None:
    weight = np.ones((2, 1, 3, 3), int)
    weight[1, 0, 1, 1] = 0  # the centre of the second kernel
    p = Conv2d(source="in", target="n", weight=weight, padding=1)
    raster = np.zeros((4, 1, 3, 4))
    raster[0, 0, 0, 0] = 1  # corner: reaches 2 × 2 positions × 2 channels = 8
    raster[1, 0, 0, 1] = 1  # edge: 2 × 3 × 2 = 12
    raster[2, 0, 1, 1] = 1  # inside: 3 × 3 × 2 = 18
    raster[3, 0] = 1  # all: 4 corners × 8 + 6 edges × 12 + 2 inside × 18 = 140
    result = run(p, Input(shape=(1, 3, 4)), Population(shape=(2, 3, 4), threshold_mant=NEVER), raster)
    assert count(result, "sops") == [8, 12, 18, 140]
    # The centre tap of the second kernel always lands: one less for each spike.
    assert count(result, "effective_sops") == [7, 11, 17, 140 - 12]


def test_conv2d_with_stride_and_without_padding() -> None:
    # 1 × 5 input, kernel 1 × 2, stride 2: outputs cover columns 0 1 | 2 3; column 4 reaches nothing.
    p = Conv2d(source="in", target="n", weight=np.ones((3, 1, 1, 2), int), stride=(1, 2))
    result = run(p, Input(shape=(1, 1, 5)), Population(shape=(3, 1, 2), threshold_mant=NEVER), np.eye(5)[:, None, None])
    # 1 spike × 1 tap × 3 channels
    assert count(result, "sops") == [3, 3, 3, 3, 0]


def test_conv2d_groups_reach_their_own_channels_only() -> None:
    p = Conv2d(source="in", target="n", weight=np.ones((6, 2, 1, 1), int), groups=2)
    result = run(p, Input(shape=(4, 1, 1)), Population(shape=(6, 1, 1), threshold_mant=NEVER), np.ones((1, 4, 1, 1)))
    # 4 spikes × 3 output channels of their group = 12, not 4 × 6
    assert count(result, "sops") == [12]


def test_sum_pool() -> None:
    p = SumPool2d(source="in", target="n", kernel_size=3, stride=2)
    raster = np.zeros((4, 1, 5, 5))
    raster[0, 0, 0, 0] = 1  # in 1 window
    raster[1, 0, 0, 2] = 1  # in 2 windows: column 2 is shared
    raster[2, 0, 2, 2] = 1  # in all 4 windows
    raster[3, 0] = 1  # 4 windows × 9 taps = 36
    result = run(p, Input(shape=(1, 5, 5)), Population(shape=(1, 2, 2), threshold_mant=NEVER), raster)
    assert count(result, "sops") == [1, 2, 4, 36]
    assert count(result, "effective_sops") == [1, 2, 4, 36]


def test_sum_pool_with_padding_and_a_weight_of_zero() -> None:
    p = SumPool2d(source="in", target="n", kernel_size=2, stride=2, padding=1, weight=0)
    result = run(p, Input(shape=(1, 2, 2)), Population(shape=(1, 2, 2), threshold_mant=NEVER), np.ones((1, 1, 2, 2)))
    # Each of the 4 spikes lands in 1 window; the other 12 taps are padding.
    assert count(result, "sops") == [4]
    assert count(result, "effective_sops") == [0]


def test_sparse() -> None:
    p = Sparse(source="in", target="n", indptr=[0, 3, 3, 5], indices=[0, 1, 1, 2, 0], weight=[1, 0, 2, 3, 0])
    result = run(p, Input(shape=(3,)), Population(shape=(3,), threshold_mant=NEVER), [*np.eye(3), np.ones(3)])
    # Stored entries of the rows: 3 (two of them onto the same neuron), 0, 2; together 5.
    assert count(result, "sops") == [3, 0, 2, 5]
    assert count(result, "effective_sops") == [2, 0, 1, 3]


def test_one_to_one() -> None:
    shape = (2, 1, 2)
    p = OneToOne(source="in", target="n", weight=[3, 0])
    raster = [[[[1, 1]], [[1, 0]]], [[[0, 0]], [[1, 1]]]]
    result = run(p, Input(shape=shape), Population(shape=shape, threshold_mant=NEVER), raster)
    # One synapse each: 3 spikes, 2 spikes; those of channel 1 have weight 0.
    assert count(result, "sops") == [3, 2]
    assert count(result, "effective_sops") == [2, 0]


def test_dense_macs() -> None:
    def macs(projection: Any, source: tuple[int, ...], target: tuple[int, ...]) -> int:
        graph = Graph(
            inputs={"in": Input(shape=source)},
            populations={"n": Population(shape=target, threshold_mant=1)},
            projections={"p": projection},
            outputs={"out": Output(population="n")},
            n_steps=1,
        )
        return compile_program(graph).populations[0].incoming[0].dense_macs

    ends = {"source": "in", "target": "n"}
    assert macs(Dense(weight=np.zeros((4, 3)), **ends), (3,), (4,)) == 12
    # 25 outputs × 9 taps, less the 25 · 9 - 13² = 56 that land in the padding: 13 rows of taps land of 15, squared.
    assert macs(Conv2d(weight=np.zeros((1, 1, 3, 3)), padding=1, **ends), (1, 5, 5), (1, 5, 5)) == 13**2
    assert macs(SumPool2d(**ends), (2, 4, 4), (2, 2, 2)) == 2 * 16
    assert macs(Sparse(indptr=[0, 1, 1, 1], indices=[0], weight=[1], **ends), (3,), (4,)) == 12
    assert macs(OneToOne(weight=1, **ends), (5,), (5,)) == 5


def test_spikes_in_flight_at_the_end_cause_nothing() -> None:
    p = Dense(source="in", target="n", weight=[[1], [1], [1]], delay_steps=2)
    result = run(p, Input(shape=(1,)), Population(shape=(3,), threshold_mant=NEVER), np.ones((5, 1)))
    # Sent in steps 0…4, delivered in steps 2…6; the window ends with 4: 3 spikes × fan-out 3 = 9 of 15.
    assert count(result, "sops") == [0, 0, 3, 3, 3]
    assert count(result, "spikes", "in") == [1, 1, 1, 1, 1]


def test_sops_count_in_the_step_of_delivery() -> None:
    p = Dense(source="in", target="n", weight=[[1]], delay_steps=1)
    result = run(p, Input(shape=(1,)), Population(shape=(1,), threshold_mant=NEVER), [[1], [0], [1], [0]])
    assert count(result, "sops") == [0, 1, 0, 1]


def test_a_graded_spike_is_one_spike() -> None:
    p = Dense(source="in", target="n", weight=[[1, 1], [1, 1], [1, 1]])
    result = run(
        p, Input(shape=(2,), **GRADED), Population(shape=(3,), threshold_mant=NEVER), [[7, -100], [0, 2], [0, 0]]
    )
    # 2 spikes × 3, 1 × 3, none
    assert count(result, "sops") == [6, 3, 0]
    assert count(result, "spikes", "in") == [2, 1, 0]


def test_neuron_updates_and_active_updates() -> None:
    p = OneToOne(source="in", target="n", weight=1)
    population = Population(shape=(3,), threshold_mant=NEVER, decay_u=4096, decay_v=4096)
    result = run(p, Input(shape=(3,)), population, [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]])
    assert count(result, "neuron_updates", "n") == [3] * 6
    # Step 1: x of neuron 0. Step 2: its u and v. Step 3: x of 1 and 2, neuron 0 has forgotten. Step 4: u of both.
    # Step 5: u of neuron 2 alone.
    assert count(result, "active_updates", "n") == [0, 1, 1, 2, 2, 1]


def test_active_updates_see_u_and_v_each_by_itself() -> None:
    p = OneToOne(source="in", target="n", weight=1)
    # u is forgotten at once and v never: after the spike of step 0, v alone keeps the neuron active.
    result = run(p, Input(shape=(1,)), Population(shape=(1,), threshold_mant=NEVER), [[1], [0], [0]])
    assert count(result, "active_updates", "n") == [1, 1, 1]
    # The spike of step 0 resets v, which is held from then on, while u halves in every step: u alone.
    population = Population(shape=(1,), threshold_mant=1, decay_u=2048, decay_v=4096, refractory_steps=1000)
    result = run(OneToOne(source="in", target="n", weight=2), Input(shape=(1,)), population, [[1]] + [[0]] * 10)
    # u = 128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0: active before the update in steps 0 (x) and 1…8.
    assert count(result, "active_updates", "n") == [1] * 9 + [0, 0]
    # A bias that starts from nothing is not active in its first step: x, u and v are 0 before the update.
    result = run(p, Input(shape=(1,)), Population(shape=(1,), threshold_mant=NEVER, bias_mant=1), [[0], [0]])
    assert count(result, "active_updates", "n") == [0, 1]


def test_spikes_of_a_population() -> None:
    p = OneToOne(source="in", target="n", weight=2)
    result = run(p, Input(shape=(3,)), Population(shape=(3,), threshold_mant=1), [[1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert count(result, "spikes", "n") == [2, 0, 3]


def test_wraps_and_saturations() -> None:
    p = OneToOne(source="in", target="n", weight=[2000, -2000, 1])
    population = Population(shape=(3,), threshold_mant=NEVER, reset="none", decay_u=1)
    result = run(p, Input(shape=(3,), **GRADED), population, [[50] * 3, [50] * 3, [0] * 3])
    # x · 64 = 6 400 000 fits; the second, with the decayed first, is 12 798 438 > 2^23: one wrap of each large neuron.
    assert count(result, "wraps", "n") == [0, 2, 0]
    # u: 6.4M, then 12.798M - 16.777M = -3.98M; v: 6.4M, 2.42M, … never reaches 8.39M.
    assert count(result, "saturations", "n") == [0, 0, 0]
    population = replace(population, decay_u=4096)
    result = run(p, Input(shape=(3,), **GRADED), population, [[50] * 3, [50] * 3, [0] * 3, [0] * 3])
    # v: ±6.4M, ±12.8M: clipped for two neurons; then nothing is added and nothing is clipped.
    assert count(result, "saturations", "n") == [0, 2, 0, 0]
    assert count(result, "wraps", "n") == [0, 0, 0, 0]


def test_a_held_v_never_saturates_and_its_u_wraps() -> None:
    p = OneToOne(source="in", target="n", weight=20000)
    population = Population(shape=(1,), threshold_mant=1, refractory_steps=9)
    result = run(p, Input(shape=(1,), **GRADED), population, [[1], [100], [100]])
    assert count(result, "saturations", "n") == [0, 0, 0]
    assert count(result, "wraps", "n") == [0, 1, 1]
    assert count(result, "neuron_updates", "n") == [1, 1, 1]


def test_every_quantity_is_there_for_every_node() -> None:
    p = Dense(source="in", target="n", weight=[[1]])
    result = run(p, Input(shape=(1,)), Population(shape=(1,), threshold_mant=1), [[1]])
    nodes = {quantity: sorted(per_node) for quantity, per_node in result.per_step.items()}
    assert set(nodes) == set(QUANTITIES)
    assert nodes["sops"] == nodes["effective_sops"] == ["p"]
    assert nodes["spikes"] == ["in", "n"]
    for quantity in ("neuron_updates", "active_updates", "wraps", "saturations"):
        assert nodes[quantity] == ["n"]


def test_window_and_until_decision() -> None:
    steps = {"sops": {"p": np.array([[1, 10], [2, 20], [4, 40]])}, "spikes": {"a": np.array([[1, 1], [0, 1], [0, 1]])}}
    counts = Counts.from_steps(steps, np.array([0, 1]))
    assert counts.window["sops"]["p"].tolist() == [7, 70]
    assert counts.until_decision["sops"]["p"].tolist() == [1, 30]  # the step of the decision is included
    assert counts.until_decision["spikes"]["a"].tolist() == [1, 2]
    assert counts.total("sops") == 77
    assert counts.mean("sops") == 38.5
    assert counts.mean("sops", until_decision=True) == 15.5
    last = Counts.from_steps(steps, np.array([2, 2]))
    assert last.until_decision["sops"]["p"].tolist() == last.window["sops"]["p"].tolist()


def test_mean_and_total_are_over_all_nodes() -> None:
    steps = {"sops": {"p": np.array([[1, 10]]), "q": np.array([[5, 6]])}}
    counts = Counts.from_steps(steps, np.array([0, 0]))
    assert counts.total("sops") == 22
    assert counts.mean("sops") == 11


def test_batches_are_joined_in_order() -> None:
    parts = [Counts.from_steps({"sops": {"p": np.array([[a, b]])}}, np.array([0, 0])) for a, b in [(1, 2), (3, 4)]]
    joined = Counts.concatenate(parts)
    assert joined.window["sops"]["p"].tolist() == [1, 2, 3, 4]
    assert joined.until_decision["sops"]["p"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("in_a_pipeline", [False, True])
def test_until_decision_of_a_first_spike_readout(in_a_pipeline: bool) -> None:
    """Sample 0 decides in step 1, sample 1 never: until decision means 2 steps for one, all 4 for the other."""
    graph = Graph(
        inputs={"in": Input(shape=(2,))},
        populations={"n": Population(shape=(2,), threshold_mant=1), "out": Population(shape=(2,), threshold_mant=1)},
        projections={
            "p": Dense(source="in", target="n", weight=[[2, 0], [0, 2]]),
            "q": Dense(source="n", target="out", weight=[[2, 0], [0, 2]]),
        },
        outputs={"out": Output(population="out")},
        n_steps=4,
        readout=Readout(kind="first_spike", output="out"),
    )
    raster = np.zeros((4, 2, 2), int)
    raster[1:, 0, 1] = 1  # sample 0: neuron 1 from step 1 on
    result = run_reference(compile_program(pipelined(graph) if in_a_pipeline else graph), {"in": raster})
    trace = result.traces["out"]
    decision = Readout(kind="first_spike", output="out").decide(trace.s, trace.v_before_reset)
    assert decision.step.tolist() == [1, 3]
    assert decision.decided.tolist() == [True, False]
    assert decision.predicted[0] == 1
    counts = Counts.from_steps(result.per_step, decision.step)
    # Each of 3 spikes reaches 2 synapses in p and, fired on, 2 in q: 6 in the window; 1 spike · 2 until step 1.
    assert counts.window["sops"]["p"].tolist() == [6, 0]
    assert counts.window["sops"]["q"].tolist() == [6, 0]
    assert counts.until_decision["sops"]["p"].tolist() == [2, 0]
    assert counts.until_decision["sops"]["q"].tolist() == [2, 0]
    # 2 neurons × 2 steps, and 2 × 4 for the sample that never decides.
    assert counts.until_decision["neuron_updates"]["n"].tolist() == [4, 8]
    assert counts.window["neuron_updates"]["n"].tolist() == [8, 8]
    assert counts.until_decision["spikes"]["in"].tolist() == [1, 0]
