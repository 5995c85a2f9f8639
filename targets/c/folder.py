"""Write a graph as a folder of C99 that stands alone: it needs a C compiler, and not this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spikegraph.export.files import whole_folder
from spikegraph.export.graph import Graph
from spikegraph.targets.c.layout import lay_out
from spikegraph.targets.c.memory import Memory, memory_of
from spikegraph.targets.c.source import identifier, sources_of

README = """# {name}: a spiking network in C99

`make` builds `./{name}`, which reads events on stdin and prints spikes{decides}: see main.c. In a program of your own
take {name}.h, {name}.c and neuron.h; main.c and the Makefile are examples.

    static {name}_net net;
    {name}_reset(&net);
    {name}_step(&net, events, n_events, spikes); /* {n_steps} times */

{inputs}
{outputs}
{memory}
report.json says how it was made; made by `spikegraph`.
"""


def build_c(graph: Graph, folder: str | Path) -> dict[str, Any]:
    """Write the C of a graph into a new folder, whose name becomes the network's.

    Parameters
    ----------
    graph : Graph
        Not pipelined.
    folder : path
        Must not exist, or be empty. It appears complete or not at all.

    Returns
    -------
    dict
        The folder's report.json: name, memory, what was rewritten.

    Raises
    ------
    GraphError, TargetError
        The graph is not legal, C does not take it, or the folder is in use.
    """
    folder = Path(folder)
    name = identifier(folder.absolute().name)
    layout = lay_out(graph)
    memory = memory_of(layout)
    report = {
        "name": name,
        "memory": memory.to_json(),
        "summary": [str(memory)],
        "populations": layout.populations,
        "rewrites": layout.rewrites,
    }
    files = sources_of(graph, layout, name)
    files["README.md"] = _readme(graph, name, memory)
    files["report.json"] = json.dumps(report, indent=1) + "\n"
    with whole_folder(folder) as part:
        write_files(files, part)
    return report


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write texts by file name into a folder."""
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")


def _readme(graph: Graph, name: str, memory: Memory) -> str:
    first, inputs = 0, []
    for input_name, node in graph.inputs.items():
        low, high = min(node.min_value, 0), max(node.max_value, 0)
        inputs.append(f"{input_name} {node.shape}: {first}…{first + node.n - 1} (values {low}…{high})")
        first += node.n
    outputs = (f"{k}: {key} ({o.variable} of {o.population})" for k, (key, o) in enumerate(graph.outputs.items()))
    return README.format(
        name=name,
        decides=f" and the class ({graph.readout.kind})" if graph.readout else "",
        n_steps=graph.n_steps,
        inputs=f"Input lines: {'; '.join(inputs)}.",
        outputs=f"Outputs: {', '.join(outputs)}.",
        memory=f"Memory: {memory}.",
    )
