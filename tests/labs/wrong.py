"""Solutions with one mistake each, such as people make, and the criteria whose points it costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["WRONG", "Wrong", "rounds"]


class Wrong(NamedTuple):
    """A reference solution with one change: in `file`, `new` replaces `old`, or everything if that is empty."""

    file: str
    old: str
    new: str
    lost: frozenset[str]


def _wrong(file: str, old: str, new: str, *lost: str) -> Wrong:
    return Wrong(file, old, new, frozenset(lost))


def rounds(number: str) -> list[list[Wrong]]:
    """
    Return the wrong solutions of a lab, several together in one folder.

    Those of a round cost different criteria, so what is lost still says which mistake cost it.
    """
    together: list[list[Wrong]] = []
    for wrong in WRONG[number]:
        fitting = (round_ for round_ in together if all(_fits(wrong, other) for other in round_))
        chosen = next(fitting, None)
        if chosen is None:
            together.append([wrong])
        else:
            chosen.append(wrong)
    return together


_INDEPENDENT = {"alerts.yml"}
"""Files in which a mistake in one place changes nothing about another: Prometheus runs each rule alone."""


def _fits(one: Wrong, other: Wrong) -> bool:
    apart = one.file != other.file or bool(one.file in _INDEPENDENT and one.old and other.old)
    return apart and not one.lost & other.lost


# --- the document's own


def _printed(language: str) -> list[str]:
    """Return the snippets of the lab document in a language."""
    text = (Path(__file__).parents[1] / "functional" / "lab_004.txt").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


_SETUP, _LOGGING, _METRICS, _ALERTING, _DASHBOARD, _ = _printed("python")
_, _BOARD = _printed("json")
(_RULES,) = _printed("yaml")
_MEASURED = _METRICS.partition("# Start metrics server")[0].replace("(text: str)", "(text: str, session_id=None)")

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
    "004": [
        # As printed: no level, and everybody is named.
        _wrong("logged.py", "", _SETUP + _LOGGING, "level_and_event", "nobody_is_named"),
        # As printed: a gauge that nobody sets, errors that nobody counts, open to all.
        _wrong(
            "measured.py",
            "",
            f"{_MEASURED}\ndef start_exporter(port):\n    start_http_server(port)\n",
            "counts_sessions",
            "counts_errors",
            "listens_here",
        ),
        # As printed: quantiles of nothing, ratios of each series to itself, limits on each series, another severity.
        _wrong(
            "alerts.yml",
            "",
            _RULES,
            "alerts_are_labelled",
            "threat_rate",
            "risk_spike",
            "high_latency",
            "possible_attack",
            "promises_are_watched",
        ),
        # As printed: at the first text, at every text, and never that it is over.
        _wrong(
            "alerting.py", "", f"incoming_requests = []\n{_ALERTING}", "waits_for_enough", "tells_once", "tells_the_end"
        ),
        # As printed: keeps every event, and knows only the hour of the day.
        _wrong("dashboard.py", "", _DASHBOARD, "days_stay_apart", "memory_is_bounded"),
        # As printed: retired types and no places, a share that is always 1, raw counters.
        _wrong("dashboard.json", "", _BOARD, "board_loads", "share_is_true", "heatmap_is_one", "threats_of_late"),
        # A new name for each line: nothing can be joined.
        _wrong("logged.py", '"user_id": pseudonym(user_id)', '"user_id": secrets.token_hex(8)', "nobody_is_named"),
        # Handy for debugging.
        _wrong("logged.py", '"input_length": len(text),', '"input_length": len(text), "input": text[:50],', "no_text"),
        # Local time.
        _wrong("logged.py", "utc=True", "utc=False", "times_are_utc"),
        # Words, not characters.
        _wrong("logged.py", "len(text)", "len(text.split())", "figures_are_true"),
        # A field left out.
        _wrong("logged.py", '"session_id": session_id,', "", "one_line"),
        # Milliseconds.
        _wrong(
            "measured.py", "time.perf_counter() - began", "1000 * (time.perf_counter() - began)", "measures_latency"
        ),
        # Per cent.
        _wrong(
            "measured.py", "RISK.observe(result.risk_score)", "RISK.observe(100 * result.risk_score)", "measures_risk"
        ),
        # What Python prints for nothing.
        _wrong(
            "measured.py",
            'threat_type=result.threat_type or "none"',
            "threat_type=str(result.threat_type)",
            "counts_scans",
        ),
        # Every scan a session.
        _wrong(
            "measured.py",
            "    if session_id is not None:\n",
            "    if session_id is not None:\n        session_id = object()\n",
            "counts_sessions",
        ),
        # The error is counted, and gone.
        _wrong("measured.py", "        raise\n", "        return None\n", "counts_errors"),
        # Open to all.
        _wrong("measured.py", 'addr="127.0.0.1"', 'addr="0.0.0.0"', "listens_here"),
        # Each series on its own.
        _wrong(
            "alerts.yml",
            'sum(rate(sentinel_scan_total{result="blocked"}[5m])) > 10',
            'rate(sentinel_scan_total{result="blocked"}[5m]) > 10',
            "threat_rate",
        ),
        # A word that no route knows.
        _wrong("alerts.yml", "severity: critical", "severity: page", "alerts_are_labelled"),
        # Everything since the start: a spike drowns in it.
        _wrong(
            "alerts.yml",
            "sum by (le) (rate(sentinel_risk_score_bucket[5m]))",
            "sum by (le) (sentinel_risk_score_bucket)",
            "risk_spike",
        ),
        # Without the bounds there is no quantile.
        _wrong(
            "alerts.yml", "sum by (le) (rate(sentinel_scan_latency", "sum(rate(sentinel_scan_latency", "high_latency"
        ),
        # Two of two is an attack.
        _wrong("alerts.yml", "and sum(increase(sentinel_scan_total[1m])) >= 20", "", "possible_attack"),
        # Watches a job that nobody scrapes.
        _wrong("alerts.yml", 'up{job="sentinel"}', 'up{job="scanner"}', "promises_are_watched"),
        # A bracket too few: Prometheus would start without any rule.
        _wrong(
            "alerts.yml",
            'up{job="sentinel"}',
            'up{job="sentinel"',
            "rules_are_accepted",
            "alerts_are_labelled",
            "threat_rate",
            "risk_spike",
            "high_latency",
            "possible_attack",
            "promises_are_watched",
        ),
        # Cries wolf.
        _wrong("alerting.py", "_ENOUGH = 20", "_ENOUGH = 1", "waits_for_enough"),
        # Forgets nothing, so it is never over.
        _wrong("alerting.py", "maxlen=window_size", "maxlen=None", "tells_the_end"),
        # Again and again.
        _wrong("alerting.py", "if changed:", "if is_high:", "tells_once", "tells_the_end"),
        # The same hour of any day.
        _wrong("dashboard.py", "int(self.clock() // 3600)", "int(self.clock() // 3600) % 24", "days_stay_apart"),
        # Remembers everybody.
        _wrong(
            "dashboard.py",
            "self._scans += 1",
            "self._scans += 1; self.__dict__.setdefault('all', []).append(user_id)",
            "memory_is_bounded",
        ),
        # Nothing has happened yet.
        _wrong("dashboard.py", "blocked / max(self._scans, 1)", "blocked / self._scans", "summary_is_right"),
        # A type that Grafana has no more.
        _wrong("dashboard.json", '"timeseries"', '"graph"', "board_loads"),
        # Each series by itself: always 1.
        _wrong(
            "dashboard.json",
            r"sum(rate(sentinel_scan_total{result=\"blocked\"}[5m])) / sum(rate(sentinel_scan_total[5m]))",
            r"rate(sentinel_scan_total{result=\"blocked\"}[5m]) / rate(sentinel_scan_total[5m])",
            "share_is_true",
        ),
        # A slip of the pen: the panel stays empty.
        _wrong(
            "dashboard.json", "sentinel_risk_score_bucket", "sentinel_riskscore_bucket", "queries_run", "heatmap_is_one"
        ),
        # Since the program started.
        _wrong(
            "dashboard.json",
            r"increase(sentinel_scan_total{result=\"blocked\"}[$__range])",
            r"sentinel_scan_total{result=\"blocked\"}",
            "threats_of_late",
        ),
    ],
}
