"""Write a Lava network as a folder that stands alone: it needs lava-nc and NumPy, not this package."""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from spikegraph.export.errors import TargetError
from spikegraph.export.graph import Graph
from spikegraph.targets.lava._compat import INSTALL
from spikegraph.targets.lava.build import LavaPlan, plan_lava
from spikegraph.targets.lava.runner import save_arrays

COPIED = {"runner.py": "run.py", "network.py": "network.py", "_compat.py": "_compat.py"}
README = """# A spiking network for Lava
Needs Python >= 3.10, NumPy, SciPy, networkx, asteval, scikit-learn, and lava-nc: `{install}`.
Run it: `python run.py rasters.npz result.npz [--states]`. {inputs}
The result holds {outputs}, boolean (n_steps, samples, *shape); with --states also NAME/u and NAME/v.
plan.json and plan.npz are the network, report.json says how it was made; made by `spikegraph`.
"""


def build_lava(graph: Graph, folder: str | Path) -> LavaPlan:
    """Write the Lava network of a graph into a new folder.

    Parameters
    ----------
    graph : Graph
    folder : path
        Must not exist, or be empty. It appears complete or not at all.

    Returns
    -------
    LavaPlan
        What was built; its `report()` is the folder's report.json.

    Raises
    ------
    TargetError
        Lava cannot express the graph, or the folder is in use.
    """
    plan, folder = plan_lava(graph), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TargetError(str(folder), "exists and is not an empty folder", "choose a new folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        part = Path(temporary) / folder.name
        part.mkdir()  # by itself, because a temporary folder is closed to others
        write_folder(plan, part)
        part.replace(folder)
    return plan


def write_folder(plan: LavaPlan, folder: Path) -> None:
    """Write a plan and what runs it into an empty folder."""
    (folder / "plan.json").write_text(json.dumps(plan.network, indent=1) + "\n", encoding="utf-8")
    save_arrays(folder / "plan.npz", plan.arrays)
    (folder / "report.json").write_text(json.dumps(plan.report(), indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(plan), encoding="utf-8")
    for name, copy in COPIED.items():
        with resources.as_file(resources.files("spikegraph.targets.lava") / name) as source:
            shutil.copyfile(source, folder / copy)


def _readme(plan: LavaPlan) -> str:
    n_steps = plan.network["n_steps"]
    shapes = (
        f"{name} ({', '.join(map(str, [n_steps, 'samples', *node['shape']]))}) of {node['min']}…{node['max']}"
        for name, node in plan.network["inputs"].items()
    )
    outputs = ", ".join(f"{name}/s" for name in plan.network["populations"])
    return README.format(install=INSTALL, inputs=f"Integers: {'; '.join(shapes)}.", outputs=outputs)
