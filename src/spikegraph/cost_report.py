"""What a run costs, as rows of text: the command line prints them."""

from __future__ import annotations

from typing import Any

from spikegraph.hwsim.placement import Placement

Rows = list[list[str]]


def placement_rows(placement: Placement) -> tuple[list[str], Rows]:
    """Return a table of the cores that a population takes, and how full the fullest of them is."""
    columns = ["population", "cores", *(name.replace("_", " ") for name in placement.limits)]
    rows = []
    for population in dict.fromkeys(placement.population):
        cores = [core for core, name in enumerate(placement.population) if name == population]
        fullest = [
            f"{int(placement.loads[name][cores].max()):,} of {limit:,}" for name, limit in placement.limits.items()
        ]
        rows.append([population, str(len(cores)), *fullest])
    return columns, rows


def energy_rows(report: dict[str, Any]) -> tuple[list[str], Rows]:
    """Return a table of energy by operation, then by layer, over the window and until decision; µJ a sample."""
    scopes = {scope: energy for scope, energy in report["energy_per_sample"].items() if energy["priced"]}
    rows: Rows = []
    if scopes:
        first = next(iter(scopes.values()))
        for key, label in (("by_operation_j", ""), ("by_layer_j", "layer ")):
            rows += [
                [label + name, *(_microjoule(energy[key][name]) for energy in scopes.values())]
                for name in first[key]
                if any(energy[key][name] for energy in scopes.values())
            ]
        rows.append(["dynamic", *(_microjoule(energy["dynamic_j"]) for energy in scopes.values())])
        if first["static_j"] is not None:
            rows.append(["static", *(_microjoule(energy["static_j"]) for energy in scopes.values())])
    return ["µJ a sample", *(scope.replace("_", " ") for scope in scopes)], rows


def lines(report: dict[str, Any]) -> list[str]:
    """Return what else there is to say: time, what is not in the total, the dense network."""
    said = []
    time = report["time"]
    if time:
        bound = time["bound_by"]
        busy, share = next(iter(bound["busy_with"].items()))
        said.append(
            f"step {time['step_s'] * 1e6:.3f} µs (longest {time['longest_step_s'] * 1e6:.3f}, barrier "
            f"{time['barrier_s'] * 1e6:.3f}); decision after {time['latency_steps']:.1f} steps, "
            f"{time['latency_s'] * 1e6:.2f} µs"
        )
        if "samples_per_s" in time:
            said[-1] += f"; pipelined {time['samples_per_s']:,.0f} samples/s"
        said.append(
            f"bound by core {bound['core']} ({bound['population']}), slowest in {bound['share_of_steps']:.0%} of steps;"
            f" the slowest cores are busy with {busy}s for {share:.0%} of their work"
        )
    for item in report["unpriced"]:
        scope = item["per_sample"].get("window") or item["per_sample"].get("until_decision") or {}
        counted = ", ".join(f"{count:,.1f} {name.replace('_', ' ')}" for name, count in scope.items())
        said.append(f"unpriced: {item['what']}: {item['why']}" + (f" ({counted} a sample)" if counted else ""))
    dense = report["against_dense"]
    for scope in ("window", "until_decision"):
        if scope in dense:
            sops, ratio = dense[scope]["sops"], dense[scope]["macs_per_sop"]
            said.append(
                f"{sops:,.1f} additions a sample ({scope.replace('_', ' ')}); a dense network of this shape does "
                f"{dense['dense_macs']:,} MACs" + (f", {ratio:.2f} MACs for each addition" if ratio else "")
            )
    if "dense_energy_j" in dense:
        said.append(f"the dense network: {_microjoule(dense['dense_energy_j'])} µJ, {dense['dense_arithmetic']}")
    return said


def _microjoule(joule: float) -> str:
    return f"{joule * 1e6:,.4g}"
