"""Make environments of other tools: `install.py ROOT REQUIREMENTS`; see `make bench-envs` and `make peers-envs`.

One environment in the folder ROOT for each file in the folder REQUIREMENTS, with pinned versions. Two kinds of comment
in a file mean something:

    # python: 3.9                an interpreter that must be found, as python3.9 or by pyenv; else this project's
    # no-deps: lava-nc==0.10.0   installed last, by itself, because its metadata refuse what it works with

An environment that cannot be made is left with the reason in `failed`, and its peers' rows say so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

PIP = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def marked(text: str, mark: str) -> list[str]:
    return re.findall(rf"^# {mark}: (\S+)", text, re.MULTILINE)


def interpreter(version: str) -> str:
    """Return an interpreter of a version that runs; `pyenv` has shims for those that it does not run."""
    pyenv = sorted((Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions").glob(f"{version}.*"))
    for found in (shutil.which(f"python{version}"), *(str(path / "bin" / "python") for path in pyenv)):
        if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    raise FileNotFoundError(f"there is no Python {version} here")


def install(file: Path, folder: Path) -> None:
    text = file.read_text()
    versions = marked(text, "python")
    python = interpreter(versions[0]) if versions else sys.executable
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    own = str(folder / "bin" / "python")
    subprocess.run([own, *PIP, "--requirement", str(file)], check=True)
    for package in marked(text, "no-deps"):
        subprocess.run([own, *PIP, "--no-deps", "--ignore-requires-python", package], check=True)


def main(root: Path, requirements: Path) -> None:
    files = sorted(requirements.glob("*.txt"))
    for i, file in enumerate(files, 1):
        name, pins = file.stem, file.read_text()
        folder = root / name
        done, failed = folder / "installed.txt", folder / "failed"
        if any(told.is_file() and told.read_text().startswith(pins) for told in (done, failed)):
            continue
        print(f"peers {i}/{len(files)}: installing {name}", end=" … ", flush=True)
        begin = time.monotonic()
        try:
            install(file, folder)
            done.write_text(pins)
            print(f"{time.monotonic() - begin:.0f} s", flush=True)
        except (OSError, subprocess.CalledProcessError) as error:
            folder.mkdir(parents=True, exist_ok=True)
            failed.write_text(f"{pins}\n{error}\n")
            print(f"not installed: {error}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
