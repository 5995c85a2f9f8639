"""ONNX Runtime: the steps unrolled, a layer after the other. Exactly the integer semantics.

int8: MatMulInteger and ConvInteger with sums in int32. float32: MatMul and Conv. The neurons are float32 in both,
truncated by way of int32 (ONNX has no Trunc; Div of int32 truncates too, but was slower).
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PACKAGES = ["onnxruntime", "onnx"]


class Unrolled:
    """Collects the nodes of a graph."""

    def __init__(self, network, variant):
        self.nodes, self.constants, self.n_steps, self.int8 = [], [], network.n_steps, variant == "int8"
        s = self.add("Reshape", "input", self.constant([-1, *network.input_shape]))
        for layer, shape in zip(network.layers, network.shapes()):
            s = self.spikes(self.weighted_sum(s, layer), layer.threshold, shape)
            s = self.pooled(s) if layer.pool else s
        by_step = self.add("Reshape", s, self.constant([self.n_steps, -1, shape[0]]))
        numbers = self.add("Cast", by_step, to=TensorProto.FLOAT)
        counts = self.add("ReduceSum", numbers, self.constant([0]), keepdims=0)
        kind = TensorProto.UINT8 if self.int8 else TensorProto.FLOAT
        given = helper.make_tensor_value_info("input", kind, ["T", "B", *network.input_shape])
        result = helper.make_tensor_value_info(counts, TensorProto.FLOAT, ["B", "n"])
        graph = helper.make_graph(self.nodes, "network", [given], [result], self.constants)
        self.model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def add(self, kind, *inputs, outputs=1, **attributes):
        names = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value, dtype=np.int64):
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def weighted_sum(self, s, layer):
        """64 · x as float32, (T · B, …)."""
        if layer.is_conv:
            pads = {"pads": [layer.padding] * 4}
            if not self.int8:
                return self.add("Conv", s, self.constant(layer.weight * 64.0, np.float32), **pads)
            # ConvInteger takes uint8 weights about a zero point.
            weight, zero = self.constant(layer.weight.astype(int) + 128, np.uint8), self.constant(128, np.uint8)
            x = self.add("ConvInteger", s, weight, self.constant(0, np.uint8), zero, **pads)
        else:
            s = self.add("Reshape", s, self.constant([-1, layer.weight.shape[1]]))
            if not self.int8:
                return self.add("MatMul", s, self.constant(layer.weight.T * 64.0, np.float32))
            x = self.add("MatMulInteger", s, self.constant(layer.weight.T, np.int8))
        return self.add("Mul", self.add("Cast", x, to=TensorProto.FLOAT), self.constant(64, np.float32))

    def spikes(self, x, threshold, shape):
        """Run the neurons of a layer over all steps; spikes (T · B, …), uint8 or float32."""
        x = self.add("Reshape", x, self.constant([self.n_steps, -1, *shape]))
        keep, limit, zero = (self.constant(a, np.float32) for a in (15 / 16, threshold, 0))
        v, fired = None, []
        for x_t in self.add("Split", x, outputs=self.n_steps, axis=0):
            if v is not None:
                truncated = self.add("Cast", self.add("Mul", v, keep), to=TensorProto.INT32)
                x_t = self.add("Add", self.add("Cast", truncated, to=TensorProto.FLOAT), x_t)
            fired.append(self.add("Greater", x_t, limit))
            v = self.add("Where", fired[-1], zero, x_t)
        s = self.add("Concat", *fired, axis=0)
        s = self.add("Cast", s, to=TensorProto.UINT8 if self.int8 else TensorProto.FLOAT)
        return self.add("Reshape", s, self.constant([-1, *shape]))

    def pooled(self, s):
        """Sum over windows of 2 × 2."""
        s = self.add("Cast", s, to=TensorProto.FLOAT) if self.int8 else s
        s = self.add("AveragePool", s, kernel_shape=[2, 2], strides=[2, 2])
        s = self.add("Mul", s, self.constant(4, np.float32))
        return self.add("Cast", s, to=TensorProto.UINT8) if self.int8 else s


def build(network, variant, batch):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    model = Unrolled(network, variant).model.SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    dtype = np.uint8 if variant == "int8" else np.float32
    return (
        lambda spikes: np.ascontiguousarray(spikes, dtype),
        lambda prepared: session.run(None, {"input": prepared})[0].astype(int),
    )
