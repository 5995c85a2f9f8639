"""Layout → C: the engine's files as they lie here, with a network's sizes and tables in their places, and its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.targets.c.layout import Layout, Row

_STRUCTURES = {
    "sources": "source",
    "inputs": "input",
    "projections": "projection",
    "populations": "population",
    "outputs": "output",
    "readings": "reading",
}
_PARTS = ("structures.h", "synapses.h", "neurons.h", "readout.h")  # of the engine, which becomes one file
_TAKEN = r"^(main|neuron|print|read|sg)$|^sg_|_of(_|$)"  # files, neuron.h, functions of main.c, tables
_PER_LINE = 24  # numbers


def sources_of(graph: Graph, layout: Layout, name: str) -> dict[str, str]:
    """Return the files of a network, by file name: NAME.h, NAME.c, main.c, Makefile and neuron.h.

    Parameters
    ----------
    graph : Graph
    layout : Layout
        Of that graph.
    name : str
        A C identifier, before which all that is visible puts the network's name.
    """
    sizes = {**layout.sizes, **_names(graph)}
    macros = "".join(f"#define NETWORK_{macro} {value}\n" for macro, value in sizes.items())
    written = {"sizes.h": macros, "tables.h": "\n".join([*_arrays(layout), *_rows(layout)])}
    written |= {file: _template(file) for file in _PARTS}
    files = {f"{name}.{suffix}": _inlined(_template(f"network.{suffix}"), written) for suffix in "hc"}
    files |= {file: _template(file) for file in ("main.c", "Makefile")}
    neuron = (resources.files("spikegraph.hwsim") / "neuron.h").read_text(encoding="utf-8")
    return {**{file: _named(file, text, name) for file, text in files.items()}, "neuron.h": neuron}


def identifier(text: str) -> str:
    """Make a C identifier of a folder's name, one that clashes with no file or name of the engine."""
    made = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    clear = re.match(r"[a-z]", made) and not re.search(_TAKEN, made)
    return made if clear else f"net_{made}".rstrip("_")


def _template(file: str) -> str:
    return (resources.files("spikegraph.targets.c") / file).read_text(encoding="utf-8")


def _inlined(text: str, parts: Mapping[str, str]) -> str:
    """Put parts in the place of the lines that include them."""
    for file, part in parts.items():
        text = text.replace(f'#include "{file}"\n', f"\n{part}" if file != "sizes.h" else part)
    return text


def _named(file: str, text: str, name: str) -> str:
    """Put the network's name where the engine says `network_`, `NETWORK_`, `network.h`, `network.c`."""
    text = re.sub(r"\bNETWORK_", f"{name.upper()}_", text)
    return re.sub(r"\bnetwork\b" if file == "Makefile" else r"\bnetwork(?=_|\.[ch]\b)", name, text)


def _names(graph: Graph) -> dict[str, str]:
    outputs = graph.outputs
    return {
        "OUTPUT_NAMES": "{" + ", ".join(f'"{name}"' for name in outputs) + "}",
        "OUTPUT_SIZES": "{" + ", ".join(str(graph.populations[o.population].n) for o in outputs.values()) + "}",
        "OUTPUT_VARIABLES": "{" + ", ".join(f"'{o.variable}'" for o in outputs.values()) + "}",
    }


def _arrays(layout: Layout) -> list[str]:
    return [f"static const {ctype} {name}[] = {{\n{_numbers(a)}}};\n" for name, (ctype, a) in layout.tables.items()]


def _numbers(array: Array) -> str:
    texts = [f"{{{a}, {b}}}" for a, b in array.tolist()] if array.ndim == 2 else list(map(str, array.tolist()))
    lines = (texts[k : k + _PER_LINE] for k in range(0, len(texts), _PER_LINE))
    return "".join(f"  {', '.join(line)},\n" for line in lines)


def _rows(layout: Layout) -> list[str]:
    made = []
    for table, structure in _STRUCTURES.items():
        if table == "readings" and not layout.rows[table]:
            continue  # the engine then has no readout
        rows = "".join(f"  {_row(row)},\n" for row in layout.rows[table]) or "  {0}, /* none */\n"
        made.append(f"static const {structure} {table}[] = {{\n{rows}}};\n")
    return made


def _row(row: Row) -> str:
    fields = (f".{name} = {_row(v) if isinstance(v, dict) else v}" for name, v in row.items() if v not in (0, "0"))
    return "{" + (", ".join(fields) or "0") + "}"
