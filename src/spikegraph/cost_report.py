"""What a run costs, as rows of text: the command line prints them."""

from __future__ import annotations

from math import floor, log10
from typing import Any

from spikegraph.hwsim.placement import Placement

Rows = list[list[str]]
RESOURCES = {
    "neurons": "neurons",
    "synapse_bits": "memory, bit",
    "axons_in": "axons in",
    "axons_out": "axons out",
    "decay_profiles": "decays",
    "threshold_profiles": "thresholds",
}
_WORDS = {"messages": "messages sent", "messages_in": "messages arrived, those from inputs too"}


def placement_rows(placement: Placement) -> tuple[list[str], Rows]:
    """Return a table of the cores that a population takes, and how much of each limit the fullest of them uses."""
    columns = ["population", "cores", *(RESOURCES[name] for name in placement.limits)]
    rows = []
    for population in dict.fromkeys(placement.population):
        cores = [core for core, name in enumerate(placement.population) if name == population]
        used = [int(placement.loads[name][cores].max()) / limit for name, limit in placement.limits.items()]
        rows.append([population, str(len(cores)), *(f"{share:.0%}" for share in used)])
    rows.append(["limit", "", *(f"{limit:,}" for limit in placement.limits.values())])
    return columns, rows


def energy_rows(report: dict[str, Any]) -> tuple[list[str], Rows]:
    """Return a table of energy by operation, by layer, and static, over the window and until decision."""
    scopes = {scope: energy for scope, energy in report["energy_per_sample"].items() if energy["priced"]}
    rows: Rows = []
    if scopes:
        first = next(iter(scopes.values()))

        def parts(key: str, label: str) -> Rows:
            return [
                [label + name, *(_si(energy[key][name]) for energy in scopes.values())]
                for name in first[key]
                if any(energy[key][name] for energy in scopes.values())
            ]

        rows += parts("by_operation_j", "")
        rows.append(["dynamic, sum of these", *(_si(energy["dynamic_j"]) for energy in scopes.values())])
        rows += parts("by_layer_j", "  of it in ")
        if first["static_j"] is not None:
            label = "static, power × time"
            rows.append([label, *(_si(energy["static_j"]) for energy in scopes.values())])
    return ["energy a sample", *(scope.replace("_", " ") for scope in scopes)], rows


def lines(report: dict[str, Any]) -> list[str]:
    """Return what else there is to say of a price: time, and what has no figure."""
    said = []
    time = report["time"]
    if time:
        bound = time["bound_by"]
        busy, share = next(iter(bound["busy_with"].items()))
        said.append(
            f"a step of the chip takes {_si(time['step_s'], 's')} on average, {_si(time['longest_step_s'], 's')} at "
            f"most, {_si(time['barrier_s'], 's')} of it the barrier"
        )
        said.append(
            f"decision after {time['latency_steps']:.1f} steps, those of the pipeline's depth included: "
            f"{_si(time['latency_s'], 's')}"
        )
        if "samples_per_s" in time:
            said.append(f"samples without a gap between them: {time['samples_per_s']:,.4g} a second")
        said.append(
            f"bound by core {bound['core']} ({bound['population']}), the slowest in {bound['share_of_steps']:.0%} of "
            f"steps; {share:.0%} of the work of the slowest cores is: {busy}"
        )
    for item in report["unpriced"]:
        scope = item["per_sample"].get("window") or item["per_sample"].get("until_decision") or {}
        counted = ", ".join(f"{_WORDS.get(name, name.replace('_', ' '))} {count:,.1f}" for name, count in scope.items())
        said.append(
            f"unpriced, so in no sum: {item['what']}: {item['why']}" + (f"; a sample has: {counted}" if counted else "")
        )
    return said


def against_dense(report: dict[str, Any]) -> list[str]:
    """Return additions beside the MACs of a dense network of the same shape."""
    dense = report["against_dense"]
    said = []
    found = {scope: dense[scope] for scope in ("window", "until_decision") if scope in dense}
    if len(found) == 2 and found["window"] == found["until_decision"]:
        found = {"window and until decision": found["window"]}
    for scope, counted in found.items():
        ratio = counted["macs_per_sop"]
        said.append(
            f"{counted['sops']:,.1f} additions a sample ({scope.replace('_', ' ')}); a dense network of this shape "
            f"does {dense['dense_macs']:,} MACs" + (f", {ratio:.3g} MACs for each addition" if ratio else "")
        )
    if "dense_energy_j" in dense:
        said.append(f"the dense network: {_si(dense['dense_energy_j'])}, {dense['dense_arithmetic']}")
    return said


def _si(value: float, unit: str = "J") -> str:
    """Write a number with four digits and the prefix that suits it, from p to nothing."""
    if value == 0:
        return f"0 {unit}"
    power = min(max(floor(log10(abs(value)) / 3), -4), 0)
    return f"{value / 1000**power:.4g} {('', 'm', 'µ', 'n', 'p')[-power]}{unit}"
