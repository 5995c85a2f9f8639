"""Lava: build a network of processes that stands alone, and run it."""

from spikegraph.targets.lava.build import LavaPlan, LavaRefusalError, plan_lava
from spikegraph.targets.lava.folder import build_lava
from spikegraph.targets.lava.run import require_lava, run_lava

__all__ = ["LavaPlan", "LavaRefusalError", "build_lava", "plan_lava", "require_lava", "run_lava"]
