"""Nodes of an ONNX graph, each named after what it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spikegraph.export.connectivity import Array

UINT8, INT16, INT32, INT64 = TensorProto.UINT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64
FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
Operation = Callable[[str, str], str]  # from a value and the name of the result to the result


class Nodes:
    """Collects the nodes and constants of one ONNX graph; values are known by their names.

    Parameters
    ----------
    prefix : str
        In front of every name that is made here: the body of a Scan must not use the names of what surrounds it.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, inputs: Sequence[str], name: str, doc: str | None = None, **attributes: Any) -> str:
        """Add a node with one result of the same name; return the full name."""
        full = self.prefix + name
        self.nodes.append(helper.make_node(kind, inputs, [full], name=full, doc_string=doc, **attributes))
        return full

    def cast(self, value: str, to: int, name: str) -> str:
        """Change the type of a value."""
        return self.add("Cast", [value], name, to=to)

    def zeros(self, shape: str, to: int, name: str) -> str:
        """Make zeros of the shape that a value holds."""
        zero = np.zeros(1, helper.tensor_dtype_to_np_dtype(to))
        return self.add("ConstantOfShape", [shape], name, value=numpy_helper.from_array(zero))

    def then(self, kind: str, other: str, doc: str | None = None) -> Operation:
        """Return the operation that takes a value and another one."""
        return lambda value, name: self.add(kind, [value, other], name, doc)

    def then_cast(self, to: int) -> Operation:
        """Return the operation that changes the type."""
        return lambda value, name: self.cast(value, to, name)

    def chain(self, value: str, operations: Sequence[Operation], name: str) -> str:
        """Apply operations one after the other: the last result has the name, those before it a number as well."""
        for place, operation in enumerate(operations[:-1]):
            value = operation(value, f"{name}.{place}")
        return operations[-1](value, name) if operations else self.add("Identity", [value], name)

    def constant(self, array: Array, name: str) -> str:
        """Store an array; return its name."""
        full = self.prefix + name
        self.constants[full] = numpy_helper.from_array(np.array(array, order="C"), full)
        return full

    def array(self, array: Array, to: int, name: str) -> str:
        """Store an array in a type of ONNX; one number is shared by all who use it, and named after itself."""
        typed = np.asarray(array, helper.tensor_dtype_to_np_dtype(to))
        return self.constant(typed, name if typed.ndim else f"{typed.dtype}/{typed}")

    def number(self, value: int, to: int) -> str:
        """Store one number."""
        return self.array(np.array(value), to, "")

    def numbers(self, values: Sequence[int]) -> str:
        """Store a list of int64, such as a shape."""
        return self.constant(np.array(values, np.int64), f"list/{','.join(map(str, values))}")
