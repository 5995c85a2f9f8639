"""What is asked for in place of what a graph says itself: a reset, a window, an input's largest number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.errors import OptionError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import RESETS, Graph
from spikegraph.export.loss import Loss


def refuse_input_range(asked: Assumptions) -> None:
    """Raise `OptionError` if a range of the input is asked for, of what has none."""
    if asked.input_range is not None:
        raise OptionError("--input-range", "is of .net files whose input has neurons", "leave it out")


def as_asked(graph: Graph | FloatGraph, asked: Assumptions) -> tuple[Graph | FloatGraph, list[Loss]]:
    """Change what a graph says where something else is asked for, and tell what that costs.

    For files that leave nothing open: what is assumed of others is here in place of what the file says.

    Raises
    ------
    OptionError
        It is asked for what only means something where a file leaves it open, or for another dt than the graph's.
    """
    losses: list[Loss] = []
    refuse_input_range(asked)
    if asked.convention is not None:
        raise OptionError("--convention", "is of .nir files, which leave it open", "leave it out")
    if asked.dt is not None and asked.dt != getattr(graph, "dt", None):
        says = f"the file says {graph.dt:g} s" if isinstance(graph, FloatGraph) else "an integer graph has no seconds"
        raise OptionError("--dt", f"is {asked.dt:g} s, and {says}", "leave it out")
    if asked.reset is not None:
        if asked.reset not in RESETS:
            what = f"is {asked.reset!r}, which is of .nir files"
            raise OptionError("--reset", what, f"use one of {', '.join(RESETS)}")
        for name, population in graph.populations.items():
            loop = _reset_loop(graph, name)
            if population.reset == "none" and loop:
                what = f"is {asked.reset}, but {name} is reset by a projection onto itself, {loop}"
                raise OptionError("--reset", what, "say --reset where the original .nir is read")
            if population.reset != asked.reset:
                what = f"{asked.reset}, in place of {population.reset}"
                losses.append(Loss(node=f"population {name}", attribute="reset", effect="approximated", what=what))
        populations: Any = {name: replace(one, reset=asked.reset) for name, one in graph.populations.items()}
        graph = replace(graph, populations=populations)
    if asked.n_steps is not None and asked.n_steps != graph.n_steps:
        what = f"{asked.n_steps}, in place of {graph.n_steps}"
        losses.append(Loss(node="graph", attribute="n_steps", effect="approximated", what=what))
        graph = replace(graph, n_steps=asked.n_steps)
    if asked.max_value is not None:
        graph, cut = _narrowed(graph, asked.max_value)
        losses += cut
    return graph, losses


def _reset_loop(graph: Graph | FloatGraph, name: str) -> str | None:
    """Return the projection by which each neuron takes its threshold off one step late, as snnTorch does; or None."""
    return next(
        (
            loop
            for loop, p in graph.into(name).items()
            if p.source == name and p.kind == "OneToOne" and p.delay_steps == 1 and (p.weight < 0).all()
        ),
        None,
    )


def _narrowed(graph: Graph | FloatGraph, max_value: int) -> tuple[Graph | FloatGraph, list[Loss]]:
    losses = []
    for name, node in graph.inputs.items():
        if node.max_value > max_value:
            what = f"{max_value}, in place of {node.max_value}: a spike carries no more"
            losses.append(Loss(node=f"input {name}", attribute="max_value", effect="approximated", what=what))
    inputs = {name: replace(node, max_value=max_value) for name, node in graph.inputs.items()}
    coding = graph.coding
    if coding is not None and coding.kind in ("direct", "events"):
        coding = replace(coding, max_value=max_value)
    return replace(graph, inputs=inputs, coding=coding), losses
