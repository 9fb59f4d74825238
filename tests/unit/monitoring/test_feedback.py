"""Verdicts that people call wrong are counted, each once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from sentinel import ConfigError
from sentinel.monitoring import FalsePositives, instrument
from sentinel.observability import ScanMetrics


def counted(metrics: ScanMetrics) -> float | None:
    return metrics.registry.get_sample_value("sentinel_false_positives_total")


@pytest.mark.parametrize(
    ("reports", "news", "total"),
    [
        ([], [], 0),
        (["a"], [True], 1),
        (["a", "a", "b", "a"], [True, False, True, False], 2),
        (["", "\ud800", "\ud800"], [True, True, False], 2),
    ],
)
def test_a_scan_counts_once(reports: list[str], news: list[bool], total: int) -> None:
    """However often it is reported; who reports learns whether it was new."""
    metrics = instrument()
    wrong = FalsePositives(metrics)
    assert [wrong.report(scan_id) for scan_id in reports] == news
    assert counted(metrics) == total


def test_memory_is_bounded() -> None:
    """Beyond the limit the scan reported longest ago is forgotten; a report is fresh each time it comes."""
    metrics = instrument()
    wrong = FalsePositives(metrics, remembered=2)
    assert [wrong.report(scan_id) for scan_id in "abacab"] == [True, True, False, True, False, True]
    assert counted(metrics) == 4
    with pytest.raises(ConfigError, match="remembered"):
        FalsePositives(metrics, remembered=0)


def test_reports_of_many_threads_are_one() -> None:
    """Two people press the button at the same moment."""
    metrics = instrument()
    wrong = FalsePositives(metrics)
    with ThreadPoolExecutor(8) as pool:
        news = list(pool.map(wrong.report, [str(number % 50) for number in range(2000)]))
    assert sum(news) == counted(metrics) == 50


def test_no_id_is_kept() -> None:
    """An id may name a person, and memory may be dumped."""
    wrong = FalsePositives(instrument())
    wrong.report("grace.fox-1")
    assert "grace.fox-1" not in repr(vars(wrong))
