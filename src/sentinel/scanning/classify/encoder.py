"""
A small transformer encoder: a window of a text in, a score for each threat out.

What runs it (onnxruntime, tokenizers) and its weights are no part of the base install. Its description is read when a
scanner is made; the files and libraries, some tens of megabytes, when the first window needs them. Windows are run one
at a time, without padding: int8 activations are scaled over all that is run together, so that in company a window would
get another score than alone; and on one core company saves little (0 to 15 % of the time, measured). Of a
window with more tokens than it reads (330 characters are some 75 of English prose, 110 of German) it reads the
beginning or the end, whichever is the more suspicious.

What was said of the last few thousand windows is kept, by their hash: documents, results of tools and templates come
again and again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from sentinel.errors import ConfigError
from sentinel.scanning.classify.features import SCRIPTS

__all__ = ["INSTALL", "Band", "Combination", "Encoder", "Facts"]

INSTALL = "in a checkout, pip install ./model '.[model]'"
"""What brings an encoder, for messages."""
_AGAIN = f"install it again: {INSTALL}"
_PACKAGE = "sentinel_model"
_LIBRARIES = ("onnxruntime", "tokenizers")
_DESCRIPTION, _WEIGHTS, _TOKENIZER = "encoder.json", "encoder.onnx", "tokenizer.json"
_ERRORS_ONLY = 3
"""How much onnxruntime writes to standard error."""
_SLOWER = ["SkipLayerNormFusion"]
"""What onnxruntime (1.32) makes of a sum and its norm takes five times as long as both, a fifth of a run in all."""
_MOST_KNOWN = 4096
"""Windows whose logits are kept: half a megabyte."""
_LEAST = -30.0
"""Lower logits are as good as none, and would overflow."""
_SURE = 1e-9
"""Scores nearer to 0 or 1 have no logit worth the name."""

_Scores = tuple[float, float]
"""For injection and jailbreak, each in [0, 1]; 0.5 is the threshold."""
_Worst = Callable[[Sequence[str]], int]
"""Says which of some texts is the most suspicious, by its place."""


class Combination(msgspec.Struct, frozen=True):
    """How the n-gram's score s and the encoder's logit e become one: sigmoid(ngram * logit(s) + encoder * e + bias)."""

    ngram: float
    encoder: float
    bias: float


class _Combinations(msgspec.Struct, frozen=True):
    injection: Combination
    jailbreak: Combination


class Band(msgspec.Struct, frozen=True, rename={"low": "from", "high": "to"}):
    """The n-gram's scores at which a second look pays: from `low` on, below `high`."""

    low: float
    high: float


class Facts(msgspec.Struct, frozen=True):
    """What a description says; what it says of the training is for people."""

    format: Literal[1]
    heads: tuple[Literal["injection"], Literal["jailbreak"]]
    """The same two threats as the n-gram model's, in its order."""
    max_tokens: Annotated[int, msgspec.Meta(ge=3, le=512)]
    """With the two at the ends; of what is longer only the beginning or the end is read."""
    scripts: frozenset[str]
    """Of `SCRIPTS`; windows in others keep the n-gram's score."""
    ngram_range: tuple[float, float]
    """Into which the logit of the n-gram's score is brought before it is combined."""
    combination: _Combinations
    band: Band
    sha256: Mapping[str, str]
    """Of the other files, by name, in hexadecimal digits."""


class Encoder:
    """
    Judges windows; shared by all threads.

    Args:
        folder: With `encoder.json`, `encoder.onnx` and `tokenizer.json`.
        facts: What `encoder.json` says.
        version: Names the weights.
    """

    def __init__(self, folder: Traversable, facts: Facts, version: str) -> None:
        self.facts = facts
        self.version = version
        """Twelve hexadecimal digits that change when any weight does."""
        self.scripts = frozenset(map(SCRIPTS.index, facts.scripts))
        """The scripts whose windows it reads, as `Window.script` names them."""
        self._folder = folder
        self._loading = threading.Lock()
        self._run: Callable[[str, _Worst], _Scores] | None = None
        self._known: dict[bytes, _Scores] = {}

    @classmethod
    @functools.cache
    def installed(cls) -> Encoder | None:
        """
        Return the installed encoder; None where it, or what runs it, is not installed.

        Raises:
            ConfigError: It is there and can't be used; names the file.
        """
        if any(importlib.util.find_spec(name) is None for name in (_PACKAGE, *_LIBRARIES)):
            return None
        return cls.read(resources.files(_PACKAGE))

    @classmethod
    def read(cls, folder: Traversable) -> Encoder:
        """
        Return the encoder in a folder that `training/` wrote; its weights are read later, by `load`.

        Raises:
            ConfigError: The folder has no description, or one that can't be used.
        """
        description = _octets(folder, _DESCRIPTION)
        try:
            facts = msgspec.json.decode(description, type=Facts)
        except msgspec.DecodeError as err:
            raise ConfigError(f"describes no encoder that this version can use: {err}", where=_DESCRIPTION) from None
        if unknown := sorted(facts.scripts - set(SCRIPTS)):
            raise ConfigError(f"there is no script {unknown[0]!r}; there are {', '.join(SCRIPTS)}", where=_DESCRIPTION)
        return cls(folder, facts, hashlib.sha256(description).hexdigest()[:12])

    @property
    def is_loaded(self) -> bool:
        """Whether the next window costs no more than its own run."""
        return self._run is not None

    def load(self) -> None:
        """
        Read the weights, once; other threads wait meanwhile.

        Raises:
            ConfigError: A file isn't the one that the description names, or can't be run; says which and what to do.
        """
        with self._loading:
            if self._run is None:
                self._run = self._running(**self.checked())

    def checked(self) -> dict[str, bytes]:
        """
        Return the weights and the tokenizer as they are on the disk.

        Raises:
            ConfigError: One of them isn't the file that the description names; says which and what to do.
        """
        return {"weights": self._file(_WEIGHTS), "tokenizer": self._file(_TOKENIZER)}

    def judged(self, window: str, by_ngrams: _Scores, worst: _Worst) -> _Scores:
        """
        Return the scores of a window by both judges together.

        Args:
            window: Of what goes beyond `max_tokens` only the n-gram model knows.
            by_ngrams: What the n-gram model thinks of the window.
            worst: Whether to read the beginning or the end of a window that is too long.
        """
        ways = self.facts.combination.injection, self.facts.combination.jailbreak
        injection, jailbreak = map(self._combined, ways, by_ngrams, self.logits(window, worst))
        return injection, jailbreak

    def logits(self, window: str, worst: _Worst) -> _Scores:
        """Return what the encoder alone says of a window; the same whatever else is judged at the time."""
        key = _key(window)
        if (known := self._known.get(key)) is not None:
            return known
        if self._run is None:
            self.load()
        assert self._run is not None
        found = self._run(window, worst)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = found
        return found

    def knows(self, window: str) -> bool:
        """Whether what it says of a window costs nothing: it was asked before, and not too long ago."""
        return _key(window) in self._known

    def _combined(self, way: Combination, by_ngrams: float, logit: float) -> float:
        lowest, highest = self.facts.ngram_range
        score = min(max(by_ngrams, _SURE), 1 - _SURE)
        other = min(max(math.log(score / (1 - score)), lowest), highest)
        total = way.ngram * other + way.encoder * logit + way.bias
        return 1.0 / (1.0 + math.exp(-max(total, _LEAST)))

    def _running(self, weights: bytes, tokenizer: bytes) -> Callable[[str, _Worst], _Scores]:
        """Return what gives the logits of a window. What is run is what was hashed: no file is opened again."""
        runtime, tokenizers = (importlib.import_module(name) for name in _LIBRARIES)
        options = runtime.SessionOptions()
        # One thread: whoever scans in many threads has those already, and others' work is not slowed down.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # The arena would keep the memory of the longest window for ever; lengths differ, so there is no pattern.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        try:
            session = runtime.InferenceSession(
                weights, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER
            )
            words = tokenizers.Tokenizer.from_str(tokenizer.decode())
        except Exception as err:  # what the two libraries raise has no base of its own
            raise ConfigError(f"the encoder can't be run: {err}; {_AGAIN}", where=_WEIGHTS) from err
        words.no_padding()
        words.no_truncation()

        def logits(window: str, worst: _Worst) -> _Scores:
            ids = np.array([_read_of(window, words.encode(window), self.facts.max_tokens, worst)])
            ((found,),) = session.run(("logits",), {"input_ids": ids, "attention_mask": np.ones_like(ids)})
            injection, jailbreak = found.tolist()
            return injection, jailbreak

        return logits

    def _file(self, name: str) -> bytes:
        octets = _octets(self._folder, name)
        if hashlib.sha256(octets).hexdigest() != self.facts.sha256.get(name):
            raise ConfigError(f"isn't the file that {_DESCRIPTION} names; {_AGAIN}", where=name)
        return octets


def _read_of(window: str, tokens: Any, most: int, worst: _Worst) -> Sequence[int]:
    """Return the tokens that are read, with the marks at both ends: all, or as many as may be from one of the ends."""
    ids, places = tokens.ids, tokens.offsets
    if len(ids) <= most:
        return list(ids)
    beginning, end = window[: places[most - 2][1]], window[places[1 - most][0] :]
    return [*ids[: most - 1], ids[-1]] if worst((beginning, end)) == 0 else [ids[0], *ids[1 - most :]]


def _key(window: str) -> bytes:
    """Return what stands for a window; the text itself isn't kept longer than its scan."""
    return hashlib.blake2b(window.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _octets(folder: Traversable, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as err:
        raise ConfigError(f"can't be read ({err.strerror}); {_AGAIN}", where=name) from err
