"""Run a command in a session of its own, none of whose processes outlives the run, whoever is killed, and when.

Three watch over it. Who started the session ends it: at its end, at the time limit, when interrupted. Its leader
watches whether the starter, and each of Lava's processes, is still there, and ends it if not. And what Lava leaves in
shared memory is removed by Python's resource tracker, which is spared until all others are gone.

Needs nothing but Python's own library; `build_lava` copies this file into a folder, beside run.py.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

POLL_S = 0.05
ENDED = "one of Lava's processes ended before the run did"
GRACE_S = 10.0  # Python's tracker of shared memory needs a moment to remove what stopped processes left


# What the leader does until it is told to go on; if it is not, its starter is gone, and it removes what that one made.
WAIT = """
import os, runpy, shutil, sys
temporary, *sys.argv = sys.argv[1:]
if sys.stdin.readline() != "go\\n":
    shutil.rmtree(temporary, ignore_errors=True)
    sys.exit(1)
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class SessionError(Exception):
    """The command failed, or did not end in time."""


def supervised(
    script: Sequence[str], timeout_s: float, temporary: Path, prepare: Callable[[], None] = lambda: None
) -> None:
    """Run a Python script in a session of its own; whatever happens, none of its processes outlives the call.

    Parameters
    ----------
    script : sequence of str
        Its path and its arguments. It makes a `Leader` first of all.
    timeout_s : float
    temporary : path
        An empty folder for what the session needs while it lasts. It goes if this process is killed.
    prepare : callable
        What writes the script, such as into that folder: once somebody is there to remove it.

    Raises
    ------
    SessionError
        The script failed, or did not end within `timeout_s` seconds.
    """
    process = None
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", WAIT, str(temporary), *script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
            prepare()
            with contextlib.suppress(BrokenPipeError):  # of a process that is gone its status tells
                _go(process)
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise SessionError(f"did not end within {timeout_s:g} s, so its processes were stopped") from None
        finally:
            if process is not None:
                _end(process)
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            if lines[-1:] == [ENDED] and len(lines) > 1:
                lines = [f"{ENDED}: {lines[-2]}"]
            raise SessionError(lines[-1] if lines else f"ended with status {process.returncode}")


def _go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        with process.stdin as waiting:
            waiting.write(b"go\n")


def _end(leader: subprocess.Popen[bytes]) -> None:
    # The leader first, which makes semaphores and asks for shared memory: so nothing is being made when all others go.
    # SIGTERM spares Python's tracker of shared memory, which removes what is left once the others are gone. All of them
    # hold the other end of the pipe, so it closes with the last. (Asking for the group would find unreaped zombies.)
    deadline = time.monotonic() + GRACE_S
    if leader.poll() is None:
        leader.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            leader.wait(GRACE_S / 2)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        while leader.stdout and select.select([leader.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not os.read(leader.stdout.fileno(), 1 << 16):
                break
        os.killpg(leader.pid, signal.SIGKILL)
    for pipe in (leader.stdin, leader.stdout):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    leader.wait()


class Leader:
    """From within a session, in its first process: end it when who started it is gone, or one of its processes.

    Parameters
    ----------
    starter : int
        Process id of who called `supervised`.
    temporary : path
        A folder for what the session needs while it lasts; removed when the starter is gone, who cannot any more. The
        process goes there.
    """

    def __init__(self, starter: int, temporary: Path) -> None:
        self._starter, self._temporary = starter, temporary
        self._all_must_live = self._leaving = False
        self._exiting = threading.Lock()
        # A default SIGTERM might hit within the making of a semaphore, whose file would stay.
        signal.signal(signal.SIGTERM, lambda *_: None if self._leaving else self.exit(128 + signal.SIGTERM))
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        os.chdir(temporary)  # the path of a socket may not be long, so it is relative
        multiprocessing.current_process()._config["tempdir"] = "."  # type: ignore[attr-defined]
        threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def children_must_live(self) -> Iterator[None]:
        """Meanwhile each process that this one starts must go on."""
        self._all_must_live = True
        yield
        self._all_must_live = False

    def exit(self, status: int) -> None:
        """End this process at once: a proper end would wait for the others, which may wait for us."""
        self._leaving = True
        self._exiting.acquire()  # for good, and whoever comes second waits for the first to be done
        if os.getppid() != self._starter:
            os.killpg(0, signal.SIGTERM)
            shutil.rmtree(self._temporary, ignore_errors=True)
        os._exit(status)

    def _watch(self) -> None:
        while os.getppid() == self._starter:
            time.sleep(POLL_S)
            if self._all_must_live and _a_child_has_ended() and self._all_must_live:
                print(ENDED, file=sys.stderr, flush=True)  # noqa: T201
                self.exit(1)
        self.exit(1)


def _a_child_has_ended() -> bool:
    with contextlib.suppress(ChildProcessError):  # there is none
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None  # left for who started it
    return False
