"""Populations → cores: each population cut into groups that a core can hold, the cores laid on the chip's mesh.

A core holds neurons of one population. Populations are cut into equal groups, as few as the chip's limits allow.
Nothing is random: the same graph lies in the same place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikegraph.export.check import require_legal
from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import ChipError
from spikegraph.export.graph import Graph
from spikegraph.export.passes import clocked
from spikegraph.hwsim.assignment import assign
from spikegraph.hwsim.cuts import limits_of
from spikegraph.hwsim.mesh import arranged, hops, in_order
from spikegraph.hwsim.packing import NEURONS


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where each neuron is.

    Parameters
    ----------
    chip : str
    core_of : mapping of population → ndarray of int64 (n,)
        The core of each neuron, neurons in C order.
    population : tuple of str (n_cores,)
        The population that each core holds a part of.
    tiles : ndarray of int64 (n_cores, 2)
        The tile (column, row) of each core.
    start_step : ndarray of int64 (n_cores,)
        The step of the chip in which a sample starts in each core.
    loads : mapping of resource → ndarray of int64 (n_cores,)
        What each core holds: neurons, synapse_bits, sources, axons_in, axons_out, decay_profiles, threshold_profiles.
    limits : mapping of resource → int
        What a core may hold; a resource whose limit is not published is absent.
    traffic : ndarray of int64 (n_cores, n_cores)
        How many neurons of one core reach the other: the messages if each neuron fires once.
    """

    chip: str
    core_of: Mapping[str, Array]
    population: tuple[str, ...]
    tiles: Array
    start_step: Array
    loads: Mapping[str, Array]
    limits: Mapping[str, int]
    traffic: Array

    @property
    def n_cores(self) -> int:
        """Number of cores in use."""
        return len(self.population)

    @property
    def n_tiles(self) -> int:
        """Number of tiles in use."""
        return len(np.unique(self.tiles, axis=0))

    @property
    def hops(self) -> int:
        """Hops between tiles if each neuron fires once."""
        return int(hops(self.traffic, self.tiles).sum())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: each core's place, population and loads, with its share of the chip's limits."""
        return {
            "chip": self.chip,
            "tiles": self.n_tiles,
            "limits": dict(self.limits),
            "hops_if_all_fire_once": self.hops,
            "cores": [
                {
                    "core": core,
                    "population": self.population[core],
                    "tile": self.tiles[core].tolist(),
                    "loads": {name: int(load[core]) for name, load in self.loads.items()},
                    "utilization": {name: int(self.loads[name][core]) / n for name, n in self.limits.items()},
                }
                for core in range(self.n_cores)
            ],
        }

    def to_tree(self) -> dict[str, Any]:
        """Return what a file keeps: docs/format.md, run files."""
        arrays = {"tiles": self.tiles, "start_step": self.start_step, "traffic": self.traffic}
        names = {"chip": self.chip, "population": list(self.population)}
        return names | arrays | {"core_of": dict(self.core_of), "loads": dict(self.loads), "limits": dict(self.limits)}

    @classmethod
    def from_tree(cls, tree: Mapping[str, Any]) -> Placement:
        """Rebuild a placement; raises AttributeError, LookupError, TypeError or ValueError if it is not one."""
        population = tuple(tree["population"])
        n = len(population)
        placement = cls(
            chip=str(tree["chip"]),
            population=population,
            core_of={name: _whole(f"core_of/{name}", core, None) for name, core in tree["core_of"].items()},
            loads={name: _whole(f"loads/{name}", load, (n,)) for name, load in tree["loads"].items()},
            limits={name: int(limit) for name, limit in tree["limits"].items()},
            tiles=_whole("tiles", tree["tiles"], (n, 2)),
            start_step=_whole("start_step", tree["start_step"], (n,)),
            traffic=_whole("traffic", tree["traffic"], (n, n)),
        )
        if n == 0 or set(placement.core_of) != set(population) or placement.start_step.max() > len(placement.core_of):
            raise ValueError("its populations are not on its cores")
        held = np.zeros(n, np.int64)
        for name, core in placement.core_of.items():
            if any(population[c] != name for c in np.unique(core)):  # IndexError if there is no such core
                raise ValueError(f"a core of {name} is not its own")
            held += np.bincount(core, minlength=n)
        if not np.array_equal(held, placement.loads[NEURONS]):
            raise ValueError("its cores have other loads than neurons")
        if not set(placement.limits) <= set(placement.loads) or any(n < 1 for n in placement.limits.values()):
            raise ValueError("its limits are of no load")
        return placement


def _whole(name: str, array: Any, shape: tuple[int, ...] | None) -> Array:
    """Return an array of whole numbers from 0 on, of this shape or of one axis; raises ValueError if it is not one."""
    whole = np.asarray(array)
    fits = whole.shape == shape if shape is not None else whole.ndim == 1
    if whole.dtype.kind not in "iu" or not fits or (whole.size and whole.min() < 0):
        raise ValueError(f"placement/{name} is not of numbers from 0 on, one for each")
    return whole.astype(np.int64)


def place(graph: Graph, chip: Chip, *, naive: bool = False) -> Placement:
    """Place a graph on a chip.

    Parameters
    ----------
    graph : Graph
        What is placed is the pipelined graph, unless every projection has a delay already.
    chip : Chip
    naive : bool
        Cut in C order wherever a core is full, and fill tile after tile: for comparison.

    Raises
    ------
    GraphError
        The graph is not legal on the chip, or a loop is too short for its clock.
    ChipError
        The chip has no cores to place on, or is too small: names the limit that binds and what to change.
    """
    if chip.core is None:
        raise ChipError(f"chip {chip.name!r}", "has no cores to place on", "choose loihi1 or loihi2")
    require_legal(graph, chip)
    graph = clocked(graph)
    found = assign(graph, chip, naive=naive)
    if found.problems:
        first = found.problems[0]
        raise ChipError(first.where, first.what, first.remedy, first.found, first.limit)
    n_cores = len(found.population)
    traffic = np.zeros((n_cores, n_cores), np.int64)
    for name, matrix in found.sent.items():
        np.add.at(traffic, (np.repeat(found.core_of[name], np.diff(matrix.indptr)), matrix.indices), 1)
    return Placement(
        chip=chip.name,
        core_of=found.core_of,
        population=found.population,
        tiles=in_order(n_cores, chip.core.mesh) if naive else arranged(traffic, chip.core.mesh),
        start_step=np.array([graph.populations[name].start_step for name in found.population]),
        loads=found.loads,
        limits=limits_of(chip),
        traffic=traffic,
    )
