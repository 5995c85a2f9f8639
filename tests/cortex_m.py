"""Compile a C network for an Arm Cortex-M3 and run it in qemu, for tests and benchmarks: folder → what it wrote."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent / "cortex_m"
TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
CPU = ["-mcpu=cortex-m3", "-mthumb", "-ffunction-sections", "-fdata-sections"]
LINK = ["-nostartfiles", "-specs=rdimon.specs", "-T", str(HERE / "mps2.ld"), "-Wl,--gc-sections,--wrap=net_step"]


def run(folder: Path, *options: str, limit_s: float = 120) -> str:
    """Compile the network named `net` in a folder with these options, run it on `events` there, return its output."""
    sources = [folder / "main.c", folder / "net.c", HERE / "start.c"]
    command = ["arm-none-eabi-gcc", *CPU, "-std=c99", *options, *map(str, sources), *LINK, "-o", "net.elf"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=limit_s)
    machine = ["qemu-system-arm", "-M", "mps2-an385", "-display", "none", "-serial", "none", "-monitor", "none"]
    machine += ["-icount", "shift=6", "-semihosting-config", "enable=on,target=native", "-kernel", "net.elf"]
    subprocess.run(machine, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    return (folder / "output").read_text()


def instructions(output: str) -> int:
    """Return the instructions that all steps took, from what `run` returned."""
    return int(output.split()[-1])
