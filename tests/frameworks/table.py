"""Print docs/frameworks.md's table of networks: `make peers-table`. Trains all of them anew."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from frameworks.cases import CASES, Case
from frameworks.comparison import Comparison, compare, python_of, run_side

HEAD = ("network", "neurons' spikes", "that differ", "there", "here", "Loihi 2", "Loihi 1", "dropped by the exporter")


def accuracies(comparison: Comparison) -> list[float]:
    """Return a network's accuracy there, here in floats, and quantized for Loihi 2 and for Loihi 1."""
    found = [comparison.trained.told["accuracy"], comparison.accuracy(comparison.graph)]
    for_loihi_1 = comparison
    if {population.reset for population in comparison.graph.populations.values()} != {"zero"}:
        for_loihi_1 = compare(replace(comparison.case, reset="zero"), comparison.trained.file.parent)
    found.append(comparison.accuracy(comparison.quantized("loihi2")))
    found.append(for_loihi_1.accuracy(for_loihi_1.quantized("loihi1")))
    return found


def row(case: Case, folder: Path) -> list[str]:
    comparison = compare(case, folder)
    spikes = differ = 0
    for _, theirs, ours in comparison.spikes():
        spikes, differ = spikes + int(theirs.sum(dtype=int)), differ + int((theirs != ours).sum())
    other = {population.reset for population in comparison.graph.populations.values()} != {"zero"}
    there, here, loihi2, loihi1 = (f"{100 * accuracy:.1f}" for accuracy in accuracies(comparison))
    return [case.network, f"{spikes}", f"{differ}", there, here, loihi2, f"{loihi1}{'*' * other}", case.dropped or ""]


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        for framework in dict.fromkeys(case.framework for case in CASES):
            if python_of(framework) is None:
                sys.stdout.write(f"\n{framework}: no environment\n")
                continue
            folder = Path(root) / framework
            run_side(framework, "train_and_export", folder)
            rows = [HEAD, ["---"] * len(HEAD)] + [row(c, folder) for c in CASES if c.framework == framework]
            sys.stdout.write(f"\n### {framework}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in rows))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
