"""Trained networks in forms that run without this package."""

from jaxcnn.exporting.classify import classifying
from jaxcnn.exporting.onnx_file import write_onnx
from jaxcnn.exporting.stablehlo import write_stablehlo

__all__ = ["classifying", "write_onnx", "write_stablehlo"]
