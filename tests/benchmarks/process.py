"""A peer in a process of its own, stopped by a signal except while it is asked something."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".bench-envs"
THREADS = 2
START_S, ROUND_S = 600.0, 300.0


def python_of(environment: str) -> Path:
    """Return the interpreter of a peers' environment.

    Raises
    ------
    RuntimeError
        It was not made, or could not be.
    """
    folder = ENVIRONMENTS / environment
    if not (folder / "installed.txt").is_file():
        failed = folder / "failed"
        reason = failed.read_text().strip().splitlines()[-1] if failed.is_file() else "`make bench-envs` first"
        raise RuntimeError(f"not installed: {reason}")
    return folder / "bin" / "python"


class Process:
    """`python -m arguments`, which answers lines with lines of JSON; what it says on standard error goes to `log`."""

    def __init__(self, python: Path, arguments: Sequence[str | Path], log: Path, n_threads: int = THREADS) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(n_threads))
        # What a peer compiles goes with the test; PyTorch's is kept, it takes minutes.
        folders = {"TMPDIR": str(log.parent), "TORCHINDUCTOR_CACHE_DIR": str(ENVIRONMENTS / "torchinductor")}
        with log.open("w") as said:
            self.process = subprocess.Popen(
                [python, "-m", *arguments],
                cwd=HERE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                env={**os.environ, **threads, **folders},
                start_new_session=True,
            )
        try:
            self.ready = self._answer(START_S)["ready"]
        except BaseException:
            self.end()
            raise

    def round(self) -> dict[str, Any]:
        self._signal(signal.SIGCONT)
        assert self.process.stdin
        self.process.stdin.write("round\n")
        self.process.stdin.flush()
        return self._answer(ROUND_S)

    def _answer(self, limit_s: float) -> dict[str, Any]:
        """Read one line, then stop the peer and its children; a peer that takes too long is ended."""
        with _alarm(limit_s):
            assert self.process.stdout
            line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line or '{"error": "ended without an answer"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        self._signal(signal.SIGSTOP)
        return answer

    def _signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError), self.process:  # closes its pipes and waits
            pass


class _alarm:  # noqa: N801 (reads as a statement)
    """Raise TimeoutError after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._raise)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _raise(self, *_: object) -> None:
        raise TimeoutError(f"took more than {self.seconds:.0f} s")
