"""Networks of other frameworks, in and out, by the Neuromorphic Intermediate Representation (docs/nir.md)."""

from spikegraph.export.nir.read import load_nir
from spikegraph.export.nir.write import save_nir

__all__ = ["load_nir", "save_nir"]
