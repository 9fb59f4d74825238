"""What `from sentinel import ...` offers, and what importing it must not do."""

from __future__ import annotations

import subprocess
import sys

import sentinel


def test_all_names_exist_and_are_documented() -> None:
    """The public API is what `__all__` lists."""
    assert sorted(sentinel.__all__) == list(sentinel.__all__)
    for name in sentinel.__all__:
        assert (getattr(sentinel, name).__doc__ or "").strip(), name


def test_the_names_of_the_labs_are_there() -> None:
    """`sentinel.core` has the same things under the names that some programs know."""
    from sentinel import core
    from sentinel.core import pipeline
    from sentinel.scanning.engines import Engine

    assert sorted(core.__all__) == list(core.__all__)
    assert (core.AnalysisContext, core.Finding, core.Severity) == (
        sentinel.AnalysisContext,
        sentinel.Finding,
        sentinel.Severity,
    )
    assert core.ThreatDetected is sentinel.ThreatDetected
    assert core.BaseEngine is Engine
    assert core.EngineResult("injection").findings == ()
    assert pipeline.Pipeline is sentinel.Pipeline
    assert isinstance(pipeline.get_default_pipeline(), sentinel.Pipeline)


def test_importing_is_light_and_has_no_effect() -> None:
    """No metric registered, no port, no server library, no HTTP client: only the scanner."""
    code = (
        "import sys, sentinel; sentinel.scan('hello')\n"
        "names = {'fastapi', 'sqlalchemy', 'uvicorn', 'httpx', 'prometheus_client', 'structlog', 'typer', 'rich'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_scanner_is_loaded_when_it_is_asked_for() -> None:
    """Whoever reads logs or judges events does not pay for the scanner; every name is there all the same."""
    code = (
        "import sys, sentinel, sentinel.cli\n"
        "assert 'numpy' not in sys.modules\n"
        "assert set(sentinel.__all__) <= set(dir(sentinel))\n"
        "from sentinel import *\n"
        "assert scan is sentinel.scan and 'numpy' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
