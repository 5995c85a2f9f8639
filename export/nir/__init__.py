"""Networks of other frameworks, in and out, by the Neuromorphic Intermediate Representation (docs/nir.md)."""

from spikegraph.export.nir.read import load_nir

__all__ = ["load_nir"]
