"""The whole path once, on scikit-learn's digits: train, export, simulate, build for each target, verify everywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikegraph import stages
from spikegraph.export.errors import OptionError
from spikegraph.export.files import write_whole
from spikegraph.progress import Progress
from spikegraph.proof import Proof

N_TEST = 360  # digits in the test split


def run_demo(out: Path, *, recipe: str, lava_samples: int, progress: Progress) -> dict[str, Any]:
    """Run the demo into a new folder and return its summary, which is also in `out`/summary.json.

    Raises
    ------
    OptionError
        `out` holds something already, or `lava_samples` is out of range.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OptionError(str(out), "exists and is not empty", "choose another --out, or remove it")
    if not 1 <= lava_samples <= N_TEST:
        raise OptionError("--lava-samples", f"{lava_samples} is outside 1…{N_TEST}", "choose a number in that range")
    out.mkdir(parents=True, exist_ok=True)
    graph, data = out / "net.h5", "digits:test"
    rows: list[dict[str, Any]] = []

    def timed(stage: str, work: Callable[[], Any], say: Callable[[Any], str]) -> Any:
        start = time.perf_counter()
        result = work()
        rows.append({"text": [stage, say(result)], "seconds": time.perf_counter() - start})
        return result

    training = timed(
        "train",
        lambda: stages.train(recipe, out / "run", progress=progress),
        lambda s: f"{s['epochs']} epochs, test accuracy {s['test_accuracy']:.2%} of {s['n_test']} (torch)",
    )
    _, quantization = timed(
        "export",
        lambda: stages.export(out / "run", graph).integers,
        lambda r: f"{graph.name} for {r[1].chip}: {sum(p.weight.size for p in r[0].projections.values()):,} weights",
    )
    checked = timed(
        "check",
        lambda: stages.check(graph, chip=quantization.chip),
        lambda c: "legal" if c.legal else f"{len(c.problems)} problems",
    )
    run = timed(
        "simulate",
        lambda: stages.simulate(graph, data, out / "run.h5", progress=progress),
        lambda r: f"test accuracy {r.accuracy:.2%} of {len(r)}; {r.counts.mean('sops'):,.0f} additions a sample",
    )

    def build(target: str, what: str) -> None:
        timed(f"build {target}", lambda: stages.build(graph, out / target, target=target), lambda _: f"a folder {what}")

    def verify(place: str, samples: int | None = None) -> Proof:
        proof: Proof = timed(
            f"verify {place}",
            lambda: stages.verify(graph, [place], data, samples=samples, progress=progress),
            lambda proof: _said(proof, place),
        )
        return proof

    build("lava", "that runs with lava-nc alone")
    build("c", "of C99")
    build("onnx", "of ONNX models")
    proofs = {place: verify(place) for place in ("native", "torch", "ort", "c")}
    proofs["lava"] = verify("lava", lava_samples)
    summary = {
        "recipe": recipe,
        "identical": all(proof.identical for proof in proofs.values()),
        "training": training,
        "quantization": quantization.to_json(),
        "check": checked.to_json(),
        "simulation": run.summary(),
        "verification": {place: proof.to_json() for place, proof in proofs.items()},
        "stages": rows,
        "seconds": sum(row["seconds"] for row in rows),
    }
    write_whole(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _said(proof: Proof, place: str) -> str:
    refusal = proof.verification.refusals.get(place)
    return f"not compared: {refusal}" if refusal is not None else str(proof).removeprefix(f"{place}: ")
