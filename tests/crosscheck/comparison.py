"""One network, placed once, run on both sides: what spikegraph counts and charges, and what SANA-FE does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from crosscheck.sanafe_side import CORES_PER_TILE, SanafeRun, chip_time, run_sanafe, synapses, write_network
from scipy.sparse import coo_array

from spikegraph.export.chips import load_chip
from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.hwsim.core_counts import CoreCounts
from spikegraph.hwsim.cost import Cost, cost_of
from spikegraph.hwsim.counts import Counts
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.placement import Placement, place
from spikegraph.hwsim.profile import load_profile
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.result import BatchResult
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.tally import CORE_QUANTITIES, tally_of

SOMA = ("neuron_updates", "active_updates", "spikes")
MAX_NEURONS = 1024  # of a core in SANA-FE's file; inputs are neurons there


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A batch on both sides.

    Parameters
    ----------
    graph : Graph
        What ran: `chip_time` of the graph asked for.
    rasters : mapping of input → ndarray (steps, B, *shape)
        Silent in the steps that `chip_time` adds.
    ours : BatchResult
        With traces of all populations, and counts per core.
    cost : Cost
        Of `ours`, by the profile that holds SANA-FE's figures; means over the samples.
    theirs : list of mapping of timing model → SanafeRun (B,)
    figures : mapping
        The figures of SANA-FE's architecture file.
    """

    graph: Graph
    placement: Placement
    rasters: Mapping[str, Array]
    ours: BatchResult
    cost: Cost
    theirs: list[dict[str, SanafeRun]]
    figures: Mapping[str, Any]

    def core_counts(self, sample: int) -> dict[str, Array]:
        """Return our counts: quantity → (steps, n_cores)."""
        return {name: self.ours.per_core[:, sample, k] for k, name in enumerate(CORE_QUANTITIES)}

    def sanafe_core_counts(self, sample: int) -> dict[str, Array]:
        """Return what SANA-FE's messages say of each core: quantity → (steps + 1, n_cores + 1).

        What arrives counts in the step of its arrival, one after that of its spike: the last row was under way at the
        end. The last column is all that comes from (or goes to) cores that hold inputs.
        """
        step, sent, received, events, way = _read(self.theirs[sample]["simple"].messages, self.placement)
        shape = (self.graph.n_steps + 1, self.placement.n_cores + 1)

        def at(steps: Array, cores: Array, amount: Array) -> Array:
            return coo_array((amount, (steps, cores)), shape=shape).toarray()

        return {
            "messages": at(step, sent, np.ones_like(step)),
            "tile_messages": at(step, sent, (way.sum(axis=1) == 0).astype(np.int64)),
            "hops_east_west": at(step, sent, way[:, 0]),
            "hops_north_south": at(step, sent, way[:, 1]),
            "messages_in": at(step + 1, received, np.ones_like(step)),
            "sops": at(step + 1, received, events),
        }

    def updates(self, sample: int) -> dict[str, Array]:
        """Count the neurons that do more than be looked at: rule → (steps, n_cores).

        "ours": x, u or v is not 0. "theirs", SANA-FE's: v is not 0, or a synaptic event arrives, or there is a bias.
        "current only": ours alone; a neuron that fired in the step before holds a u that it will forget, and no v.
        "events that cancel", "bias only": theirs alone.
        """
        steps, n_cores = self.graph.n_steps, self.placement.n_cores
        counts: dict[str, Array] = {}
        for name, population in self.graph.populations.items():
            trace = self.ours.traces[name]
            x, u, v = (a[:, sample].reshape(steps, -1) for a in (trace.x, trace.u, trace.v))
            u, v = (np.concatenate([np.zeros_like(a[:1]), a[:-1]]) for a in (u, v))
            events = self._events(name, sample) > 0
            bias = per_neuron(population.bias_mant != 0, population.shape).ravel()
            ours, theirs = (x != 0) | (u != 0) | (v != 0), (v != 0) | events | bias
            rules = {
                "ours": ours,
                "theirs": theirs,
                "current only": ours & ~theirs,
                "events that cancel": theirs & ~ours & events,
                "bias only": theirs & ~ours & ~events,
            }
            for rule, follows in rules.items():
                counts.setdefault(rule, np.zeros((steps, n_cores), np.int64))
                np.add.at(counts[rule].T, self.placement.core_of[name], follows.T)
        return counts

    def our_energy(self) -> dict[str, float]:
        """Return our energies under the names of SANA-FE's kinds, J a sample."""
        kinds = dict.fromkeys(("soma", "synapse", "network"), 0.0)
        energy = self.cost.energy_j("window")
        for operation in self.cost.profile.operation:
            (count,) = operation.counts
            kind = "soma" if count in SOMA else "synapse" if count.startswith("sops") else "network"
            kinds[kind] += float(energy[operation.name].sum())
        return kinds | {"total": sum(kinds.values())}

    def their_energy(self) -> dict[str, float]:
        """Return SANA-FE's energies, J a sample."""
        runs = [models["simple"] for models in self.theirs]
        return {kind: float(np.mean([run.energy_j[kind] for run in runs])) for kind in runs[0].energy_j}

    def input_energy(self) -> float:
        """Return what SANA-FE charges for the messages of inputs, J a sample: we leave them unpriced."""
        prices = {o.counts[0]: o.energy_pj or 0.0 for o in self.cost.profile.operation}
        sent = self.mean(self.sanafe_core_counts)
        priced = ("messages", "hops_east_west", "hops_north_south")
        return sum(prices[name] * 1e-12 * float(sent[name][-1]) for name in priced)

    def mean(self, counts: Callable[[int], Mapping[str, Array]]) -> dict[str, Array]:
        """Return the mean over samples of counts of `(sample)`, their steps added up: name → (n_cores,)."""
        each = [counts(sample) for sample in range(len(self.theirs))]
        return {name: np.mean([values[name].sum(axis=0) for values in each], axis=0) for name in each[0]}

    @property
    def latency_s(self) -> Array:
        """Return how long each sample takes by our counts, barriers included."""
        if self.cost.timing is None:
            raise ValueError("the profile has no times")
        return self.cost.timing.latency_s

    def _events(self, population: str, sample: int) -> Array:
        """Count the synaptic events that arrive at each neuron of a population in each step: (steps, n)."""
        events = np.zeros((self.graph.n_steps, self.graph.populations[population].n), np.int64)
        for p in self.graph.into(population).values():
            s = self.rasters[p.source] if p.source in self.rasters else self.ours.traces[p.source].s
            s = s[:, sample].reshape(self.graph.n_steps, -1).astype(np.int64)
            pairs, _ = synapses(self.graph, p)
            table = coo_array((np.ones(len(pairs), np.int64), pairs.T), shape=(s.shape[1], events.shape[1])).tocsr()
            events[1:] += s[:-1] @ table
        return events


def compare(graph: Graph, rasters: Mapping[str, Array], python: Path, folder: Path) -> Comparison:
    """Place a graph on Loihi, and run it on both sides.

    Parameters
    ----------
    graph : Graph
        Without delays; `rasters` as for `run_native`.
    python : Path
        The Python of an environment that has sanafe.
    folder : Path
        Where the files that go to and fro may lie.
    """
    on_chip, depth = chip_time(graph)
    placement = place(on_chip, load_chip("loihi1"))
    rasters = {name: np.concatenate([a, np.zeros((depth, *a.shape[1:]), a.dtype)]) for name, a in rasters.items()}
    program = compile_program(on_chip, tally_of(on_chip, placement))
    ours = run_native(program, rasters, tuple(on_chip.populations))
    write_network(folder / "network.npz", on_chip, _places(on_chip, placement), rasters)
    figures, theirs = run_sanafe(python, folder / "network.npz")
    return Comparison(
        graph=on_chip,
        placement=placement,
        rasters=rasters,
        ours=ours,
        cost=cost_of(_as_run(on_chip, placement, ours), load_profile("loihi1-fit")),
        theirs=theirs,
        figures=figures,
    )


def _as_run(graph: Graph, placement: Placement, result: BatchResult) -> Run:
    """Return a run of these rasters, whose decision is the end: what `simulate` makes of samples with a code."""
    n_steps, n_samples = result.per_core.shape[:2]
    none, last = np.zeros(n_samples, np.int64), np.full(n_samples, n_steps - 1)
    return Run(
        graph=graph_checksum(graph),
        engine="native",
        n_steps=n_steps,
        depth=0,
        index=np.arange(n_samples),
        label=none,
        predicted=none,
        decided=np.ones(n_samples, bool),
        decision_step=last,
        output_spikes=None,
        counts=Counts.from_steps(result.per_step, last),
        dense_macs={},
        output=next(iter(graph.outputs.values())).population,
        cores=CoreCounts(placement=placement, counts=np.moveaxis(result.per_core, 1, 0)),
    )


def _core_places(placement: Placement) -> Array:
    """Return column and row of the tile, and core within it, of each core: (n_cores, 3)."""
    taken: dict[tuple[int, ...], int] = {}
    places = []
    for tile in map(tuple, placement.tiles.tolist()):
        places.append((*tile, taken.setdefault(tile, 0)))
        taken[tile] += 1
    return np.array(places)


def _places(graph: Graph, placement: Placement) -> dict[str, Array]:
    """Return where each neuron is in SANA-FE; inputs, which we do not place, on free cores of tiles in use."""
    cores = _core_places(placement)
    places = {name: cores[core_of] for name, core_of in placement.core_of.items()}
    tiles = sorted(set(map(tuple, placement.tiles.tolist())))
    used = set(map(tuple, cores.tolist()))
    free = [(*tile, core) for tile, core in product(tiles, range(CORES_PER_TILE)) if (*tile, core) not in used]
    n_inputs = sum(node.n for node in graph.inputs.values())
    if n_inputs > MAX_NEURONS * len(free):
        raise ValueError(f"{n_inputs} inputs do not fit the {len(free)} cores that are free in the tiles in use")
    seats = np.array(free)[np.arange(n_inputs) // MAX_NEURONS]
    ends = np.cumsum([node.n for node in graph.inputs.values()])
    return places | {
        name: seats[end - graph.inputs[name].n : end] for name, end in zip(graph.inputs, ends, strict=True)
    }


def _read(messages: Array, placement: Placement) -> tuple[Array, Array, Array, Array, Array]:
    """Return step, sending and receiving core, events and way (columns, rows) of each message; input cores are last."""
    core = {place: index for index, place in enumerate(map(tuple, _core_places(placement).tolist()))}
    sent, received = (
        np.array([core.get(place, placement.n_cores) for place in map(tuple, messages[:, a:b].tolist())], np.int64)
        for a, b in ((1, 4), (4, 7))
    )
    return messages[:, 0], sent, received, messages[:, 7], np.abs(messages[:, 1:3] - messages[:, 4:6])
