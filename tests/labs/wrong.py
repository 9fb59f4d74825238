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
    "002": [
        # Asks the engine that the first attack came from.
        _wrong(
            "detect.py",
            "return scan(text).threat_type",
            'return scan(text, engines=["injection"]).threat_type',
            "names_attacks",
        ),
        # Looks at the first finding only.
        _wrong(
            "detect.py",
            "finding.view for finding in scan(text).findings",
            "finding.view for finding in scan(text).findings[:1]",
            "tells_disguises",
        ),
        # Counts from one.
        _wrong(
            "detect.py",
            'int(finding.source.removeprefix("document:"))',
            'int(finding.source.removeprefix("document:")) + 1',
            "finds_documents",
        ),
        # Another catalogue.
        _wrong("detect.py", "in finding.owasp", "in finding.atlas", "names_entries"),
        # Every line alone.
        _wrong("conversation.py", "history=turns[:number]", "history=[]", "history_counts", "says_where_it_ends"),
        # People count from one.
        _wrong("conversation.py", "return next((number for", "return next((number + 1 for", "says_where_it_ends"),
        # The wrong way round.
        _wrong(
            "conversation.py",
            "together.risk_score - scan(last).risk_score",
            "scan(last).risk_score - together.risk_score",
            "says_what_history_adds",
        ),
        # Only the original reading.
        _wrong("engine.py", "for view in text.views:", "for view in text.views[:1]:", "sees_through"),
        # Places in the reading, not in the original.
        _wrong(
            "engine.py", "view.span(match.start(), match.end())", "(match.start(), match.end())", "spans_are_places"
        ),
        # Any talk of paying will do.
        _wrong(
            "engine.py",
            "CHANGED.finditer(view.text)",
            "PAY.finditer(view.text)",
            "examples_hold",
            "leaves_harmless",
            "spans_are_places",
        ),
        # Per cent.
        _wrong("engine.py", "confidence=0.9", "confidence=90", "fits"),
        # Knows one word.
        _wrong("engine.py", 'rf"\\b{_HOW}', 'rf"\\bIBAN\\b|\\bnever{_HOW}', "finds_diversions"),
        # Accuracy: right about 98 of 100, and blind.
        _wrong(
            "evaluate.py",
            "return 2 * hits / (2 * hits + wrong) if hits else 0.0",
            "return 1 - wrong / len(pairs) if pairs else 0.0",
            "f1_is_f1",
            "f1_of_nothing",
        ),
        # The formula, and no thought for nothing.
        _wrong("evaluate.py", " if hits else 0.0", "", "f1_of_nothing"),
        # Forgets the shipped engines.
        _wrong("evaluate.py", "{**Scanner().engines, engine.id: engine}", "{engine.id: engine}", "asks_all"),
        # The two mistakes swapped.
        _wrong(
            "evaluate.py",
            '"fp": pairs.count((False, True))',
            '"fp": pairs.count((True, False))',
            "tells_mistakes_apart",
        ),
    ],
    "003": [
        # One blank, no more.
        _wrong("rules.py", r"project\s+(?:", "project (?:", "finds_projects"),
        # Any number of digits, anywhere.
        _wrong("rules.py", r"\bSEC-[0-9]{4,6}\b", "SEC-[0-9]{4,6}", "leaves_others"),
        # Five digits, because the example had five.
        _wrong("rules.py", "{4,6}", "{5}", "finds_tickets"),
        # Refuses what should be looked at.
        _wrong("rules.py", '"flag"', '"block"', "only_flags"),
        # Look-behind, which RE2 doesn't have: nothing is configured.
        _wrong("rules.py", r"\bSEC", "(?<!P)SEC", "finds_projects", "finds_tickets", "leaves_others", "only_flags"),
        # The highest risk of all is no threshold.
        _wrong("thresholds.py", "for hundredths in range(101)", "for hundredths in range(100, -1, -1)", "chooses"),
        # Flags only above the threshold.
        _wrong("thresholds.py", "risk >= threshold", "risk > threshold", "chooses"),
        # Every kind of personal data.
        _wrong("thresholds.py", ', "pii_types": ["email", "credit_card"]', "", "other_kinds_pass"),
        # The kinds are named, but in prompts they still don't count.
        _wrong("thresholds.py", '"thresholds": {"pii": 0.5}, ', "", "refuses_personal_data"),
        # The other end of the scale.
        _wrong("thresholds.py", "lenient", "strict", "is_lenient"),
        # Another trade.
        _wrong("bank.py", "financial", "healthcare", "trade"),
        # One word, which customers use for everything.
        _wrong("bank.py", '"close_account"', '"close_account", "account"', "customers_can_ask"),
        # Refused instead of confirmed.
        _wrong(
            "bank.py",
            "required_confirmations",
            "blocked_intents_",
            "trade",
            "closing_is_refused",
            "wire_is_confirmed",
            "customers_can_ask",
        ),
        # Only to be confirmed.
        _wrong("bank.py", '"blocked_intents": ["close_account"],', "", "closing_is_refused"),
        # Everybody asks the model.
        _wrong("layers.py", 'condition="flagged", ', "", "asked_when_flagged"),
        # The last rule flags, too.
        _wrong("layers.py", 'action="block"', 'action="flag"', "all_layers"),
        # Blocks at the first doubt.
        _wrong("layers.py", "threshold=0.7", "threshold=0.5", "doubt_is_flagged"),
        # No layer but the first.
        _wrong(
            "layers.py",
            "import Pipeline, Rule\n",
            "import Pipeline, Rule as Any\n\n\ndef Rule(layer, **rest):\n    return Any('patterns', action='block')\n",
            "all_layers",
            "asked_when_flagged",
            "doubt_is_flagged",
        ),
    ],
}
