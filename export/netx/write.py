"""An integer graph → a `.net` file, and what such a file cannot hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikegraph.export import fixed
from spikegraph.export.assumptions import Assumptions
from spikegraph.export.bounds import bounds
from spikegraph.export.check import require_legal
from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.coding import InputCoding
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.files import whole_file
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph, OneToOne
from spikegraph.export.loss import Loss, LossReport
from spikegraph.export.netx.chain import Stage, chain_of
from spikegraph.export.netx.lava_dl import not_run
from spikegraph.export.netx.layers import Layer, in_a_row, neuron_members
from spikegraph.export.netx.merge import Merged, merged
from spikegraph.export.netx.neurons import NEVER
from spikegraph.export.netx.read import INPUT
from spikegraph.export.one_spike import one_spike
from spikegraph.export.pauses import same_pauses, same_resets

_REMEDY = "save it as .h5"


def save_netx(graph: Graph | FloatGraph, path: Path, _: Assumptions) -> LossReport:
    """Write a graph as a `.net` file, under a temporary name until it is whole.

    Returns
    -------
    LossReport
        What the file cannot hold, what it holds in another way, and what lava-dl's own reader leaves out.

    Raises
    ------
    GraphError
        The graph is a float graph or no chain of layers, or has what no layer has: thresholds per neuron, limits of
        spikes, another reset than to zero where one happens.
    FileFormatError
        The folder does not exist or is not writable.
    """
    if isinstance(graph, FloatGraph):
        what, remedy = "a .net file holds integers", "quantize it for a chip: spikegraph convert --chip"
        problem = Problem(where=str(path), what=what, remedy=remedy)
        raise GraphError([problem])
    require_legal(graph)
    network = _Network(graph)
    _write(path, network.layers, network.graph.n_steps)
    return LossReport(step=f"write {path.name}", losses=network.losses)


class _Network:
    """The layers of a graph, one after the other."""

    def __init__(self, graph: Graph) -> None:
        self.losses: list[Loss] = []
        self.graph = self._rewritten(graph)
        self.layers: list[Layer] = []
        self.names: dict[str, str] = {}  # as they are once the file is read
        stages = chain_of(self.graph)
        self.last = stages[-1].name
        self.shape: Shape = self.graph.inputs[stages[0].source].shape  # of the layer that is written last
        for stage in stages:
            self._add(stage)
        self._ending(graph)
        self._names(graph)

    def _rewritten(self, graph: Graph) -> Graph:
        """Apply the exact rewrites that bring a neuron's rules to those that a layer has."""
        pause = max([graph.n_steps, *(p.refractory_steps for p in graph.populations.values())])
        chip = _file_as_chip(pause)
        for rewrite in (same_pauses, one_spike, same_resets):
            before = graph
            graph, done = rewrite(graph, chip)
            for name, what in done.items():
                ours, theirs = before.populations[name], graph.populations[name]
                for attribute in ("max_spikes", "refractory_steps", "reset"):
                    if getattr(ours, attribute) != getattr(theirs, attribute):
                        self.losses.append(_loss(f"population {name}", attribute, what))
        if all(population.reset == "zero" for population in graph.populations.values()):
            return graph
        reach, heard = bounds(graph), {p.source for p in graph.projections.values()}
        populations = dict(graph.populations)
        for name, population in graph.populations.items():
            if population.reset != "zero" and reach[name].v[1] <= int(population.threshold_mant.min()) << 6:
                highest = bool((population.threshold_mant == NEVER - 1).all())
                if highest and name not in heard and population.refractory_steps == 1:
                    continue  # written as a threshold out of reach
                populations[name] = replace(population, reset="zero")
                what = f"{population.reset} → zero: v stays below {reach[name].v[1]}, so that nothing is ever reset"
                self.losses.append(_loss(f"population {name}", "reset", what))
        return replace(graph, populations=populations)

    def _add(self, stage: Stage) -> None:
        name, source = stage.name, self.graph.shape_of(stage.source)
        population = self.graph.populations[name]
        from_input = not self.layers
        together = merged(stage.feeds, source, population.shape, from_input=from_input)
        self.losses += together.losses
        if from_input:
            self._head(stage, together)
            if isinstance(together.kernel, OneToOne):
                return
        if together.kernel is None and len(self.shape) == 3:
            self.layers.append(Layer("flatten", {"shape": [prod(self.shape), 1, 1]}))
        if together.kernel is not None and len(self.shape) != 3:
            what = f"follows {stage.source}, whose neurons a dense layer has put in a row"
            raise GraphError([Problem(where=f"projection {', '.join(stage.feeds)}", what=what, remedy=_REMEDY)])
        layer = Layer.of_synapses(name, together.kernel, together.weight, source, population.shape)
        self._delays(stage, layer, together, source)
        if stage.loops:
            self._loop(stage, layer)
        self._append(stage, layer, flat=together.kernel is None)

    def _append(self, stage: Stage, layer: Layer, *, flat: bool) -> None:
        population = self.graph.populations[stage.name]
        if flat and len(population.shape) == 3:
            what = f"{population.shape} → ({population.n},): the neurons of a dense layer are in a row"
            arrays = [name for name in population.PARAMETERS if getattr(population, name).ndim]
            self.losses.append(_loss(f"population {stage.name}", ", ".join(["shape", *arrays]), what))
            population = in_a_row(population)
        members, losses = neuron_members(stage.name, population, last=stage.name == self.last)
        layer.members.update(members)
        self.losses += losses
        self.losses += not_run(f"population {stage.name}", layer)
        self.layers.append(layer)
        self.names[stage.name] = f"layer{len(self.layers) - 1}"
        self.shape = population.shape

    def _head(self, stage: Stage, together: Merged) -> None:
        """Write the input: with neurons where each line feeds one neuron, else alone."""
        name = stage.source
        source = self.graph.inputs[name]
        self.names[name] = INPUT
        if not isinstance(together.kernel, OneToOne):
            self.layers.append(Layer("input", {"shape": list(source.shape)}))
            if (source.min_value, source.max_value) != (0, 1):
                what = f"carries {source.min_value}…{source.max_value}; a file says nothing, and is read as 0…1"
                self.losses.append(_loss(f"input {name}", "min_value, max_value", what, "dropped"))
            self._coding(None)
            return
        largest = max(abs(source.min_value), abs(source.max_value), 1)  # what x = 1 is
        one = int(together.weight)
        weight = one * largest
        if not fixed.INPUT_VALUE.holds(abs(weight)):
            what = f"the input would carry {weight} = {one} · {largest}, outside {fixed.INPUT_VALUE}"
            raise GraphError(
                [Problem(where=f"input {name}", what=what, remedy="use a smaller weight, or fewer values")]
            )
        if together.of_source.any() or stage.loops:
            what = "the neurons of an input feed themselves, or hear it late"
            raise GraphError([Problem(where=f"population {stage.name}", what=what, remedy=_REMEDY)])
        read = max(abs(weight), 1)  # what x = 1 is once the file is read
        if abs(one) > 1:
            what = f"{one} → {np.sign(one)}: the input carries x · {read} in place of x · {largest}"
            self.losses.append(_loss(f"projection {next(iter(stage.feeds))}", "weight", what))
        if (source.min_value, source.max_value) != (-read, read):
            what = f"{source.min_value}…{source.max_value}, in units of 1 / {largest}, is read as {-read}…{read}"
            self.losses.append(_loss(f"input {name}", "min_value, max_value", what))
        self._append(stage, Layer("input", {"shape": list(source.shape), "weight": np.float32(weight)}), flat=False)
        self._coding(InputCoding(kind="direct", max_value=read))

    def _coding(self, read: InputCoding | None) -> None:
        if self.graph.coding != read:
            said = "none" if read is None else f"{read.kind}, max_value = {read.max_value}"
            what = f"a file holds no coding; read as {said}"
            self.losses.append(_loss("graph", "coding", what, "dropped"))

    def _delays(self, stage: Stage, layer: Layer, together: Merged, source: Shape) -> None:
        """Write delays where they belong: with the spikes of the layer before, or with those that arrive here."""
        where = f"projection {', '.join(stage.feeds)}"
        if together.of_target.ndim:
            population = self.graph.populations[stage.name]
            if stage.name != self.last or population.bias_mant.any() or stage.loops:
                what = "delays that differ from one target neuron to the next are held by a last layer without bias"
                raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])
            layer.members["delay"] = together.of_target.astype(np.float32)
        delays = together.of_source
        if not delays.any():
            return
        before, n_source = self.layers[-1], prod(source)
        if before.kind == "flatten":
            before = self.layers[-2]
        of_before = delays if not delays.ndim or delays.size == source[0] else _for_each_channel(delays, source)
        if before.kind != "input" and of_before is not None and "delay" not in before.members:
            channels = before.members["shape"][0]  # lava-dl takes no one delay for all
            before.members["delay"] = np.broadcast_to(of_before, channels).astype(np.float32)
            self.losses += not_run(f"population {stage.source}", before, only="delay")
            return
        apart = layer.kind == "dense" and "delay" not in layer.members
        if not apart or n_source in (1, prod(layer.members["shape"])):
            what = "delays of these lines are held by no layer: neither by the one before nor by this one"
            raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])
        per_line = delays if delays.size == n_source else np.repeat(delays, n_source // max(delays.size, 1))
        layer.members["delay"] = np.broadcast_to(per_line, n_source).astype(np.float32)

    def _loop(self, stage: Stage, layer: Layer) -> None:
        shape = (self.graph.populations[stage.name].n,)
        loops: Mapping[str, Any] = stage.loops
        together = merged(loops, shape, shape, from_input=False)
        late = together.of_source.ndim or together.of_target.ndim or together.of_source != 1
        if layer.kind != "dense" or late or together.kernel is not None:
            what = "a population that feeds itself is a dense layer, one step late"
            raise GraphError([Problem(where=f"projection {', '.join(loops)}", what=what, remedy=_REMEDY)])
        self.losses += together.losses
        layer.kind = "dense_rec"
        layer.members["weight_rec"] = together.weight.astype(np.float32)

    def _ending(self, graph: Graph) -> None:
        """Write how the network decides, as far as a file can say it."""
        population = self.graph.populations[self.last]
        silent = bool((population.threshold_mant == NEVER - 1).all())
        tapped = [name for name, output in graph.outputs.items() if output.population == self.last]
        for name, output in graph.outputs.items():
            if name not in tapped[:1]:
                self.losses.append(
                    _loss(f"output {name}", "population", "a file has one output: the last layer", "dropped")
                )
            elif output.variable != ("v" if silent else "s"):
                what = f"{output.variable}; the last layer {'is read by v' if silent else 'spikes'}"
                self.losses.append(_loss(f"output {name}", "variable", what, "dropped"))
        if not tapped:
            self.losses.append(_loss("graph", "outputs", "the last layer is read as the output", "dropped"))
        readout, n = graph.readout, population.n
        kind, n_each = ("membrane" if silent else "count"), 1
        if readout is not None and tapped and readout.output == tapped[0] and readout.neurons_per_class > 1:
            n_each = readout.neurons_per_class
            if silent:
                self.losses.append(_loss("graph", "readout", f"{n_each} neurons a class, read as one", "dropped"))
            else:
                self.layers.append(Layer("average", {"shape": [n // n_each, 1, 1]}))
                stop = f"lava-dl's reader stops there: give it num_layers={len(self.layers) - 1}"
                self.losses.append(_loss("graph", "readout", f"held, as an average layer; {stop}"))
        alike = readout is not None and readout.kind == kind and not readout.joined and not readout.weights
        if (readout is None and n > 1) or (readout is not None and (not alike or n == 1)):
            said = "none" if n == 1 else f"{kind} of one output"
            was = "none" if readout is None else readout.kind
            self.losses.append(_loss("graph", "readout", f"{was}, read as {said}", "dropped"))

    def _names(self, graph: Graph) -> None:
        renamed = {old: new for old, new in self.names.items() if old != new}
        if renamed:
            said = ", ".join(f"{old} → {new}" for old, new in list(renamed.items())[:8])
            self.losses.append(_loss("graph", "names", f"a file has none: {said}{', …' * (len(renamed) > 8)}"))
        if graph.provenance:
            self.losses.append(_loss("graph", "provenance", "a file has none"))


def _for_each_channel(delays: Array, shape: Shape) -> Array | None:
    """Return the delays of channels, where those of each channel's neurons are alike."""
    if len(shape) != 3:
        return delays if delays.size == shape[0] else None
    rows = delays.reshape(shape[0], -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else None


def _file_as_chip(pause: int) -> Chip:
    one = load_chip("loihi1")
    longest = one.refractory_steps.model_copy(update={"maximum": pause})
    return one.model_copy(update={"refractory_steps": longest})


def _loss(node: str, attribute: str, what: str, effect: Any = "none") -> Loss:
    return Loss(node=node, attribute=attribute, effect=effect, what=what)


def _write(path: Path, layers: list[Layer], n_steps: int) -> None:
    with whole_file(path) as part, h5py.File(part, "x", libver=("earliest", "v110")) as file:
        for i, layer in enumerate(layers):
            layer.write(file.create_group(f"layer/{i}"))
        file["simulation/Ts"], file["simulation/tSample"] = 1, n_steps
        file.attrs["made_by"] = "spikegraph"
