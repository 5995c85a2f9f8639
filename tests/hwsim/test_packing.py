"""What a core must hold, counted by hand on small populations."""

from __future__ import annotations

import numpy as np
import pytest

from spikegraph.export.chips import Packing, load_chip
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.packing import Demand, weight_bits


def packing(chip: str = "loihi1") -> Packing:
    core = load_chip(chip).core
    assert core is not None
    return core.packing


def graph_of(projection: Dense | Conv2d | Sparse | OneToOne, source: tuple[int, ...], target: Population) -> Graph:
    return Graph(
        inputs={"in": Input(shape=source)},
        populations={"out": target},
        projections={"p": projection},
        outputs={"o": Output(population="out")},
        n_steps=4,
    )


def loads(graph: Graph, n_groups: int = 1, order: Array | None = None) -> dict[str, list[int]]:
    n = graph.populations["out"].n
    demand = Demand(pipelined(graph), "out", np.arange(n) if order is None else order, packing())
    return {name: load.tolist() for name, load in demand.loads(n_groups).items()}


def test_groups_are_alike_and_of_whole_units() -> None:
    def cut(n: int, n_groups: int, unit: int) -> list[int]:
        weight = np.full((n, 1), 2)
        population = Population(shape=(n,), threshold_mant=1)
        graph = graph_of(Dense(source="in", target="out", weight=weight), (1,), population)
        return Demand(graph, "out", np.arange(n), packing(), unit).groups(n_groups).tolist()

    assert cut(7, 3, unit=1) == [0, 0, 0, 1, 1, 2, 2]
    assert cut(6, 2, unit=2) == [0, 0, 0, 0, 1, 1]
    assert cut(6, 4, unit=2) == [0, 0, 1, 2, 2, 3]  # more groups than units


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        ([-256, 254, 2], 8),  # steps of 2: the full width
        ([4, 8], 8),  # steps of 4 need 7 bits, which there are not
        ([8, 16, -24], 6),
        ([128, -256], 2),
        ([0, 0], 1),  # nothing but zeros
    ],
)
def test_narrowest_width_of_weights(weights: list[int], bits: int) -> None:
    assert weight_bits(np.array(weights), packing()) == bits


def test_weights_of_a_chip_without_a_sign_bit() -> None:
    assert weight_bits(np.array([1, 127]), packing("loihi2")) == 8
    assert weight_bits(np.array([16, -32]), packing("loihi2")) == 4


def test_dense_lists_need_no_index() -> None:
    weight = np.full((100, 3), 2)
    found = loads(
        graph_of(Dense(source="in", target="out", weight=weight), (3,), Population(shape=(100,), threshold_mant=1))
    )
    # Each of 3 axons: 64 synapses of 8 bits with a header of 10 are 522 bits, 9 words; 36 of them 298 bits, 5 words.
    assert found["synapse_bits"] == [3 * (9 + 5) * 64]
    assert found["axons_in"] == [3]
    assert found["neurons"] == [100]


def test_each_group_has_its_own_part_of_the_lists() -> None:
    weight = np.full((100, 3), 2)
    graph = graph_of(Dense(source="in", target="out", weight=weight), (3,), Population(shape=(100,), threshold_mant=1))
    found = loads(graph, n_groups=2)
    # 50 synapses: 410 bits, 7 words, for each of 3 axons in each of 2 groups.
    assert found["synapse_bits"] == [3 * 7 * 64] * 2
    assert found["axons_in"] == [3, 3]
    assert found["neurons"] == [50, 50]


def test_sparse_lists_carry_indices_and_delays() -> None:
    sparse = Sparse(source="in", target="out", weight=[2, 2], indptr=[0, 2, 2], indices=[0, 99], delay_steps=3)
    found = loads(graph_of(sparse, (2,), Population(shape=(100,), threshold_mant=1)))
    # One list of 2 synapses: 8 bits of weight, 7 of index (0…99), 6 of delay: 42 + 10 = 52 bits, one word.
    assert found["synapse_bits"] == [64]
    assert found["axons_in"] == [1]


def test_convolution_stores_equal_lists_once() -> None:
    weight = np.arange(1, 10).reshape(1, 1, 3, 3) * 2
    graph = graph_of(
        Conv2d(source="in", target="out", weight=weight, padding=1),
        (1, 5, 5),
        Population(shape=(1, 5, 5), threshold_mant=1),
    )
    found = loads(graph)
    # Which taps land inside depends on whether a pixel is at the first, the last or another row, and column: 9 lists.
    # Index bits: a list of the middle spans 2 rows and 2 pixels, so 13 places: 6 bits, the narrowest there is.
    lists = [(4, 1), (6, 1), (9, 1)]  # synapses and, with 14 bits each and a header of 10, words: 66, 94, 136 bits
    words = {4: 2, 6: 2, 9: 3}
    corners, edges, middle = 4 * words[4], 4 * words[6], words[9]
    assert [n for n, _ in lists] == [4, 6, 9]
    assert found["synapse_bits"] == [(corners + edges + middle) * 64]
    assert found["axons_in"] == [25]


def test_channels_of_a_pixel_share_an_axon_of_a_convolution() -> None:
    weight = np.full((1, 4, 1, 1), 2)
    graph = graph_of(
        Conv2d(source="in", target="out", weight=weight), (4, 2, 2), Population(shape=(1, 2, 2), threshold_mant=1)
    )
    assert loads(graph)["axons_in"] == [4]
    assert loads(graph)["sources"] == [16]


def test_profiles_are_the_different_values() -> None:
    population = Population(shape=(4,), threshold_mant=[1, 1, 2, 3], decay_v=[0, 0, 0, 7])
    graph = graph_of(OneToOne(source="in", target="out", weight=np.array(2)), (4,), population)
    assert loads(graph)["threshold_profiles"] == [3]
    assert loads(graph)["decay_profiles"] == [2]
    assert loads(graph, n_groups=2)["threshold_profiles"] == [1, 2]
    assert loads(graph, n_groups=2)["decay_profiles"] == [1, 2]


def test_another_order_moves_neurons_to_other_groups() -> None:
    population = Population(shape=(4,), threshold_mant=[1, 2, 1, 2])
    graph = graph_of(OneToOne(source="in", target="out", weight=np.array(2)), (4,), population)
    assert loads(graph, n_groups=2)["threshold_profiles"] == [2, 2]
    assert loads(graph, n_groups=2, order=np.array([0, 2, 1, 3]))["threshold_profiles"] == [1, 1]
