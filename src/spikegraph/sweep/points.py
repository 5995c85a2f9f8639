"""The points of a sweep: a recipe trained, or a trained network quantized anew, in every setting, and each evaluated.

A sweep is a folder with a folder for each point, and the report. It may be stopped at any moment: a point that is there
is neither trained nor evaluated again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikegraph import __version__, stages
from spikegraph.export.errors import OptionError
from spikegraph.export.files import write_whole
from spikegraph.export.graph import Graph
from spikegraph.hwsim.simulate import samples_per_batch
from spikegraph.hwsim.simulate import simulate as simulate_samples
from spikegraph.progress import Progress, silent
from spikegraph.sweep.report import FIGURES, write_report
from spikegraph.trainer.data import DataSet, load_data

if TYPE_CHECKING:
    from spikegraph.export.connectivity import Array
    from spikegraph.trainer.recipe import Recipe

POINT = "point.json"
_MADE_BY = f"spikegraph {__version__}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a point of a sweep changes in its recipe; None: nothing.

    Attributes
    ----------
    bits : int, optional
        Width of the weights, on the chip "generic".
    n_steps : int, optional
    additions_weight : float, optional
    seed : int, optional
    """

    bits: int | None = None
    n_steps: int | None = None
    additions_weight: float | None = None
    seed: int | None = None

    @property
    def name(self) -> str:
        """Name of the point's folder, such as "bits4-steps8": numbers in full, so that it is of no other setting."""
        parts = {"bits": self.bits, "steps": self.n_steps, "additions": self.additions_weight, "seed": self.seed}
        given = {key: str(value).removesuffix(".0") for key, value in parts.items() if value is not None}
        return "-".join(f"{key}{value}" for key, value in given.items()) or "as-it-is"

    def of(self, recipe: Recipe, epochs: int | None) -> Recipe:
        """Return the recipe of this point."""
        return recipe.changed(
            seed=self.seed,
            epochs=epochs,
            weight_bits=self.bits,
            n_steps=self.n_steps,
            additions_weight=self.additions_weight,
        )


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The values that a sweep combines; an empty axis leaves the recipe's own value."""

    bits: Sequence[int] = ()
    n_steps: Sequence[int] = ()
    additions_weight: Sequence[float] = ()
    seed: Sequence[int] = ()

    def settings(self) -> list[Setting]:
        """Return every combination."""
        axes = [list(dict.fromkeys(axis)) or [None] for axis in vars(self).values()]
        return [Setting(**dict(zip(vars(self), values, strict=True))) for values in product(*axes)]


def sweep(
    recipe: str | Path,
    out: str | Path,
    axes: Axes,
    *,
    epochs: int | None = None,
    data: str | Path | None = None,
    on: Literal["validation", "test"] = "validation",
    samples: int | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a recipe in every setting, evaluate each in the simulator, and write the report into the folder `out`.

    Parameters
    ----------
    recipe : str or Path
        Name of a recipe, or a TOML file.
    out : path
        Gets a folder for each point, and the report.
    axes : Axes
    epochs : int, optional
        In place of the recipe's.
    data : path, optional
        Folder of the data set's files.
    on : "validation" or "test"
        The samples to evaluate on: those held out of training, or the test split.
    samples : int, optional
        Only the first so many of these.
    device : str
        "cpu" or "cuda", for training.
    progress : callable(what, done, total)

    Returns
    -------
    dict
        The report, which is also in `out`/sweep.json.
    """
    from spikegraph.trainer.folder import RECIPE, train_recipe
    from spikegraph.trainer.recipe import load_recipe

    base, folder = load_recipe(recipe), Path(out)
    recipes = {setting: setting.of(base, epochs) for setting in axes.settings()}  # every error now, not after hours
    dataset = load_data(base.data.set, Path(data) if data else None).downscaled(base.data.downscale)

    def trained(setting: Setting) -> Graph:
        point = folder / setting.name
        train_recipe(
            recipes[setting],
            dataset,
            point,
            resume=True,
            device=device,
            progress=lambda what, done, total: progress(f"{setting.name}: {what}", done, total),
            test=False,
        )
        return stages.export(point, point / "net.h5").integers[0]

    def evaluated(setting: Setting) -> dict[str, Any]:
        of = recipes[setting]
        identity = {"recipe": of.to_toml(), "on": on, "samples": samples, "made_by": _MADE_BY}
        chosen, point = _chosen(dataset, of, on, samples), folder / setting.name
        result = _once(point / POINT, identity, lambda: _evaluate(trained(setting), dataset, on, chosen))
        command = f"spikegraph train {point / RECIPE} --out NEW"
        return {"seed": of.training.seed} | result | {"trained_by": command}

    told = {"recipe": str(recipe), "axes": vars(axes), "epochs": epochs, "on": on, "samples": samples}
    return _report(folder, told, recipes, evaluated)


def sweep_trained(
    run: str | Path,
    out: str | Path,
    axes: Axes,
    *,
    data: str | Path | None = None,
    on: Literal["validation", "test"] = "validation",
    samples: int | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Quantize the network of a training run in every setting, without training; else as `sweep`.

    Raises
    ------
    OptionError
        The axes hold what only training can change: seeds, or weights of additions.
    """
    from spikegraph.trainer.folder import load_run
    from spikegraph.trainer.loop import CHECKPOINT

    for name, axis in (("--seeds", axes.seed), ("--additions-weight", axes.additions_weight)):
        if axis:
            raise OptionError(name, "changes training, and --evaluate-only does not train", "leave out one of the two")
    trained, folder = Path(run), Path(out)
    recipe, _ = load_run(trained)
    recipes = {setting: setting.of(recipe, None) for setting in axes.settings()}
    dataset = load_data(recipe.data.set, Path(data) if data else None).downscaled(recipe.data.downscale)
    digest = sha256((trained / CHECKPOINT).read_bytes()).hexdigest()
    chosen = _chosen(dataset, recipe, on, samples)

    def quantized(setting: Setting) -> Graph:
        _make(folder / setting.name)
        chip = None if setting.bits is None else "generic"
        net = folder / setting.name / "net.h5"
        graph, _ = stages.export(trained, net, chip=chip, weight_bits=setting.bits).integers
        return graph if setting.n_steps is None else replace(graph, n_steps=setting.n_steps)

    def evaluated(setting: Setting) -> dict[str, Any]:
        progress("evaluate", list(recipes).index(setting), len(recipes))
        identity = {"checkpoint": digest, "on": on, "samples": samples, "made_by": _MADE_BY}
        path = folder / setting.name / POINT
        result = _once(path, identity, lambda: _evaluate(quantized(setting), dataset, on, chosen))
        progress("evaluate", list(recipes).index(setting) + 1, len(recipes))
        return {"seed": recipe.training.seed} | result

    told = {"run": str(run), "axes": vars(axes), "on": on, "samples": samples, "checkpoint_sha256": digest}
    return _report(folder, told, recipes, evaluated)


def _once(path: Path, identity: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what the file holds if it is of this identity, or else do the work and write it down."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if held["identity"] == identity and all(isinstance(held["result"][name], int | float) for name in FIGURES):
            return dict(held["result"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged: it is made anew
    result = work()
    write_whole(path, json.dumps({"identity": identity, "result": result}, indent=2) + "\n")
    return result


def _chosen(data: DataSet, recipe: Recipe, on: str, samples: int | None) -> Array:
    """Return the numbers of the samples to evaluate on."""
    from spikegraph.trainer.loop import held_out

    of_all = np.arange(len(data.test)) if on == "test" else held_out(recipe, len(data.train))
    if samples is not None and not 1 <= samples <= len(of_all):
        what = f"{samples} of the {on} samples of {data.name}, of which there are {len(of_all)}"
        raise OptionError("--samples", what, f"choose 1…{len(of_all)}")
    return of_all[:samples]


def _evaluate(graph: Graph, data: DataSet, on: str, chosen: Array) -> dict[str, Any]:
    """Run a graph on these samples, each until its decision."""
    split, shape = (data.test if on == "test" else data.train), next(iter(graph.inputs.values())).shape
    size = samples_per_batch(graph, (), "native")
    parts = (chosen[start : start + size] for start in range(0, len(chosen), size))
    batches = ((split.samples(index).reshape(len(index), *shape), split.label[index], index) for index in parts)
    run = simulate_samples(graph, batches, until="decision")
    summary = run.summary()
    return {
        "samples": len(run),
        "accuracy": run.accuracy,
        "undecided": summary["undecided"],
        "additions": summary["per_sample"]["until_decision"]["sops"],
        "latency_steps": summary["decision_latency_steps"]["mean"],
    }


def _report(
    folder: Path,
    told: dict[str, Any],
    recipes: dict[Setting, Recipe],
    evaluated: Callable[[Setting], dict[str, Any]],
) -> dict[str, Any]:
    _make(folder)
    points = []
    for setting, recipe in recipes.items():
        steps, weight = setting.n_steps or recipe.coding.n_steps, recipe.training.additions_weight
        changed = {"bits": setting.bits, "n_steps": steps, "additions_weight": weight}
        points.append({"point": setting.name} | changed | evaluated(setting))
    return write_report(folder, told | {"made_by": _MADE_BY}, points)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(str(folder), f"cannot be made ({error})", "choose another --out") from error
