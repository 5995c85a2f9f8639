"""Spike graphs as ONNX models; needs the extra `onnx`."""

from spikegraph.export.onnx.models import run_model, step_model
from spikegraph.export.onnx.ranges import OnnxRefusalError

__all__ = ["OnnxRefusalError", "run_model", "step_model"]
