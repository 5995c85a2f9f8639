"""Write a Lava network as a folder that stands alone: it needs lava-nc and NumPy, not this package."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

from spikegraph.export.files import whole_folder
from spikegraph.export.graph import Graph
from spikegraph.targets.lava._compat import INSTALL
from spikegraph.targets.lava.build import LavaPlan, plan_lava
from spikegraph.targets.lava.files import save_plan, whole_file

COPIED = {
    "targets/lava/runner.py": "run.py",
    "targets/lava/session.py": "session.py",
    "targets/lava/files.py": "files.py",
    "targets/lava/network.py": "network.py",
    "targets/lava/processes.py": "processes.py",
    "targets/lava/convolution.py": "convolution.py",
    "targets/lava/_compat.py": "_compat.py",
    "export/fixed.py": "fixed.py",
}
IMPORT = re.compile(r"^( *)from spikegraph\.[\w.]+ import ", re.MULTILINE)  # in a folder all lie side by side
README = """# A spiking network for Lava

Needs Linux, Python >= 3.10, h5py, and lava-nc with what it needs. On Python 3.10: `pip install lava-nc==0.10.0 h5py`.
On a newer one: `pip install numpy scipy networkx asteval scikit-learn h5py`, then `{install}`.

    python run.py inputs.h5 recording.h5 [--timeout SECONDS]

inputs.h5 holds the spikes of each input as integers (n_steps, samples, *shape):
{inputs}

    import h5py
    with h5py.File("inputs.h5", "w") as file:
        file["inputs/NAME"] = array

or, where spikegraph is: `spikegraph encode NET.h5 --data digits:test -o inputs.h5`. recording.h5 then holds the inputs,
and of each population ({populations}) `recording/NAME/s`, `u` and `v`, (n_steps, samples, *shape) in its own time, v
after reset. `spikegraph verify NET.h5 --against recording.h5` compares it with the reference engine.

{stock}

plan.json and plan.h5 are the network, report.json says how it was made.
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
    plan = plan_lava(graph)
    with whole_folder(Path(folder)) as part:
        write_folder(plan, part)
    return plan


def write_folder(plan: LavaPlan, folder: Path) -> None:
    """Write a plan and what runs it into an empty folder."""
    save_plan(folder, plan.network, plan.arrays)
    texts = {copy: _standing_alone(source) for source, copy in COPIED.items()}
    texts |= {"report.json": json.dumps(plan.report(), indent=1) + "\n", "README.md": _readme(plan)}
    for name, text in texts.items():
        with whole_file(folder / name) as file:
            file.write(text.encode())


def _standing_alone(source: str) -> str:
    return IMPORT.sub(r"\1import ", (resources.files("spikegraph") / source).read_text(encoding="utf-8"))


def _readme(plan: LavaPlan) -> str:
    n_steps = plan.network["n_steps"]
    inputs = "\n".join(
        f"- {name} ({', '.join(map(str, [n_steps, 'samples', *node['shape']]))}) of {node['min']}…{node['max']}"
        for name, node in plan.network["inputs"].items()
    )
    own = {name: p for name, p in {**plan.projections, **plan.populations}.items() if p.why_not_stock}
    stock = "All processes are Lava's own: the network can run on silicon through Intel's compiler."
    if own:
        lines = "\n".join(f"- {name} ({planned.process}): {planned.why_not_stock}" for name, planned in own.items())
        stock = f"It runs in simulation only, because these processes are not Lava's own (processes.py):\n\n{lines}"
    return README.format(install=INSTALL, inputs=inputs, populations=", ".join(plan.populations), stock=stock)
