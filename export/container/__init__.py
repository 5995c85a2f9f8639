"""The spikegraph container: a checksummed HDF5 file that holds a tree of names, whatever its kind."""

from spikegraph.export.container.read import MAX_BYTES, StoredArray, container_kind, read_container
from spikegraph.export.container.tree import VERSION, Json, Wider, tree_checksum
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
    "tree_checksum",
    "write_container",
]
