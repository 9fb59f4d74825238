"""
Gathers what the classifier learns from: texts with a target, a weight and a group that is left out as a whole.

Two targets, injection (everything that diverts, extracts or abuses) and jailbreak (personas without limits). A text
that is an attack of one kind says nothing about the other and is left out there.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from disguises import disguised
from grammar.expand import Row, Slots, expand, filled, read_grammar
from grammar.written import read_written
from structural import suffixed, with_code

from sentinel.scanning.folding import normalised
from sentinel.scanning.view import original

__all__ = [
    "BENIGN",
    "DISGUISE",
    "GRAMMAR",
    "HARMFUL",
    "INJECTION",
    "JAILBREAK",
    "WRITTEN",
    "Example",
    "framed_examples",
    "grammar_examples",
    "plain",
    "read_set",
    "set_examples",
    "structural_examples",
    "written_examples",
]

INJECTION, JAILBREAK, BENIGN, HARMFUL = "injection", "jailbreak", "benign", "harmful"
GRAMMAR = "grammar:"
"""Groups of our own grammar begin so; the others are the names of sets."""
DISGUISE = "grammar:disguise"
"""And those of harmless texts in a disguise so."""
WRITTEN = "grammar:written"
"""And those of texts that were written one by one so."""
_TARGETS = {
    "injection": INJECTION,
    "indirect_injection": INJECTION,
    "attack": INJECTION,
    "jailbreak": JAILBREAK,
    "benign": BENIGN,
    "pii": BENIGN,
    "secret": BENIGN,
    "harmful_request": HARMFUL,
}
"""What the labels of the sets mean here; `ambiguous` is left out."""
_SHARED = Path(__file__).parent / "grammar" / "shared.yml"
_BURIED_SHARE = 0.35
"""Of the grammar's bare rows, how many are also put into the middle of a text that other people wrote."""
_CHANGED_SHARE = 0.3
_LONGEST_HOST = 1500
_LONGEST_BURIED = 400
"""Of texts written one by one; the longer ones are mails and pages themselves."""
_LONGEST_QUESTION = 200
_SUFFIXES = 3000
_PER_DISGUISE = 60
_CAPITALS = 800
_FRAMED, _FRAMED_ELSEWHERE = 4000, 400
"""Questions in frames, in English and in each other language."""
_FRAMED_FOREIGN = 0.5
"""Of them, how many are tasks that other people wrote, where there are such."""
_TASKS = frozenset({"a_bbh", "a_gpteacher", "a_instr_misc"})
_LONGEST_FRAMED = 300


class Example(NamedTuple):
    """A text to learn from or to be judged by."""

    text: str
    """In plain letters, as the classifier's reading of it has them."""
    target: str
    group: str
    lang: str
    span: tuple[int, int] | None = None
    """Where an attack stands in it, if that is known and not everywhere."""
    rule: str = ""
    """The rule of another project that the row is a case of, if its set says so."""


def plain(text: str) -> str:
    """Return the text in plain letters, as at run time."""
    return normalised(original(text)).text


def read_set(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a gzipped JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def set_examples(folder: Path, *, most: int, seed: int, skip: int = 0) -> Iterator[Example]:
    """Yield the rows of all sets of a folder, at most `most` of each set and target, after so many others."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        name = path.name.partition(".")[0]
        by_target: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in read_set(path):
            if target := _TARGETS.get(row["label"]):
                by_target[target].append(row)
        rng = np.random.default_rng([seed, *name.encode()])
        for target, rows in sorted(by_target.items()):
            for index in rng.permutation(len(rows))[skip : skip + most]:
                yield _example(rows[index], target, name)


def _example(row: dict[str, Any], target: str, name: str) -> Example:
    """Return a set's row; of composed rows the attack's place is known by how it begins and that it ends its line."""
    text, span = row["text"], None
    beginning = (row["meta"] or {}).get("attack") if row["label"] == "indirect_injection" else None
    start = text.find(beginning) if beginning else -1
    if start >= 0:
        end = text.find("\n", start)
        span = (start, end if end > start else len(text))
    rule = f"{name} {row['meta']['rule']}" if "rule" in (row["meta"] or {}) else ""
    return _normalised(text, target, name, row["lang"], span)._replace(rule=rule)


def _normalised(text: str, target: str, group: str, lang: str, span: tuple[int, int] | None) -> Example:
    if span is None:
        return Example(plain(text), target, group, lang)
    before, payload, after = plain(text[: span[0]]), plain(text[slice(*span)]), plain(text[span[1] :])
    return Example(before + payload + after, target, group, lang, (len(before), len(before) + len(payload)))


def grammar_examples(folder: Path, hosts: Sequence[Example], *, seed: int, per_template: int) -> Iterator[Example]:
    """
    Yield the grammar's rows: bare, in carriers, changed as people type, and buried in texts of others.

    Args:
        folder: `training/grammar`, or one with families of its own and what those of `training/grammar` share.
        hosts: Benign texts to bury rows in.
        seed: Of all choices.
        per_template: See `expand`.
    """
    rng = np.random.default_rng([seed, 7])
    by_lang = defaultdict(list)
    for host in hosts:
        by_lang[host.lang].append(host.text)
    for row in expand(read_grammar(folder, _SHARED), seed=seed, per_template=per_template):
        target = _target(row)
        group = f"{GRAMMAR}{row.family}"
        yield _normalised(_changed(row.text, rng), target, group, row.lang, row.span if row.carrier else None)
        if not row.carrier and rng.random() < _BURIED_SHARE:
            host = by_lang.get(row.lang) or by_lang["en"]
            yield _buried(row, target, host[int(rng.integers(len(host)))], rng)


def _target(row: Row) -> str:
    if not row.attack:
        return BENIGN
    return JAILBREAK if row.threat == "jailbreak" else INJECTION


def _changed(text: str, rng: np.random.Generator) -> str:
    """Return the text, at times as people type it; always equally long, so that spans stay right."""
    if rng.random() >= _CHANGED_SHARE:
        return text
    change = int(rng.integers(4))
    if change == 0:
        return upper if len(upper := text.upper()) == len(text) else text
    if change == 1:
        return lower if len(lower := text.lower()) == len(text) else text
    if change == 2:  # noqa: PLR2004 - the third of four
        return text.replace(".", " ").replace(",", " ")
    at = int(rng.integers(len(text)))
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _buried(row: Row, target: str, host: str, rng: np.random.Generator) -> Example:
    """Return the row at the end of a sentence of the host."""
    host = host[:_LONGEST_HOST]
    ends = [at + 1 for at, char in enumerate(host) if char in ".!?\n。"] or [len(host)]
    at = ends[int(rng.integers(len(ends)))]
    joint = " \n"[int(rng.integers(2))]
    before, after = host[:at] + joint, joint + host[at:]
    span = (len(before), len(before) + len(row.text))
    return _normalised(before + row.text + after, target, f"{GRAMMAR}{row.family}", row.lang, span)


def written_examples(folder: Path, hosts: Sequence[Example], *, seed: int) -> Iterator[Example]:
    """
    Yield the texts that were written one by one, and the short ones of them buried in texts of others as well.

    Args:
        folder: `training/grammar/written`; a file is a topic, and a group.
        hosts: Benign texts to bury them in.
        seed: Of all choices, for each file anew, so that a new file changes nothing of the others.
    """
    by_lang = defaultdict(list)
    for host in hosts:
        by_lang[host.lang].append(host.text)
    for path in sorted(folder.glob("*.txt")):
        rng = np.random.default_rng([seed, *path.stem.encode()])
        for row in read_written(path):
            target = _target(row)
            yield Example(plain(row.text), target, f"{GRAMMAR}{row.family}", row.lang)
            if len(row.text) <= _LONGEST_BURIED and rng.random() < _BURIED_SHARE:
                host = by_lang.get(row.lang) or by_lang["en"]
                yield _buried(row, target, _one_of(host, rng), rng)


def framed_examples(folder: Path, examples: Sequence[Example], *, seed: int) -> Iterator[Example]:
    """
    Yield harmless questions in scenes, parts to play and pretexts: such a frame alone must mean nothing.

    Args:
        folder: `training/grammar`; its `frames.yml` has the frames, and questions of its own.
        examples: Of the sets; from them comes a part of the questions.
        seed: Of all choices.
    """
    frames = yaml.safe_load((folder / "frames.yml").read_text(encoding="utf-8"))
    shared: dict[str, Slots] = yaml.safe_load((folder / "shared.yml").read_text(encoding="utf-8"))["slots"]
    rng = np.random.default_rng([seed, 17])
    short = [one for one in examples if one.target == BENIGN and one.group in _TASKS]
    for lang, scenes in frames["scenes"].items():
        common = {**shared["en"], **shared.get(lang, {})}
        slots = common | scenes["slots"]
        questions = frames["questions"][lang]
        tasks = [one.text for one in short if one.lang == lang and len(one.text) <= _LONGEST_FRAMED]
        for _ in range(_FRAMED if lang == "en" else _FRAMED_ELSEWHERE):
            if tasks and rng.random() < _FRAMED_FOREIGN:
                question = _one_of(tasks, rng)
            else:
                template = _one_of(questions["templates"], rng)
                question = filled(template, common | questions.get("slots", {}), rng, "frames.yml")
            asked = {"question": [question.replace("{", "{{").replace("}", "}}")]}
            text = filled(_one_of(scenes["frames"], rng), slots | asked, rng, "frames.yml")
            yield Example(plain(text), BENIGN, f"{GRAMMAR}scenes", lang)


def _one_of(values: Sequence[str], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]


def structural_examples(examples: Sequence[Example], *, seed: int) -> Iterator[Example]:
    """Yield questions with a gibberish suffix or with real code behind them, and harmless texts in disguise."""
    rng = np.random.default_rng([seed, 13])
    short = [one.text for one in examples if one.target == BENIGN and len(one.text) <= _LONGEST_QUESTION]
    for number, text in disguised(short, _PER_DISGUISE, rng):
        yield Example(plain(text), BENIGN, f"{DISGUISE} {number}", "")
    # Capitals of other alphabets share more letters with Latin than small ones, so they read differently.
    foreign = [text for text in short if not text.isascii()]
    for index in rng.integers(len(foreign), size=_CAPITALS):
        yield Example(plain(foreign[index].upper()), BENIGN, f"{DISGUISE} of capitals", "")
    questions = [one.text for one in examples if one.target in {BENIGN, HARMFUL} and len(one.text) <= _LONGEST_QUESTION]
    texts = [one.text for one in examples if one.target == BENIGN]
    for text, span in suffixed(questions, texts, _SUFFIXES, rng):
        yield _normalised(text, JAILBREAK, f"{GRAMMAR}suffix", "", span)
    for text in with_code(questions, texts, _SUFFIXES, rng):
        yield Example(plain(text), BENIGN, f"{GRAMMAR}suffix", "")
