"""The stages of the path as Python calls, named as the commands are: file in, file out.

Each call reads what the stage before it wrote. The command line is a thin layer over these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikegraph import __version__
from spikegraph.conversion import convert, diff
from spikegraph.destination import require_place_for
from spikegraph.export import formats
from spikegraph.export.bounds import bounds
from spikegraph.export.check import problems, require_legal
from spikegraph.export.chips import load_chip
from spikegraph.export.errors import GraphError, OptionError
from spikegraph.export.formats import AnyGraph, load, load_integer
from spikegraph.export.graph import Graph
from spikegraph.export.join import join as join_graphs
from spikegraph.export.mend import Rewrite, mend
from spikegraph.exporting import export
from spikegraph.fit_report import CheckReport
from spikegraph.hwsim.compare import compare_additions
from spikegraph.hwsim.cost import Cost, cost_of
from spikegraph.hwsim.counts import Until
from spikegraph.hwsim.extremes import Seen, extremes
from spikegraph.hwsim.fit import fit as fit_on
from spikegraph.hwsim.per_core import split_over_cores
from spikegraph.hwsim.placement import Placement, place
from spikegraph.hwsim.profile import load_profile
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.run_file import load_run, require_run_suffix
from spikegraph.hwsim.simulate import Samples, count_right, rasters_of, samples_per_batch
from spikegraph.hwsim.simulate import simulate as simulate_samples
from spikegraph.inspection import inspect
from spikegraph.progress import Progress, silent
from spikegraph.proof import verify
from spikegraph.targets.builders import build as build_graph
from spikegraph.targets.encoded import MOST_VALUES, WRITERS
from spikegraph.trainer.data import DataSet, Split, load_data, load_split, parse_noise

if TYPE_CHECKING:
    from spikegraph.export.connectivity import Array
    from spikegraph.trainer.own import Maker

# From elsewhere, for those who take the stages from here.
__all__ = ["convert", "diff", "export", "inspect", "load_integer", "verify"]


def train(
    recipe: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    data: str | Path | DataSet | None = None,
    module: Maker | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    chip: str | None = None,
    resume: bool = False,
    device: str = "cpu",
    tensorboard: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a recipe into the folder `out`; return its summary.

    Parameters
    ----------
    recipe : str or Path, or mapping
        Name of a recipe, or a TOML file, or what would be in one.
    out : path
        Gets recipe.toml, checkpoint.safetensors, log.csv and summary.json.
    data : path or DataSet, optional
        Folder (or archive) of the data set's files; without it they are fetched into the user's cache where need be. Or
        the data itself, such as `data_of_arrays(…)`, in place of the recipe's set.
    module : callable, optional
        Makes a `torch.nn.Module`, for a recipe with method "module": its class, or a function. Also `export` and
        `verify` then need it: a run holds parameters, no code.
    seed, epochs, chip : optional
        In place of the recipe's; chip "none" trains in floats.
    resume : bool
        Go on with the run in `out`.
    device : str
        "cpu" or "cuda".
    tensorboard : bool
        Log to `out`/tensorboard as well.
    progress : callable(what, done, total)
    """
    from spikegraph.trainer.recipe import load_recipe

    chosen = load_recipe(recipe).changed(seed=seed, epochs=epochs, chip=chip)
    if isinstance(data, DataSet):
        chosen, dataset = chosen.on(data.name), data
    else:
        dataset = load_data(chosen.data.set, Path(data) if data else None)
    from spikegraph.trainer.folder import train_recipe  # torch takes seconds: what is wrong until here is told at once

    return train_recipe(
        chosen,
        dataset.downscaled(chosen.data.downscale),
        Path(out),
        resume=resume,
        device=device,
        progress=progress,
        tensorboard=tensorboard,
        module=module,
    )


def is_started(folder: str | Path) -> bool:
    """Tell whether a folder holds a training run to go on with: one that finished an epoch."""
    from spikegraph.trainer.loop import CHECKPOINT

    return (Path(folder) / CHECKPOINT).exists()


def join(
    paths: Sequence[str | Path], out: str | Path, *, weights: Sequence[int] = (), names: Sequence[str] = ()
) -> Graph:
    """Join graph files that read the same input into one whose readouts decide together, and write it to `out`.

    Parameters
    ----------
    paths : sequence of path
        Two graph files or more.
    out : path
        Graph file.
    weights : sequence of int, optional
        One for each file: what each of its output spikes counts for.
    names : sequence of str, optional
        One for each file, put before the names of its nodes; by default those of the files, without suffix.
    """
    formats.require_own(out)
    require_place_for(out, "graph", not_of=paths)
    graph = join_graphs([load_integer(path) for path in paths], names or [Path(p).stem for p in paths], weights=weights)
    formats.save(graph, out)
    return graph


def check(
    path: str | Path,
    *,
    chip: str | None = None,
    weight_bits: int | None = None,
    data: str | Split | None = None,
    data_dir: str | Path | None = None,
    samples: int | None = None,
    fix: bool = False,
    per_core: bool = False,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Check a graph file against the law and a chip; bound x, u and v of every population; rewrite it if asked.

    Parameters
    ----------
    path : path
        Graph file.
    chip : str, optional
        Check against this chip's limits, and those of its cores, as well.
    weight_bits : int, optional
        For the chip "generic".
    data : str or Split, optional
        "digits:test", …, or samples in memory: run it in the native engine, for the largest values of x, u and v.
    data_dir : path, optional
        Folder (or archive) of the data set's files.
    samples : int, optional
        Only the first so many.
    fix : bool
        Apply every exact rewrite that the chip asks for.
    per_core : bool
        With `fix`: also split populations that lie on several cores, into one for each.
    out : path, optional
        With `fix`: gets the rewritten graph, if it is then legal on the chip and fits; else nothing is written.
    """
    if fix and (chip is None or out is None):
        raise OptionError("--fix", "needs a chip and a file to write", "add --chip loihi1 -o fixed.h5")
    if per_core and not fix:
        raise OptionError("--per-core", "rewrites the graph", "add --fix -o fixed.h5")
    if out is not None and not fix:
        raise OptionError("-o", "is for the graph that --fix writes", "add --fix, or leave -o out")
    if weight_bits is not None and chip is None:
        raise OptionError("--weight-bits", "is of the chip generic, and none is named", "add --chip generic")
    if samples is not None and data is None:
        raise OptionError("--samples", "is for a run, and no data is named", "add --data, such as digits:test")
    if out is not None:
        formats.require_own(out)
    require_place_for(out, "graph", not_of=[path])
    profile = load_chip(chip, weight_bits=weight_bits) if chip else None
    split = None if data is None else load_split(data, data_dir, samples)
    try:
        graph = load_integer(path)
    except GraphError as error:  # a whole file with an illegal graph: the answer is no
        return CheckReport(chip=chip, problems=error.problems, rewrites=() if fix else None)
    found, rewrites, mendable = problems(graph, profile), list[Rewrite](), 0
    if profile is not None and found:
        progress("rewrite", 0, 1)
        mended, done = mend(graph, profile)
        left = problems(mended, profile)
        mendable = max(len(found) - len(left), 0)
        if fix:
            graph, rewrites, found = mended, done, left
    fitted = None
    if profile is not None:
        fitted = fit_on(graph, profile, progress)
        if per_core and not found and not fitted.problems:
            progress("split over cores", 0, 1)
            graph, done = split_over_cores(graph, profile)
            rewrites += done
            found, fitted = problems(graph, profile), fit_on(graph, profile, progress)
        found += fitted.problems
    seen = _seen(graph, split, progress) if split else {}
    if fix and out is not None and not found:
        provenance = {**graph.provenance, "rewritten_for": chip, "rewrites": [str(rewrite) for rewrite in rewrites]}
        formats.save(replace(graph, provenance=provenance), out)
    progress("bounds", 0, 1)
    once = graph.coding is not None and graph.coding.kind == "first_spike"
    return CheckReport(
        chip=chip,
        problems=tuple(found),
        bounds=bounds(graph, coded=True),
        bounded_by="inputs of one spike a line, as first_spike makes them" if once else "any input",
        seen=seen,
        seen_in=split.name if split else "",
        fit=fitted,
        mendable=mendable,
        rewrites=tuple(rewrites) if fix else None,
        written=str(out) if out is not None and not found else None,
    )


def _seen(graph: Graph, split: Split, progress: Progress) -> dict[str, Seen]:
    batches = _batches(graph, split, f"run {split.name}", progress, record=list(graph.populations))
    return extremes(graph, (rasters_of(graph, x, index) for x, _, index in batches))


def _batches(
    graph: AnyGraph, split: Split, what: str, progress: Progress, **run: Any
) -> Iterator[tuple[Samples, Array, Array]]:
    """Yield x, label and index of as many samples at a time as `run` has room for; tell how many have been dealt with.

    Nothing is computed before the first is asked for: by then the graph has been found legal.
    """
    size = samples_per_batch(graph, **run)
    progress(what, 0, len(split))
    for x, label, index in split.batches(next(iter(graph.inputs.values())).shape, size):
        yield x, label, index
        progress(what, int(index[-1]) + 1, len(split))


def simulate(
    path: str | Path,
    data: str | Split,
    out: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    engine: str = "native",
    until: Until = "window",
    n_steps: int | None = None,
    samples: int | None = None,
    record: Collection[str] = (),
    chip: str | None = None,
    noise: str | None = None,
    noise_seed: int = 0,
    progress: Progress = silent,
) -> Run:
    """Run a graph file on a data set and write the run to `out` as it goes.

    Parameters
    ----------
    path : path
        Graph file.
    data : str
        "digits:test", "mnist:test", "own.npz:test", …
    out : path, optional
        Run file, .h5. With it, recorded states are in the file only, and read when they are asked for.
    data_dir : path, optional
        Folder (or archive) of the data set's files.
    engine : str
        "native", or "reference": the same results, slowly.
    until : "window" or "decision"
        With "decision" a sample ends with the step of its decision, and nothing is counted beyond.
    n_steps : int, optional
        In place of the graph's.
    samples : int, optional
        Only the first so many.
    record : collection of str
        Populations whose states are kept at every step.
    chip : str, optional
        Place the graph on this chip and count for each core, so that the run can be priced: see `cost`.
    noise : str, optional
        Noise on the input, as KIND:AMOUNT: see `spikegraph.trainer.data.Noise`.
    noise_seed : int
        Fixes the noise, together with a sample's place in its data set.
    """
    added = parse_noise(noise, noise_seed) if noise else None
    if out is not None:
        require_run_suffix(out)
    require_place_for(out, "run")
    graph = load_integer(path)
    if n_steps is not None:
        graph = replace(graph, n_steps=n_steps)
    split = load_split(data, data_dir, samples)
    placement = None
    if chip is not None:
        progress(f"place on {chip}", 0, 1)
        placement = _placed(graph, chip)
        progress(f"place on {chip}", 1, 1)

    room = {"record": record, "engine": engine, "placement": placement}
    batches = _batches(graph, split, f"simulate {split.name}", progress, **room)
    provenance: dict[str, Any] = {"made_by": f"spikegraph {__version__}", "graph_file": str(path), "data": split.name}
    if added is not None:
        provenance["noise"] = {"kind": added.kind, "amount": added.amount, "seed": added.seed}
    return simulate_samples(
        graph,
        ((added.on_samples(x, index) if added else x, label, index) for x, label, index in batches),
        engine=engine,
        until=until,
        record=record,
        placement=placement,
        corrupt=added.on_raster if added is not None and added.of_spikes else None,
        out=out,
        provenance=provenance,
    )


def accuracy(
    path: str | Path,
    data: str | Split,
    *,
    data_dir: str | Path | None = None,
    n_steps: int | None = None,
    samples: int | None = None,
    progress: Progress = silent,
) -> tuple[int, int]:
    """Run a graph file, of floats too, on a data set; return how many samples it decides rightly, and of how many.

    Parameters are those of `simulate`. Of a float graph nothing else is counted: what it would cost follows from the
    integers that it is quantized to.
    """
    graph = load(path)
    if n_steps is not None:
        graph = replace(graph, n_steps=n_steps)
    require_legal(graph)
    split = load_split(data, data_dir, samples)
    return count_right(graph, _batches(graph, split, f"simulate {split.name}", progress))


def _placed(graph: Graph, chip: str) -> Placement:
    try:
        return place(graph, load_chip(chip))
    except GraphError as error:
        quantized_for = graph.provenance.get("chip")
        if quantized_for in (None, chip):
            raise
        what = f"the graph is quantized for {quantized_for}, and is not legal on {chip} ({error.problems[0]})"
        made = "convert FLOATS OUT" if "converted_from" in graph.provenance else "export RUN"
        raise OptionError(f"--chip {chip}", what, f"export it for {chip}: spikegraph {made} --chip {chip}") from error


def cost(path: str | Path, profile: str | Path) -> Cost:
    """Price a stored run.

    Parameters
    ----------
    path : path
        Run file. For a profile of a chip it must be of a run with `chip`.
    profile : str or path
        Name of a profile, or a TOML file of one's own.
    """
    return cost_of(load_run(path), load_profile(profile))


def additions(path: str | Path, against: str | Path) -> dict[str, Any]:
    """Compare the synaptic additions of two stored runs, such as of networks of one shape and two codes."""
    return compare_additions(load_run(path), load_run(against), str(against))


def encode(
    path: str | Path,
    data: str | Split,
    out: str | Path,
    *,
    data_dir: str | Path | None = None,
    samples: int | None = None,
    progress: Progress = silent,
) -> int:
    """Write the spikes that a graph's code makes of data, for what runs elsewhere; return the number of samples.

    Parameters
    ----------
    path : path
        Graph file with a coding.
    data : str or Split
        "digits:test", …, or samples in memory, such as `data_of_arrays(…).test`.
    out : path
        Its suffix says for whom: see `spikegraph.targets.encoded.WRITERS`.
    data_dir : path, optional
        Folder (or archive) of the data set's files.
    samples : int, optional
        Only the first so many.
    """
    suffix = Path(out).suffix.lower()
    if suffix not in WRITERS:
        raise OptionError(str(out), f"has the suffix {suffix!r}", f"use one of {', '.join(WRITERS)}")
    require_place_for(out, not_of=[path])
    graph, split = load_integer(path), load_split(data, data_dir, samples)
    n_values = len(split) * graph.n_steps * sum(node.n for node in graph.inputs.values())
    if n_values > MOST_VALUES:
        what = f"{len(split)} samples of {graph.n_steps} steps are {n_values:,} values, more than {MOST_VALUES:,}"
        raise OptionError("--samples", what, "encode fewer samples")
    batches = _batches(graph, split, f"encode {split.name}", progress)
    parts = [rasters_of(graph, x, index) for x, _, index in batches]
    rasters = {name: np.concatenate([part[name] for part in parts], axis=1) for name in graph.inputs}
    WRITERS[suffix](graph, rasters, Path(out))
    return len(split)


def build(path: str | Path, out: str | Path, *, target: str) -> dict[str, Any]:
    """Build a graph file for a target into the folder `out`; return the build report."""
    return build_graph(load_integer(path), out, target)
