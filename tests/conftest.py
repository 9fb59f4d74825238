"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from textwrap import shorten

import pytest
from hypothesis import HealthCheck, settings
from tests.support.postgres import Postgres, running

# A busy machine takes its time over an example; that is no defect of the code or the test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the tests of a process; each test takes a database of its own there."""
    with running() as server:
        yield server


# --- the table of `make prove`


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what a test says that it shows."""
    report = yield
    says = getattr(getattr(item, "function", None), "__doc__", None) or item.name
    report.user_properties.append(("says", " ".join(says.split())))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was proved, a line or two a test: whether it held, how long it took, what it shows, and its figures."""
    if "SENTINEL_PROVE" not in os.environ:
        return
    reports = [
        report
        for outcome in ("passed", "failed", "error")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" or report.failed
    ]
    terminalreporter.section("proved")
    place = None
    for report in sorted(reports, key=lambda report: report.nodeid):
        file, _, name = report.nodeid.partition("::")
        if file != place:
            place = file
            terminalreporter.line(f"\n{Path(file).as_posix()}")
        figures = dict(report.user_properties)
        says = shorten(str(figures.pop("says")), 110)
        _, _, form = name.partition("[")
        terminalreporter.line(f"  {'ok    ' if report.passed else 'FAILED'} {report.duration:6.1f} s  {says}")
        if form or figures:
            words = [
                *([form.removesuffix("]")] if form else []),
                *(f"{what} {value}" for what, value in figures.items()),
            ]
            terminalreporter.line(f"{' ' * 19}{'; '.join(words)}")
