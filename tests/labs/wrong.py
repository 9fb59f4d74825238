"""Solutions with one mistake each, such as people make, and the criteria whose points it costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["WRONG", "Wrong", "rounds"]


class Wrong(NamedTuple):
    """A reference solution with one change: in `file`, `new` takes the place of `old`."""

    file: str
    old: str
    new: str
    lost: frozenset[str]


def _wrong(file: str, old: str, new: str, *lost: str) -> Wrong:
    return Wrong(file, old, new, frozenset(lost))


def rounds(number: str) -> Iterator[list[Wrong]]:
    """
    Yield the wrong solutions of a lab, several together: one of each file.

    Files belong to different exercises, so what is lost still says which mistake cost it.
    """
    by_file = defaultdict(list)
    for wrong in WRONG[number]:
        by_file[wrong.file].append(wrong)
    for index in range(max(map(len, by_file.values()))):
        yield [several[index] for several in by_file.values() if index < len(several)]


WRONG = {
    "001": [
        # The text was pasted, instead of naming the file.
        _wrong("commands.txt", "scan message.txt --format json", "scan 'Hello' -f json", "verdict_as_json"),
        # The engine is not named: the whole verdict.
        _wrong("commands.txt", " --engine pii", "", "one_engine"),
        # Forgot that a machine reads it.
        _wrong("commands.txt", " --json", "", "engines_listed"),
        # A verdict made from the risk as a number of per cent.
        _wrong("first_scans.py", "result.is_safe", "result.risk_score < 50", "verdicts"),
        # Sorted the wrong way round.
        _wrong("first_scans.py", "return max(", "return min(", "worst_first"),
        # Takes the end for a length.
        _wrong("first_scans.py", "text[start:end]", "text[start:start + end]", "places"),
        # The answer is scanned as if it were a prompt, where people may write about themselves.
        _wrong("answers.py", "scan(prompt, response=answer)", "scan(answer)", "leaks", "jailbroken"),
        # Everything that was found, whoever said it.
        _wrong("answers.py", ' if finding.source == "response"', "", "only_the_answer"),
        # Only the two kinds that the exercise names.
        _wrong("answers.py", "response=answer)", 'response=answer, engines=["pii", "secret"])', "jailbroken"),
        # The coroutine function lost its guard.
        _wrong("guarded.py", "@guard\nasync", "async", "attack_raises_async", "answers_are_guarded"),
        # Looks at the way in by hand, and at nothing on the way out.
        _wrong(
            "guarded.py",
            '@guard(on_threat="block")\ndef quiet(prompt):',
            "def quiet(prompt):\n    from sentinel import scan\n    if not scan(prompt).is_safe:\n        return None",
            "answers_are_guarded",
        ),
        # Writes a line, and goes on.
        _wrong("guarded.py", '"block"', '"log"', "attack_is_quiet", "answers_are_guarded"),
    ],
}
