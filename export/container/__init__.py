"""The spikegraph container: a checksummed HDF5 file that holds a tree of names, whatever its kind."""

from spikegraph.export.container.foreign import read_foreign
from spikegraph.export.container.read import StoredArray, container_kind, read_container
from spikegraph.export.container.tree import VERSION, Json, Wider, tree_checksum
from spikegraph.export.container.trust import MAX_BYTES
from spikegraph.export.container.write import ContainerWriter, write_container

__all__ = [
    "MAX_BYTES",
    "VERSION",
    "ContainerWriter",
    "Json",
    "StoredArray",
    "Wider",
    "container_kind",
    "read_container",
    "read_foreign",
    "tree_checksum",
    "write_container",
]
