"""Two runs side by side: the comparison that papers make between codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikegraph.export.errors import OptionError
from spikegraph.hwsim.run import Run


def compare_additions(run: Run, against: Run, name: str = "the other run") -> dict[str, Any]:
    """Compare the synaptic additions until decision of two networks of the same shape.

    Parameters
    ----------
    run, against : Run
    name : str
        What to call `against` in an error.

    Returns
    -------
    dict
        Plain JSON: additions, accuracy and latency (in steps, without the pipeline's depth) of both; `sops_ratio`,
        additions of `against` over those of `run`; whether both ran on the same samples.

    Raises
    ------
    OptionError
        Their networks differ in shape: the dense networks that they stand for have other MACs.
    """
    macs = [list(r.dense_macs.values()) for r in (run, against)]
    if macs[0] != macs[1]:
        what = f"is of a network of another shape: {macs[1]} MACs, projection by projection, not {macs[0]}"
        raise OptionError(name, what, "compare runs of networks of one shape")
    sops = [r.counts.mean("sops", until_decision=True) for r in (run, against)]
    sides = [
        {
            "sops_until_decision": additions,
            "accuracy": r.accuracy,
            "samples": len(r),
            "latency_steps": float(r.decision_step.mean() + 1),
            "n_steps": r.n_steps,
        }
        for r, additions in zip((run, against), sops, strict=True)
    ]
    return {
        "run": sides[0],
        "against": sides[1],
        "sops_ratio": sops[1] / sops[0] if sops[0] else None,
        "same_samples": np.array_equal(run.index, against.index) and np.array_equal(run.label, against.label),
    }
