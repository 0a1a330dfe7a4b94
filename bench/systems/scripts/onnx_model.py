"""Makes a small neural network as an ONNX file: ten numbers in, the shares of three classes out.

Usage: python onnx_model.py FILE, in an environment with onnx and numpy.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, HIDDEN, CLASSES = 10, 64, 3
OPSET = 17


def main() -> None:
    """Write it, with weights that are always the same."""
    source = np.random.default_rng(0)
    weights = {
        "first": source.normal(size=(FEATURES, HIDDEN)).astype(np.float32),
        "second": source.normal(size=(HIDDEN, CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["rows", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "second"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[1])


if __name__ == "__main__":
    main()
