"""A small encoder made of random numbers and a few words that it minds, in the files that a real one comes in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WORDS = {"zebra": (9.0, -9.0), "tulip": (-9.0, -9.0), "pirate": (-9.0, 9.0)}
"""What each adds to the logits of injection and jailbreak; other words add a little, whatever it is."""
FILES = ("encoder.json", "encoder.onnx", "tokenizer.json")
_SPECIAL = ("[UNK]", "[CLS]", "[SEP]")
_OTHERS = [f"w{number}" for number in range(60)]


def write_encoder(folder: Path, **changes: Any) -> Path:
    """
    Write an encoder into a folder and return it; `changes` are those of its description.

    Its activations are quantised as a real one's are, over all that is run at once; it can overrule the n-gram model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL, *WORDS, *_OTHERS])}
    (folder / "encoder.onnx").write_bytes(_graph(vocabulary))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(vocabulary)))
    facts: dict[str, Any] = {
        "format": 1,
        "heads": ["injection", "jailbreak"],
        "max_tokens": 96,
        "scripts": ["none", "latin"],
        "ngram_range": [-8.0, 8.0],
        "combination": {head: {"ngram": 0.5, "encoder": 1.0, "bias": 0.0} for head in ("injection", "jailbreak")},
        "band": {"from": 0.1, "to": 0.95},
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES[1:]},
        "training": {"command": "none"},
    }
    (folder / "encoder.json").write_text(json.dumps(facts | changes))
    return folder


def write_package(folder: Path) -> Path:
    """Write the distribution's package, as it lies where packages are installed, and return the folder on the path."""
    write_encoder(folder / "sentinel_model")
    (folder / "sentinel_model" / "__init__.py").write_text("")
    return folder


def _graph(vocabulary: Mapping[str, int]) -> bytes:
    """Return the sum of a value for each token, quantised to 8 bits on the way."""
    table = np.random.default_rng(7).normal(0, 0.05, (len(vocabulary), 2)).astype(np.float32)
    for word, added in WORDS.items():
        table[vocabulary[word]] = added
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["values"]),
        helper.make_node("DynamicQuantizeLinear", ["values"], ["small", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["small", "scale", "zero"], ["again"]),
        helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counts", "last"], ["counted"]),
        helper.make_node("Mul", ["again", "counted"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "tokens"], ["logits"], keepdims=0),
    ]
    constants = {"table": table, "last": np.array([2]), "tokens": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    octets: bytes = model.SerializeToString()
    return octets


def _tokenizer(vocabulary: Mapping[str, int]) -> dict[str, Any]:
    ends = {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    around = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing", "single": around, "pair": around, "special_tokens": ends},
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": dict(vocabulary), "unk_token": "[UNK]"},
    }
