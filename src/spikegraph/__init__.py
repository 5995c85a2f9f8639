"""Take a spiking network from PyTorch to neuromorphic hardware and prove that nothing changed on the way."""

from importlib.metadata import version

__version__ = version("spikegraph")
