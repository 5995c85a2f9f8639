"""Print the tables of docs/cost.md; SANAFE_PYTHON names the Python that has sanafe."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from crosscheck.comparison import Comparison, compare
from crosscheck.networks import convolutional, dense

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.hwsim.simulate import rasters_of
from spikegraph.stages import load_integer
from spikegraph.trainer.data import load_split


def trained(path: Path, data: str, n_samples: int, folder: Path | None) -> tuple[Graph, dict[str, Array]]:
    """Return a graph and the input spikes of the first samples of a split."""
    graph = load_integer(path)
    (node,) = graph.inputs.values()
    x, _, index = next(load_split(data, folder).first(n_samples).batches(node.shape, n_samples))
    return graph, rasters_of(graph, x, index)


def rows(comparison: Comparison) -> list[tuple[str, float, str, float]]:
    """Return each of our quantities, and SANA-FE's under its name: means per sample."""
    counts = {name: float(values.sum()) for name, values in comparison.mean(comparison.core_counts).items()}
    traced = comparison.mean(comparison.sanafe_core_counts)
    own, from_inputs = (
        {name: float(values[part].sum()) for name, values in traced.items()} for part in (np.s_[:-1], -1)
    )
    runs = [models["simple"] for models in comparison.theirs]
    counters = {name: float(np.mean([run.counters[name] for run in runs])) for name in runs[0].counters}
    inputs = sum(float(raster.sum()) for raster in comparison.rasters.values()) / len(runs)
    ours_j, theirs_j, inputs_j = comparison.our_energy(), comparison.their_energy(), comparison.input_energy()
    ours_s = float(comparison.latency_s.mean())
    detailed_s = float(np.mean([models["detailed"].counters["sim_time"] for models in comparison.theirs]))
    sops = sum(n for name, n in counts.items() if name.startswith("sops"))
    less = "less those of inputs"
    return [
        ("spikes, with those of inputs", counts["spikes"] + inputs, "neurons_fired", counters["neurons_fired"]),
        ("sops", sops, "spikes", counters["spikes"]),
        ("messages_in", counts["messages_in"], "packets_sent", counters["packets_sent"]),
        ("messages", counts["messages"], f"the same, {less}", counters["packets_sent"] - from_inputs["messages"]),
        *(
            (name, counts[name], f"messages traced, {less}", own[name])
            for name in own
            if "hops" in name or "tile" in name
        ),
        ("active_updates", counts["active_updates"], f"neurons_updated, {less}", counters["neurons_updated"] - inputs),
        ("neurons, nJ", ours_j["soma"] * 1e9, "soma", theirs_j["soma"] * 1e9),
        ("synaptic operations, nJ", ours_j["synapse"] * 1e9, "synapse", theirs_j["synapse"] * 1e9),
        ("messages and hops, nJ", ours_j["network"] * 1e9, f"network, {less}", (theirs_j["network"] - inputs_j) * 1e9),
        ("total, nJ", ours_j["total"] * 1e9, f"total, {less}", (theirs_j["total"] - inputs_j) * 1e9),
        ("total, nJ", ours_j["total"] * 1e9, "total", theirs_j["total"] * 1e9),
        ("time, µs", ours_s * 1e6, "sim_time, simple", counters["sim_time"] * 1e6),
        ("time, µs", ours_s * 1e6, "sim_time, detailed", detailed_s * 1e6),
    ]


def echo(name: str, comparison: Comparison) -> None:
    """Print one network's table in Markdown."""
    samples, placement = range(len(comparison.theirs)), comparison.placement
    equal = all(
        np.array_equal(
            comparison.theirs[sample]["simple"].s[population], trace.s[:, sample].reshape(trace.s.shape[0], -1)
        )
        for sample in samples
        for population, trace in comparison.ours.traces.items()
    )
    in_flight = sum(int(comparison.sanafe_core_counts(sample)["sops"][-1].sum()) for sample in samples)
    click.echo(
        f"\n{name}: {len(samples)} samples of {comparison.graph.n_steps} steps on {placement.n_cores} cores in "
        f"{placement.n_tiles} tiles; spikes {'equal' if equal else 'DIFFER'}; {in_flight} events under way at the end\n"
    )
    updates = comparison.mean(comparison.updates)
    click.echo("updates: " + ", ".join(f"{rule} {values.sum():,.1f}" for rule, values in updates.items()))
    click.echo("\n| spikegraph | | SANA-FE | | difference |\n|---|---|---|---|---|")
    for our_name, ours, their_name, theirs in rows(comparison):
        equal = np.isclose(ours, theirs, rtol=1e-9, atol=0)
        difference = "equal" if equal else f"{100 * (ours / theirs - 1):+.3f} %"
        click.echo(f"| {our_name} | {ours:,.1f} | {their_name} | {theirs:,.1f} | {difference} |")


@click.command()
@click.argument("graph", type=click.Path(path_type=Path), required=False)
@click.option("--data", default="mnist:test", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path))
@click.option("--limit", default=4, show_default=True)
@click.option("--python", envvar="SANAFE_PYTHON", type=click.Path(path_type=Path), required=True)
def main(graph: Path | None, data: str, data_dir: Path | None, limit: int, python: Path) -> None:
    """Compare a trained GRAPH on the first samples of a data set; without one, the networks of the test."""
    made = {"dense": dense, "convolutional": convolutional}
    chosen = {graph.name: lambda: trained(graph, data, limit, data_dir)} if graph else made
    for name, build in chosen.items():
        with TemporaryDirectory() as folder:
            echo(name, compare(*build(), python, Path(folder)))


if __name__ == "__main__":
    main()
