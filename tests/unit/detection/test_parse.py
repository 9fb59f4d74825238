"""Documents -> rules."""

from __future__ import annotations

import pytest

from sentinel.detection import RuleSet, parse_rules, shipped_rules
from sentinel.detection.sigma.parse import parse_timespan
from sentinel.model import Severity, ThreatType

from .samples import FAILED, SECOND, count, event, rule

PLAIN = """title: T
name: plain
logsource: {category: authentication}
detection: {s: {a: 1}, condition: s}
"""
CORRELATION = """name: many
correlation:
  type: event_count
  rules: [failed]
  group-by: [ip_address]
  timespan: 10s
  condition: {gte: 3}
"""
ODD = """name: odd
logsource: {product: sentinel, category: anomaly}
detection: {s: {user_id: alice}, condition: s}
---
"""


def parse(*texts: str) -> RuleSet:
    return parse_rules([(f"{number}.yml", text) for number, text in enumerate(texts)])


def test_a_plain_detection_fires_on_every_match() -> None:
    """Its threshold is 1, its bucket an hour, and what it does not say has a default."""
    parsed = rule(PLAIN)
    assert (parsed.id, parsed.title, parsed.threshold, parsed.plain, parsed.emits) == ("plain", "T", 1, True, True)
    assert (parsed.suppress, parsed.level, parsed.threat_type, parsed.confidence) == (
        3600 * SECOND,
        Severity.MEDIUM,
        None,
        0.9,
    )


def test_a_count_says_how_many_in_what_time() -> None:
    """N, T, S and the fields come from the correlation; only the correlation emits."""
    base, many = count(n=3, t="10s", more="sentinel: {suppress: 1m, threat_type: brute_force, confidence: 0.5}").rules
    assert (many.threshold, many.timespan, many.suppress) == (3, 10 * SECOND, 60 * SECOND)
    assert (many.level, many.threat_type, many.confidence) == (Severity.HIGH, ThreatType.BRUTE_FORCE, 0.5)
    assert [name for name, _ in many.group_by] == ["ip_address"]
    assert (base.emits, many.emits, many.plain) == (False, True, False)
    assert many.matches(event({"success": False}))
    assert not many.matches(event({"success": True}))


def test_without_suppress_a_bucket_is_as_wide_as_the_window() -> None:
    """S defaults to T."""
    assert count(t="10s").rules[1].suppress == 10 * SECOND


def test_more_than_n_is_at_least_n_plus_one() -> None:
    """`gt: 2` and `gte: 3` are the same threshold."""
    (_, many) = parse(FAILED + "---\n" + CORRELATION.replace("gte: 3", "gt: 2")).rules
    assert many.threshold == 3


@pytest.mark.parametrize(
    ("level", "severity"),
    [("informational", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("critical", "critical")],
)
def test_levels(level: str, severity: str) -> None:
    """Sigma's five levels map to our severities; informational is low."""
    assert rule(f"{PLAIN}level: {level}").level == Severity(severity)


@pytest.mark.parametrize(
    ("names", "expected"),
    [("id: i\nname: n\ntitle: t", "i"), ("name: n\ntitle: t", "n"), ("title: t", "t")],
)
def test_a_rule_is_called_by_id_else_name_else_title(names: str, expected: str) -> None:
    """Signals carry the id, or the next best name."""
    assert rule(f"{names}\nlogsource: {{category: scan}}\ndetection: {{s: {{a: 1}}, condition: s}}").id == expected


def test_a_reference_may_be_an_id_and_stand_before_its_rule() -> None:
    """Order and files don't matter for references."""
    base = FAILED.replace("name: failed", "id: 7e2c\nname: failed")
    parsed = parse(CORRELATION.replace("[failed]", "7e2c"), base)
    assert not parsed.refused
    assert [(found.id, found.emits) for found in parsed.rules] == [("7e2c", False), ("many", True)]


def test_generate_lets_the_base_emit_too() -> None:
    """`generate: true` gives signals for the referenced rule as well, also when another correlation is silent on it."""
    other = CORRELATION.replace("name: many", "name: other")
    parsed = parse(FAILED, CORRELATION + "  generate: true\n", other)
    assert [found.emits for found in parsed.rules] == [True, True, True]


def test_a_refused_correlation_does_not_let_its_base_loose() -> None:
    """A broken count must not turn each failed login into a signal."""
    parsed = parse(FAILED, CORRELATION.replace("gte", "near"))
    assert [(found.id, found.emits) for found in parsed.rules] == [("failed", False)]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("title: T", "title: Other"), True),
        (("title: T", "title: T\ndescription: D\ntags: [x]\nauthor: A\nfalsepositives: [f]\n# a comment"), True),
        (("condition: s}", "condition: s}\nsentinel: {examples: {fires: []}}"), False),
        (("title: T\nname: plain", "name: plain\ntitle: T"), True),
        (("a: 1", "a: 2"), False),
        (("name: plain", "name: other"), False),
        (("condition: s}", "condition: s}\nlevel: high"), False),
        (("condition: s}", "condition: s}\nsentinel: {suppress: 2h}"), False),
        (("category: authentication", "category: scan"), False),
    ],
)
def test_the_hash_is_of_what_a_rule_does(change: tuple[str, str], same: bool) -> None:
    """Prose and place leave the hash alone, everything that decides is in it."""
    assert (rule(PLAIN).hash == rule(PLAIN.replace(*change)).hash) is same


def test_examples_are_not_in_the_hash() -> None:
    """A better example must not make a rule forget its windows."""
    example = "sentinel: {suppress: 1h, examples: {fires: [[{event: {event_type: scan}}]]}}"
    assert rule(f"{PLAIN}sentinel: {{suppress: 1h}}").hash == rule(PLAIN + example).hash


def test_a_count_changes_with_what_it_counts() -> None:
    """The hash of a correlation has the hashes of its rules in it, and so has the version of the set."""
    before, after = parse(FAILED, CORRELATION), parse(FAILED.replace("false", "true"), CORRELATION)
    assert before.rules[1].hash != after.rules[1].hash
    assert before.version != after.version


def test_the_version_does_not_depend_on_files_and_order() -> None:
    """The same rules in another order are the same set."""
    assert parse(FAILED, PLAIN, CORRELATION).version == parse(f"---\n{CORRELATION}---\n{PLAIN}", FAILED).version


def test_refusals_come_in_the_order_of_the_files() -> None:
    """By file and line, whatever kind of document it is and however it is broken."""
    broken = PLAIN.replace("a: 1", "a|b: 1")
    parsed = parse(CORRELATION, broken + "---\na: [\n")
    assert [(refusal.file, refusal.line) for refusal in parsed.refused] == [("0.yml", 4), ("1.yml", 4), ("1.yml", 7)]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (PLAIN.replace("{a: 1}", "{a|b: 1}"), 4, "'b'"),
        (PLAIN.replace("detection: {s: {a: 1}, condition: s}", "detection: x"), 4, "must be a mapping"),
        (PLAIN.replace("logsource: {category: authentication}", "logsource: {host: x}"), 3, "'host'"),
        (PLAIN.replace("logsource: {category: authentication}", "logsource: {category: 5}"), 3, "must be text"),
        (PLAIN.replace("logsource: {category: authentication}", "logsource: {}"), 3, "needs a product"),
        (PLAIN.replace("logsource: {category: authentication}\n", ""), 1, "'logsource' must be a mapping"),
        (PLAIN + "level: worst", 5, "'level'"),
        (PLAIN + "action: global", 5, "'action'"),
        (PLAIN + "correlation: {}", 5, "separate them"),
        (PLAIN + "sentinel: {threat: x}", 5, "'threat'"),
        (PLAIN + "sentinel:\n  suppress: 1h\n  threat_type: x", 7, "'threat_type' must be one of"),
        (PLAIN + "sentinel: {confidence: 2}", 5, "from 0 to 1"),
        (PLAIN + "sentinel: {confidence: true}", 5, "from 0 to 1"),
        (PLAIN + "sentinel: {suppress: 0s}", 5, "a timespan is"),
        (PLAIN + "sentinel: {subject: [a, a]}", 5, "each once"),
        (PLAIN + "sentinel: 5", 5, "must be a mapping"),
        (PLAIN + "sentinel: {examples: {never: []}}", 5, "'examples'"),
        (PLAIN + "sentinel: {examples: {fires: [[{event: {}, every: soon}]]}}", 5, "'examples'"),
        (PLAIN.replace("name: plain", "name: 5"), 2, "'name' must be text"),
        (PLAIN.replace("title: T\nname: plain\n", ""), 1, "needs an id"),
        (CORRELATION.replace("event_count", "value_median"), 3, "'value_median' is not supported"),
        (CORRELATION.replace("event_count", "value_count"), 7, "needs one 'field'"),
        (CORRELATION.replace("event_count", "value_sum"), 7, "needs one 'field'"),
        (CORRELATION.replace("gte: 3", "gte: 3, field: f"), 7, "takes no 'field'"),
        (CORRELATION.replace("event_count", "temporal_ordered"), 7, "asks for all"),
        (CORRELATION.replace("event_count", "temporal"), 7, "nothing meets"),
        (CORRELATION.replace("gte: 3", "near: 3"), 7, "'near' is not supported"),
        (CORRELATION.replace("gte: 3", "eq: 0"), 7, "nothing meets"),
        (CORRELATION.replace("gte: 3", "lt: 1"), 7, "nothing meets"),
        (CORRELATION.replace("gte: 3", "gt: 3, lt: 4"), 7, "nothing meets"),
        (CORRELATION.replace("gte: 3", "gte: 0"), 7, "every event meets"),
        (CORRELATION.replace("gte: 3", "gte: -1"), 7, "whole number, 0 or more"),
        (CORRELATION.replace("gte: 3", "gte: true"), 7, "whole number"),
        (CORRELATION.replace("{gte: 3}", "many"), 7, "must be a mapping"),
        (CORRELATION.replace("10s", "10 seconds"), 6, "a timespan is"),
        (ODD + CORRELATION.replace("failed", "odd").replace("gte", "lt"), 11, "anomalies are found hours after"),
        (
            ODD
            + CORRELATION.replace("failed", "odd")
            + "---\n"
            + CORRELATION.replace("name: many", "name: chain").replace("failed", "many").replace("gte", "lt"),
            19,
            "anomalies are found hours after",
        ),
        (
            ODD
            + CORRELATION.replace("gte", "lt")
            + "---\n"
            + CORRELATION.replace("name: many", "name: chain")
            .replace("event_count", "temporal")
            .replace("rules: [failed]", "rules: [odd, many]")
            .replace("gte: 3", "gte: 2"),
            19,
            "anomalies are found hours after",
        ),
        (CORRELATION.replace("  timespan: 10s\n", ""), 3, "'timespan': a timespan is"),
        (CORRELATION.replace("[failed]", "[absent]"), 4, "'absent' is not there"),
        (CORRELATION.replace("  rules: [failed]\n", ""), 3, "'rules' is missing"),
        (CORRELATION.replace("[ip_address]", "[5]"), 5, "takes names"),
        (CORRELATION + "  generate: maybe", 8, "true or false"),
        (CORRELATION + "  aliases: x", 8, "'aliases' must be a mapping"),
        (CORRELATION + "  aliases: {who: {other: user_id}}", 8, "not among the rules"),
        (CORRELATION + "  aliases: {who: {failed: 5}}", 8, "takes a field name"),
        (CORRELATION + "  surprise: 1", 8, "'surprise'"),
        (CORRELATION.replace("[failed]", "[many]"), 4, "refers to itself"),
        (CORRELATION + "sentinel: {subject: user_id}", 8, "what it groups by"),
        (CORRELATION + "logsource: {product: sentinel}", 8, "no log source"),
        (
            CORRELATION
            + "---\n"
            + CORRELATION.replace("many", "chain").replace("[failed]", "[many]").replace("ip_", ""),
            13,
            "does not group by 'address'",
        ),
        (PLAIN.replace("detection: {s: {a: 1}", "filter: {s: {a|b: 1}"), 4, "'b'"),
        (PLAIN.replace("detection:", "filter: {}\ndetection:"), 4, "a rule or a filter"),
        (FAILED + "---\n" + FAILED, 7, "'failed' is already the rule at 0.yml:2"),
    ],
)
def test_a_bad_rule_is_refused_with_its_line_and_the_others_load(text: str, line: int, reason: str) -> None:
    """Whatever is wrong or unknown is named with file and line, and nothing is raised."""
    extra = "" if "is already" in reason else FAILED
    parsed = parse(text, extra)
    (refusal,) = parsed.refused
    assert (refusal.file, refusal.line, reason in refusal.reason) == ("0.yml", line, True), refusal
    assert "failed" in {found.id for found in parsed.rules}


def test_loaded_and_refused_are_all_documents() -> None:
    """Each document with a detection or a correlation is one or the other; the rest gets a warning."""
    parsed = parse(FAILED + "---\n" + CORRELATION + "---\njust: this\n---\n" + PLAIN.replace("a: 1", "a|b: 1"))
    assert (len(parsed.rules), len(parsed.refused), parsed.refused[0].rule) == (2, 1, "plain")
    assert parsed.warnings == ("0.yml:14: neither a detection nor a correlation; it has no effect",)


@pytest.mark.parametrize(
    ("name", "warned"), [("event_type", True), ("severity", True), ("details.event_type", False), ("user_id", False)]
)
def test_a_name_of_ours_in_a_rule_for_a_foreign_log_gets_a_warning(name: str, warned: bool) -> None:
    """A log's own `event_type` stands behind that of our event, so the rule would never see it."""
    text = f"title: t\nlogsource: {{product: aws}}\ndetection: {{a: {{{name}: x}}, condition: a}}"
    assert any("field of every event of ours" in warning for warning in parse(text).warnings) is warned


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (PLAIN, False),
        (PLAIN.replace("category: authentication", "product: Sentinel"), False),
        (PLAIN.replace("category: authentication", "service: web"), False),
        (PLAIN.replace("category: authentication", "product: windows"), True),
        (PLAIN.replace("category: authentication", "category: process_creation"), True),
        (PLAIN + "custom: 1", True),
    ],
)
def test_what_may_have_no_effect_gets_a_warning(text: str, warned: bool) -> None:
    """A log source that none of ours provides, and a key that Sigma doesn't know, are pointed out."""
    assert bool(parse(text).warnings) is warned


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)]
)
def test_timespans(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert parse_timespan(text) == seconds * SECOND


def test_shipped_rules_load_whole() -> None:
    """Nothing that we ship is refused or warned about."""
    shipped = parse_rules(shipped_rules())
    assert (shipped.refused, shipped.warnings) == ((), ())
    assert [found for found in shipped.rules if found.emits]


CHAINED = """name: {name}
correlation: {{type: event_count, rules: [{of}], group-by: [ip_address], timespan: 1h, condition: {{gte: 2}}}}
"""


def test_correlations_may_stand_on_each_other_in_any_order() -> None:
    """Each comes after what it refers to; only the outermost emits."""
    parsed = parse(
        CHAINED.format(name="outer", of="inner"), CHAINED.format(name="inner", of="many"), CORRELATION, FAILED
    )
    assert not parsed.refused
    assert [(found.id, found.emits) for found in parsed.rules] == [
        ("failed", False),
        ("many", False),
        ("inner", False),
        ("outer", True),
    ]


def test_correlations_in_a_circle_are_refused_with_all_that_hangs_on_them() -> None:
    """None of them can be understood without the others."""
    parsed = parse(FAILED, CHAINED.format(name="a", of="b"), CHAINED.format(name="b", of="a"), CORRELATION)
    assert [(refusal.rule, "itself" in refusal.reason) for refusal in parsed.refused] == [("a", True), ("b", True)]
    assert [found.id for found in parsed.rules] == ["failed", "many"]


@pytest.mark.parametrize(
    ("condition", "on_close"),
    [("gte: 3", False), ("gt: 2", False), ("lt: 3", True), ("gte: 3, lte: 5", True), ("neq: 3", True), ("eq: 3", True)],
)
def test_what_can_be_undone_is_judged_on_closing(condition: str, on_close: bool) -> None:
    """Only a lower bound alone can be told while more events may come."""
    (_, many) = parse(FAILED, CORRELATION.replace("gte: 3", condition)).rules
    assert many.on_close is on_close


FILTER = """name: known
logsource: {category: authentication}
filter:
  rules: [failed]
  scanner: {user_agent: probe}
  condition: not scanner
"""


@pytest.mark.parametrize(
    ("change", "filtered"),
    [
        (("", ""), True),
        (("[failed]", "any"), True),
        (("  rules: [failed]\n", ""), True),
        (("[failed]", "[other]"), False),
        (("category: authentication", "category: scan"), False),
    ],
)
def test_a_filter_narrows_the_rules_that_it_names(change: tuple[str, str], filtered: bool) -> None:
    """What the filter leaves out no longer matches, the rule's hash says so, and an idle filter is pointed out."""
    parsed = parse(FAILED, FILTER.replace(*change))
    probe = event({"success": False}, user_agent="probe")
    assert parsed.rules[0].matches(event({"success": False}))
    assert parsed.rules[0].matches(probe) is not filtered
    assert (parsed.rules[0].hash != parse(FAILED).rules[0].hash) is filtered
    assert any("names no rule" in warning for warning in parsed.warnings) is not filtered


def test_placeholders_come_from_the_folder_of_the_rule() -> None:
    """Each folder has its own; a bad one is refused, and a changed one changes the rule."""
    text = PLAIN.replace("{a: 1}", "{'a|expand': '%x%'}")

    def read(values: str) -> RuleSet:
        return parse_rules([("one/r.yml", text), ("one/placeholders.yml", values), ("two/placeholders.yml", "x: no")])

    parsed = read("x: [yes1, yes2]")
    assert not parsed.refused
    assert [parsed.rules[0].matches(event({"a": value})) for value in ("yes2", "no")] == [True, False]
    assert parsed.rules[0].hash != read("x: yes1").rules[0].hash
    assert [refusal.line for refusal in read("x: [1]").refused] == [1, 4]
