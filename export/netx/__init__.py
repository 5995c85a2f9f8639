"""netx `.net`: the files in which lava-dl hands a trained network to a chip (docs/netx.md)."""

from spikegraph.export.netx.read import load_netx
from spikegraph.export.netx.write import save_netx

__all__ = ["load_netx", "save_netx"]
