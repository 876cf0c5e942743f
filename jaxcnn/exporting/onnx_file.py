"""Networks as ONNX (https://onnx.ai), written from what JAX traces of them.

A graph has about a dozen kinds of operators, and the names of the network's layers. Its input is
``images``, NHWC as everywhere here, of any batch size, its output ``probabilities`` or ``logits``.
It is written for networks that compute in float32: not all that runs ONNX knows bfloat16.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.exporting.classify import Classifying
from jaxcnn.exporting.graph import Graph, Node
from jaxcnn.exporting.tracing import graph_of
from jaxcnn.files import write_atomically
from jaxcnn.version import __version__

OPSET, IR_VERSION = 18, 8
"""Of December 2022, which runtimes have had since."""

_LARGEST = 2**31 - 1  # bytes of a message of protobuf


def write_onnx(path: str | os.PathLike[str], classifying: Classifying) -> None:
    """Writes a function to a file, whole or not at all.

    Args:
      path: of the file.
      classifying: the function.

    Raises:
      UserError: the package ``onnx`` is missing, the network computes what is not written as ONNX,
        or in another type than float32, the file would be too large, or cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            "the package onnx is missing: pip install 'jaxcnn[onnx]', or export as StableHLO."
        ) from error
    graph = graph_of(classifying)
    for name, array in graph.constants.items():
        if array.dtype not in (np.float32, np.int64, np.uint8):
            raise UserError(f"'{name}' is {array.dtype}; export the network with dtype=float32.")
    size = sum(array.nbytes for array in graph.constants.values())
    if size > _LARGEST:
        raise UserError(
            f"the network's {size / 1e9:.1f} GB are more than a file of ONNX holds; export it as "
            "StableHLO."
        )
    model = _model(graph, classifying)
    onnx.checker.check_model(model)
    write_atomically(Path(path), model.SerializeToString())


def _model(graph: Graph, classifying: Classifying) -> Any:
    from onnx import helper, numpy_helper

    def kind(dtype: Any) -> int:
        return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def attributes(node: Node) -> dict[str, Any]:
        return {k: kind(v) if isinstance(v, np.dtype) else v for k, v in node.attributes.items()}

    nodes = [
        helper.make_node(
            node.operator,
            node.inputs,
            [node.output],
            name=node.output,
            **attributes(node),
        )
        for node in graph.nodes
    ]
    images = ["batch", *classifying.images(1).shape[1:]]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "jaxcnn",
            [helper.make_tensor_value_info("images", kind(classifying.dtype), images)],
            [
                helper.make_tensor_value_info(
                    classifying.answers, kind(np.float32), ["batch", classifying.classes]
                )
            ],
            [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="jaxcnn",
        producer_version=__version__,
    )
