"""The stage `verify`: a graph file in several places, on data or on what a recording says was its input.

Only here the trained network's own forward pass becomes a place, beside those of the targets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikegraph.export import formats
from spikegraph.export.chips import load_chip
from spikegraph.export.errors import OptionError
from spikegraph.export.graph import Graph
from spikegraph.export.split import split_execution
from spikegraph.hwsim.simulate import rasters_of, samples_per_batch, simulate
from spikegraph.progress import Progress, silent
from spikegraph.targets.likeness import Likeness, likeness
from spikegraph.targets.other_codes import other_codes
from spikegraph.targets.places import PLACES, Place
from spikegraph.targets.recording import Recorded, is_recording, read_recording
from spikegraph.targets.verify import Verification
from spikegraph.targets.verify import verify as verify_places
from spikegraph.trainer.data import Split, load_split

if TYPE_CHECKING:
    from spikegraph.export.connectivity import Array
    from spikegraph.export.recordings import Recordings
    from spikegraph.trainer.method import Network
    from spikegraph.trainer.own import Maker
    from spikegraph.trainer.recipe import Recipe

TORCH, TORCH_FLOAT = "torch", "torch-float"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was found.

    Parameters
    ----------
    verification : Verification
        Of places that must be identical; without comparisons if there was none.
    likeness : Likeness, optional
        Of the network in floats, which need not be.
    """

    verification: Verification
    likeness: Likeness | None = None

    @property
    def identical(self) -> bool:
        """Whether every place that must be identical ran, and is."""
        return self.verification.identical

    def __str__(self) -> str:
        return str(self.verification)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {**self.verification.to_json(), "likeness": None if self.likeness is None else self.likeness.to_json()}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Spikes of some samples, with the pixels that they come from, and labels, where these are known."""

    first: int
    last: int
    rasters: Mapping[str, Array]
    x: Array | Recordings | None = None
    label: Array | None = None
    index: Array | None = None
    data: str = ""


def verify(
    path: str | Path,
    against: Sequence[str],
    data: str | Split | None = None,
    *,
    to: str = "reference",
    samples: int | None = None,
    data_dir: str | Path | None = None,
    run: str | Path | None = None,
    module: Maker | None = None,
    distances: bool = True,
    progress: Progress = silent,
) -> Proof:
    """Run a graph file in several places and compare every spike and state.

    Parameters
    ----------
    path : path
        Graph file.
    against : sequence of str
        Places: "torch" (the trained network's own forward pass in the chip's integers), "native", "lava", …; files
        with runs recorded elsewhere (see `read_recording`); "torch-float", whose likeness is measured.
    data : str or Split, optional
        "digits:test", …, or samples in memory; without it, the input that a recording brings along.
    to : str
        The place or file that they are compared with.
    samples : int, optional
        Only the first so many.
    data_dir : path, optional
        Folder (or archive) of the data set's files.
    run : path, optional
        For "torch": the folder of the training run; by default the one that the graph's provenance names.
    module : callable, optional
        For "torch", where the run was trained with method "module": what `train` was given.
    distances : bool
        For "torch-float": measure distances of spike trains.
    progress : callable(what, done, total)
    """
    graph = formats.load_integer(path)
    against = [name.strip() for name in against]
    places = {name: _place(graph, name, run, module) for name in against if name != TORCH_FLOAT}
    baseline = _place(graph, to, run, module, "--to")
    trained = _Trained.of(graph, run, module, TORCH_FLOAT) if TORCH_FLOAT in against else None
    if not places and trained is None:
        raise OptionError("--against", "names no place", f"name some of {', '.join([*PLACES, TORCH, TORCH_FLOAT])}")
    recordings = [place for place in (*places.values(), baseline) if isinstance(place, Recorded)]
    n, batches = _batches(graph, recordings, data, data_dir, samples)
    what = f"verify against {', '.join(against)}"
    progress(what, 0, n)
    whole, alike = Verification(comparisons=()), None
    for batch in batches:
        chosen = {name: _of_samples(place, batch) for name, place in places.items() if name not in whole.refusals}
        differ = [comparison.place for comparison in whole.comparisons if not comparison.identical]
        if chosen:
            compared_to, others = (to, _of_samples(baseline, batch)), partial(_other_inputs, graph, batch)
            part = verify_places(graph, batch.rasters, chosen, to=compared_to, unexplained=differ, other_inputs=others)
            whole = part if batch.first == 0 else whole.then(part)
        if trained is not None:
            one = trained.likeness(graph, batch, to, _of_samples(baseline, batch), distances=distances)
            alike = one if alike is None else alike.then(one)
        elif len(whole.refusals) == len(places):
            break
        progress(what, batch.last, n)
    return Proof(verification=whole, likeness=alike)


def _place(graph: Graph, name: str, run: str | Path | None, module: Maker | None, option: str = "--against") -> Place:
    if name == TORCH:
        return _Trained.of(graph, run, module, name).in_integers(graph)
    if is_recording(name):
        return read_recording(name, graph)
    if name not in PLACES:
        known = [*PLACES, TORCH, *([TORCH_FLOAT] if option == "--against" else [])]
        remedy = f"choose among {', '.join(known)}, or name a file of a recorded run"
        raise OptionError(option, f"{name!r} is not known", remedy)
    return PLACES[name]


def _other_inputs(graph: Graph, batch: _Batch) -> dict[str, dict[str, Array]]:
    return {} if batch.x is None or batch.index is None else other_codes(graph, batch.x, batch.index)


def _of_samples(place: Place, batch: _Batch) -> Place:
    if not isinstance(place, Recorded):
        return place
    remedy = "compare on the data that it was recorded on"
    if place.data and batch.data and place.data != batch.data:
        raise OptionError(place.name, f"was recorded on {place.data}, not on {batch.data}", remedy)
    if place.index is not None and batch.index is not None:
        own = place.index[batch.first : batch.last]
        if not np.array_equal(own, batch.index):
            held = f"{place.index[0]}…{place.index[-1]}" if len(place.index) else "none"
            what = f"holds samples {held} of its data set, and {batch.index[0]}…{batch.index[-1]} are compared"
            raise OptionError(place.name, what, f"{remedy}, or fewer --samples")
    return place.samples(batch.first, batch.last)


def _batches(
    graph: Graph,
    recordings: Sequence[Recorded],
    data: str | Split | None,
    data_dir: str | Path | None,
    samples: int | None,
) -> tuple[int, Iterator[_Batch]]:
    """Return how many samples there are, and the samples, batch by batch."""
    size = samples_per_batch(graph, list(graph.populations), "reference")
    if data is not None:
        split = load_split(data, data_dir, samples)
        if not len(split):
            raise OptionError("--data", f"{split.name} is empty", "choose another split")

        def of_data() -> Iterator[_Batch]:
            shape = next(iter(graph.inputs.values())).shape
            for x, label, index in split.batches(shape, size):
                first, rasters = int(index[0]), rasters_of(graph, x, index)
                last = first + len(index)
                yield _Batch(first=first, last=last, rasters=rasters, x=x, label=label, index=index, data=split.name)

        return len(split), of_data()
    with_input = [one for one in recordings if one.input_shapes]
    if not with_input:
        raise OptionError("--data", "is missing", "say which data to run on, such as digits:test")
    n = min(one.n_samples for one in recordings)
    n = n if samples is None else min(n, samples)

    def of_recording() -> Iterator[_Batch]:
        for first in range(0, n, size):
            last = min(first + size, n)
            yield _Batch(first=first, last=last, rasters=with_input[0].samples(first, last).rasters(graph))

    return n, of_recording()


class _Trained:
    """The trained network that a graph was exported from."""

    def __init__(self, recipe: Recipe, network: Network) -> None:
        self._recipe, self._network = recipe, network

    @classmethod
    def of(cls, graph: Graph, run: str | Path | None, module: Maker | None, name: str) -> _Trained:
        """Load the very checkpoint that the graph was exported from, from `run` or the folder that the graph names."""
        from spikegraph.trainer.folder import load_run
        from spikegraph.trainer.loop import CHECKPOINT

        if "checkpoint_sha256" not in graph.provenance:
            what = "the graph was not exported from a training run: it was converted, joined, or written by hand"
            raise OptionError(f"--against {name}", what, "compare with other places")
        folder = Path(run or str(graph.provenance.get("run", "")))
        if not (folder / CHECKPOINT).is_file():
            remedy = "name the folder of the training run with --run"
            raise OptionError(f"--against {name}", f"there is no checkpoint in {folder}", remedy)
        recipe, network = load_run(folder, module)
        digest = sha256((folder / CHECKPOINT).read_bytes()).hexdigest()
        if digest != graph.provenance.get("checkpoint_sha256"):
            what = f"the checkpoint in {folder} is not the one that the graph was exported from"
            raise OptionError(f"--against {name}", what, "export again, or name the right folder with --run")
        return cls(recipe, network)

    def in_integers(self, graph: Graph) -> Place:
        """Return its forward pass in the integers of the chip that the graph is for, as a place."""
        from spikegraph.trainer.method import execute

        if graph.provenance.get("fit_clip"):
            what = "the graph's weights were clipped where their error is least, those of the forward pass are not"
            raise OptionError("--against torch", what, "export with --no-fit-clip, or verify against other places")
        chip = str(graph.provenance["chip"])
        bits = graph.provenance["weight_bits"] if chip == "generic" else None
        # Also what was trained in floats, or for another chip.
        self._network.compute_in(load_chip(chip, weight_bits=bits))
        return lambda graph, rasters: split_execution(execute(self._network, graph, rasters), graph)

    def likeness(self, graph: Graph, batch: _Batch, to: str, baseline: Place, *, distances: bool) -> Likeness:
        """Compare its forward pass in floats, spikes and answers."""
        from spikegraph.trainer.method import build_objective, execute_spikes

        if batch.x is None or batch.label is None or batch.index is None:
            raise OptionError(f"--against {TORCH_FLOAT}", "needs samples with labels", "name a data set with --data")
        self._network.compute_in(None)
        floats = split_execution(execute_spikes(self._network, graph, batch.rasters), graph)
        expected, got = (to, baseline(graph, batch.rasters)), (TORCH_FLOAT, floats)
        found = likeness(graph, batch.rasters, expected, got, distances=distances, seed=batch.first)
        if graph.readout is None:
            return found
        objective = build_objective(self._recipe, self._network.eval())
        decision = objective.decide(objective.encode(batch.x, batch.index, self._recipe.input_coding))
        run = simulate(graph, [(batch.x, batch.label, batch.index)])
        n_right = int(decision.correct(batch.label).sum())
        return replace(found, n_right=n_right, n_right_to=int((run.decided & (run.predicted == run.label)).sum()))
