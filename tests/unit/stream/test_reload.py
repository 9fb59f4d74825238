"""Tests of sentinel.stream.reload: rules follow their files, and never get worse than they were."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.oracle import oracle

from sentinel.detection import Rule, parse_rules
from sentinel.model import Severity, Signal
from sentinel.stream import Source

from .test_stream import NOW, Desk, failure

LATENESS = 3600 * 1_000_000
SOURCE = Source(origin="tok", max_severity=Severity.CRITICAL, may_act=True, lateness=LATENESS)
BASE = """
name: failed
logsource: {product: sentinel, category: authentication}
detection: {failed: {success: false}, condition: failed}
"""
COUNT = """
---
name: many
correlation: {{type: event_count, rules: [failed], group-by: [ip_address], timespan: {t}s, condition: {{gte: {n}}}}}
"""
FEW = """
---
name: few
correlation: {type: event_count, rules: [failed], group-by: [ip_address], timespan: 60s, condition: {lt: 4}}
"""
KEPT = """
---
name: kept
correlation: {type: value_count, rules: [failed], timespan: 5m, condition: {field: ip_address, gte: 2}}
"""


CLOUD = """
---
name: cloud
logsource: {product: aws}
detection: {a: {details.logsource.product: aws}, condition: a}
"""


def write(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "rules.yml").write_text(text)


@contextmanager
def desk_with(home: Path) -> Iterator[Desk]:
    desk = Desk(home / "data", rules_dir=(str(home / "rules"),))
    yield desk
    desk.close()


def metric(desk: Desk, name: str, **labels: str) -> float | None:
    registry: CollectorRegistry = desk.monitor.metrics.registry
    return registry.get_sample_value(name, labels)


def told(desk: Desk) -> str:
    return (desk.folder / "logs" / "api.log").read_text()


def test_a_changed_file_is_taken_without_being_asked(tmp_path: Path) -> None:
    """Within seconds of a change the new rules judge, and the metric says so."""
    write(tmp_path / "rules", BASE + COUNT.format(t=60, n=3))
    with desk_with(tmp_path) as desk:
        write(tmp_path / "rules", BASE + COUNT.format(t=60, n=2) + KEPT)

        for _ in range(300):
            desk.run(asyncio.sleep(0.1))
            if len(desk.monitor.rules.rules) == 3:
                break
        desk.send([failure("a", 0), failure("b", 1)])
        assert [signal.rule for signal in desk.signals()] == ["many"]
        assert metric(desk, "sentinel_rules_loaded") == 3
        assert metric(desk, "sentinel_rule_reloads_total", result="taken") == 1


BROKEN: list[tuple[str, Callable[[Path], Any]]] = [
    ("5: not YAML", lambda folder: write(folder, BASE.replace("}, condition", ", condition"))),
    ("8: 'timespan': a timespan is", lambda folder: write(folder, BASE + COUNT.format(t="x", n=2))),
    ("1: no rule files", lambda folder: (folder / "rules.yml").unlink()),
    ("1: can't be read as a text", lambda folder: (folder / "rules.yml").write_bytes(b"\xff\xfe\x00")),
]


@pytest.mark.parametrize(("place", "damage"), BROKEN, ids=[place for place, _ in BROKEN])
def test_a_broken_set_is_refused_and_the_last_good_one_stays(
    tmp_path: Path, place: str, damage: Callable[[Path], Any]
) -> None:
    """Health, metric and log say so, with file and line, until the files are in order again."""
    good = BASE + COUNT.format(t=60, n=2)
    write(tmp_path / "rules", good)
    with desk_with(tmp_path) as desk:
        damage(tmp_path / "rules")
        desk.run(desk.monitor.rule_files.reload())
        [refusal] = desk.monitor.rule_files.rejected
        assert place in f"{refusal.line}: {refusal.reason}"
        assert str(tmp_path / "rules") in refusal.file
        assert desk.monitor.health()["overall_status"] == "degraded"
        assert metric(desk, "sentinel_rule_reloads_total", result="rejected") == 1
        assert metric(desk, "sentinel_rules_loaded") == 2
        assert metric(desk, "sentinel_rules_refused") == 1
        assert "the last good ones stay in force" in told(desk)
        assert refusal.reason in told(desk)
        desk.send([failure("a", 0), failure("b", 1)])
        assert [signal.rule for signal in desk.signals()] == ["many"]
        write(tmp_path / "rules", good)
        desk.run(desk.monitor.rule_files.reload())
        assert desk.monitor.health()["overall_status"] == "healthy"
        assert metric(desk, "sentinel_rules_refused") == 0


def test_what_was_refused_at_the_start_does_not_stop_other_rules_from_changing(tmp_path: Path) -> None:
    """One rule of a public set that nobody can use is known; moving it to another line makes it no new one."""
    refused = "---\nname: odd\nlogsource: {product: x}\ndetection: {a: {f|unheard: 1}, condition: a}\n"
    write(tmp_path / "rules", BASE + refused)
    with desk_with(tmp_path) as desk:
        assert metric(desk, "sentinel_rules_refused") == 1
        write(tmp_path / "rules", "# a comment\n" + BASE + refused + KEPT)
        desk.run(desk.monitor.rule_files.reload())
        assert desk.monitor.rule_files.rejected == ()
        assert metric(desk, "sentinel_rules_loaded") == 2


def test_a_rule_that_waits_for_a_foreign_source_is_told_once(tmp_path: Path) -> None:
    """A dead rule is a number in the metrics and a line in the log, not a line every two seconds."""
    write(tmp_path / "rules", BASE + CLOUD)
    with desk_with(tmp_path) as desk:
        for _ in range(2):
            desk.monitor.rule_files.tell_blind(desk.monitor.worker.coverage.blind())
        assert metric(desk, "sentinel_rules_blind") == 1
        assert told(desk).count("rule can't fire") == 1
        assert told(desk).count("no source of ours") == 1
        event = msgspec.structs.replace(failure("x", 0), details={"logsource": {"product": "aws"}})
        desk.send([event])
        desk.drain()
        desk.monitor.rule_files.tell_blind(desk.monitor.worker.coverage.blind())
        assert metric(desk, "sentinel_rules_blind") == 0


def test_a_changed_rule_judges_the_windows_that_were_open(tmp_path: Path) -> None:
    """What is told on closing needs the events from before the reload, also when no event comes any more."""
    write(tmp_path / "rules", BASE + FEW.replace("lt: 4", "lt: 2"))
    with desk_with(tmp_path) as desk:
        desk.send([failure("a", -30), failure("b", -29)])
        desk.drain()
        write(tmp_path / "rules", BASE + FEW)
        desk.run(desk.monitor.rule_files.reload())
        desk.now = NOW + 3 * LATENESS
        assert [(signal.rule, signal.count) for signal in desk.signals()] == [("few", 2)]


@pytest.mark.parametrize("seed", range(4))
def test_two_reloads_in_the_middle_leave_the_oracles_answer(tmp_path: Path, seed: int) -> None:
    """
    What stays is exactly what all events define; what came back is, too, as far as events came since.

    Half of the streams restart the service besides.
    """
    dice = random.Random(seed)
    events = [failure(f"e{n}", dice.uniform(-3000, 200), f"203.0.113.{dice.randrange(4)}") for n in range(240)]
    sets = [BASE + KEPT + COUNT.format(t=60, n=3) + FEW, BASE + KEPT + COUNT.format(t=90, n=2)]
    for number, part in enumerate((events[:80], events[80:160], events[160:])):
        write(tmp_path / "rules", sets[number % 2])
        if number == 0 or seed % 2:
            desk = Desk(tmp_path / "data", rules_dir=(str(tmp_path / "rules"),))
        else:
            desk.run(desk.monitor.rule_files.reload())
        for start in range(0, len(part), 16):
            desk.send(part[start : start + 16])
        desk.drain()
        if number < 2 and seed % 2:
            desk.close()
    desk.now = NOW + 10 * LATENESS
    desk.drain()
    signals = {signal.id: signal for signal in desk.run(desk.monitor.store.list_signals(1000))}
    stored = desk.run(desk.monitor.store.events_after(0, 1000))
    desk.close()
    rules = {rule.id: rule for rule in parse_rules([("rules.yml", sets[0])]).rules}
    for name in ("kept", "few"):
        assert answer(signals, rules[name]) == oracle(rules[name], stored) != {}, name
    expected = oracle(rules["many"], stored)
    touched = {f"{e.event.ip_address} {e.at // rules['many'].suppress}" for e in stored[160:]}
    mine = answer(signals, rules["many"])
    assert mine.keys() <= expected.keys()
    for signal_id, value in expected.items():
        known = signals.get(signal_id)
        if known is None or f"{known.subject} {known.bucket}" in touched:
            assert signal_id not in mine or mine[signal_id] == value


def answer(signals: dict[str, Signal], rule: Rule) -> dict[str, tuple[int, int, int]]:
    return {s.id: (s.first, s.last, s.count) for s in signals.values() if s.rule_hash == rule.hash}


def test_rules_that_change_while_an_outcome_is_written_know_the_events_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that the old rules have been asked about, and whose outcome is not durable yet, count for the new ones."""
    monkeypatch.setattr("sentinel.stream.worker._BATCH", 2)
    write(tmp_path / "rules", BASE + COUNT.format(t=60, n=2) + FEW)
    with desk_with(tmp_path) as desk:
        desk.drain()  # from here on windows close, so a change of rules brings back what they need for that
        store = desk.monitor.store
        apply, gates, begun = store.apply, [asyncio.Event(), asyncio.Event()], asyncio.Semaphore(0)
        waiting = iter(gates)

        async def gated(outcome: Any) -> Any:
            begun.release()
            if gate := next(waiting, None):
                await gate.wait()
            return await apply(outcome)

        monkeypatch.setattr(store, "apply", gated)

        async def reload_meanwhile() -> None:
            await asyncio.wait_for(begun.acquire(), 60)
            write(tmp_path / "rules", BASE + COUNT.format(t=60, n=3) + FEW)
            reload = asyncio.create_task(desk.monitor.rule_files.reload())
            await asyncio.sleep(0.5)  # it waits for the first outcome, and gets its turn during the second
            gates[0].set()
            await asyncio.wait_for(begun.acquire(), 60)
            await asyncio.sleep(0.5)
            gates[1].set()
            await reload

        desk.send([failure(f"{n}", n, f"203.0.113.{n // 2}") for n in range(6)])
        desk.run(reload_meanwhile())
        desk.send([failure(f"late{n}", 9, f"203.0.113.{n}") for n in range(3)])
        counts = [signal.count for signal in desk.signals() if signal.rule == "many"]
        assert counts.count(3) == 3
