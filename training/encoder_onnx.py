"""
The trained encoder as an ONNX graph, and that graph with 8-bit weights.

The graph is built node by node from standard operators, so nothing but `onnx` and `onnxruntime` is needed and the same
weights give the same bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from encoder_data import HEADS
from encoder_net import ATTENTION_HEADS, LAYERS, WIDTH, Encoder
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

__all__ = ["write_float", "write_int8"]

Array = NDArray[Any]

_OPSET, _IR = 20, 9
_TINY = 1e-12
_FAR_BELOW = -1e4
"""Added to the attention to padding."""
_PER_HEAD = WIDTH // ATTENTION_HEADS


class _Graph:
    """Collects nodes and constants; each method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], name: str, **settings: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **settings))
        return name

    def linear(self, x: str, weight: Array, bias: Array, name: str) -> str:
        """Add x @ weight.T + bias; torch keeps matrices the other way round."""
        product = self.add("MatMul", [x, self.constant(f"{name}.weight", weight.T)], f"{name}.product")
        return self.add("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def norm(self, x: str, weight: Array, bias: Array, name: str) -> str:
        parts = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.add("LayerNormalization", [x, *parts], name, epsilon=_TINY, axis=-1)


def write_float(encoder: Encoder, path: Path, *, most_tokens: int) -> None:
    """Write the encoder as ONNX in float32, for texts of at most so many tokens."""
    state = {name: tensor.detach().numpy().astype(np.float32) for name, tensor in encoder.state_dict().items()}
    graph = _Graph()
    x = _embedded(graph, state, most_tokens)
    # Where the mask is 0, the attention gets a number so low that nothing of it is left.
    counts = graph.add("Cast", ["attention_mask"], "counts", to=TensorProto.FLOAT)
    padding = graph.add("Sub", [graph.constant("one", np.float32(1)), counts], "padding")
    bias = graph.add("Mul", [padding, graph.constant("far_below", np.float32(_FAR_BELOW))], "padding_bias")
    bias = graph.add("Unsqueeze", [bias, graph.constant("middle", np.array([1, 2]))], "attention_bias")
    graph.constant("apart", np.array([0, 0, ATTENTION_HEADS, _PER_HEAD]))
    graph.constant("together", np.array([0, 0, WIDTH]))
    for number in range(LAYERS):
        x = _layer(graph, state, x, bias, number)
    one_each = graph.add("Unsqueeze", [counts, graph.constant("last", np.array([2]))], "counts_by_token")
    graph.constant("tokens", np.array([1]))
    total = graph.add("ReduceSum", [graph.add("Mul", [x, one_each], "counted"), "tokens"], "total", keepdims=0)
    mean = graph.add("Div", [total, graph.add("ReduceSum", [one_each, "tokens"], "n", keepdims=0)], "mean")
    product = graph.add("MatMul", [mean, graph.constant("head.weight", state["head.weight"].T)], "head.product")
    graph.add("Add", [product, graph.constant("head.bias", state["head.bias"])], "logits")
    shape = ["batch", "length"]
    made = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(HEADS)])],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _embedded(graph: _Graph, state: dict[str, Array], most_tokens: int) -> str:
    """Add the embeddings; the kind of all tokens is the same, so it is added to the positions once for all."""
    places = state["positions.weight"][:most_tokens] + state["kinds.weight"][0]
    words = graph.add("Gather", [graph.constant("words.weight", state["words.weight"]), "input_ids"], "words")
    length = graph.add("Shape", ["input_ids"], "length", start=1, end=2)
    begin, axis = graph.constant("begin", np.array([0])), graph.constant("rows", np.array([0]))
    here = graph.add("Slice", [graph.constant("positions", places), begin, length, axis], "places")
    total = graph.add("Add", [words, here], "embedded")
    return graph.norm(total, state["norm.weight"], state["norm.bias"], "norm")


def _layer(graph: _Graph, state: dict[str, Array], x: str, bias: str, number: int) -> str:
    own = f"layers.{number}"
    weights, biases = np.split(state[f"{own}.qkv.weight"], 3), np.split(state[f"{own}.qkv.bias"], 3)
    # What the attention divides by is in the query already.
    weights[0], biases[0] = weights[0] / math.sqrt(_PER_HEAD), biases[0] / math.sqrt(_PER_HEAD)
    parts = []
    for part, weight, one_bias, order in zip(
        ("query", "key", "value"), weights, biases, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True
    ):
        flat = graph.linear(x, weight, one_bias, f"{own}.{part}")
        split = graph.add("Reshape", [flat, "apart"], f"{own}.{part}.split")
        parts.append(graph.add("Transpose", [split], f"{own}.{part}.turned", perm=order))
    looks = graph.add("Add", [graph.add("MatMul", parts[:2], f"{own}.scores"), bias], f"{own}.biased")
    shares = graph.add("Softmax", [looks], f"{own}.shares", axis=-1)
    mixed = graph.add("MatMul", [shares, parts[2]], f"{own}.mixed")
    mixed = graph.add("Transpose", [mixed], f"{own}.mixed.turned", perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", [mixed, "together"], f"{own}.mixed.flat")

    def linear(x: str, name: str) -> str:
        return graph.linear(x, state[f"{own}.{name}.weight"], state[f"{own}.{name}.bias"], f"{own}.{name}")

    def norm(x: str, name: str) -> str:
        return graph.norm(x, state[f"{own}.{name}.weight"], state[f"{own}.{name}.bias"], f"{own}.{name}")

    x = norm(graph.add("Add", [linear(mixed, "attended"), x], f"{own}.first"), "norm")
    inner = graph.add("Gelu", [linear(x, "inner")], f"{own}.gelu")
    return norm(graph.add("Add", [linear(inner, "outer"), x], f"{own}.second"), "last_norm")


def write_int8(source: Path, path: Path) -> None:
    """Write the graph with 8-bit matrices, one scale for each column, and 8-bit embeddings."""
    quantize_dynamic(
        source, path, op_types_to_quantize=["MatMul", "Gather"], per_channel=True, weight_type=QuantType.QInt8
    )
