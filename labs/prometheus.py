"""Prometheus' own programs as judges: promtool fires alert rules, a real server answers the queries of a dashboard."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from labs.learner import Miss

__all__ = ["answers", "checked_rules", "fires", "scraped"]

_PATIENCE_SECONDS = 60
_STARTS = 3
"""Of a server: somebody else may take its port between the look and the start."""
_STEP_SECONDS = 15
_ANSWER_BYTES = 2**20
_LONGEST_FILE = 2**18
_BEGIN = 1_700_000_000
"""When the history that a dashboard is shown begins, in seconds since 1970. Any time will do; this one is over."""


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Miss(f"this can't be graded here: {name} is missing; install it (Debian: apt-get install prometheus)")
    return path


def _promtool(*arguments: str, folder: str) -> subprocess.CompletedProcess[str]:
    command = [_program("promtool"), *arguments]
    try:
        return subprocess.run(  # noqa: S603 - a fixed program; the learner's part is the content of a file
            command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Miss(f"promtool did not finish within {_PATIENCE_SECONDS} seconds") from None


@contextlib.contextmanager
def _folder_with(rules: str) -> Iterator[Path]:
    if len(rules) > _LONGEST_FILE:
        raise Miss("the file with the rules is longer than 256 KiB")
    with tempfile.TemporaryDirectory(prefix="sentinel-lab-") as folder:
        Path(folder, "rules.yml").write_text(rules, encoding="utf-8")
        yield Path(folder)


def checked_rules(rules: str) -> None:
    """
    Do nothing if promtool accepts a file of rules.

    Raises:
        Miss: It does not; says why.
    """
    if refusal := _refusal(rules):
        raise Miss(f"promtool refuses the rules: {refusal}")


@functools.lru_cache(maxsize=64)
def _refusal(rules: str) -> str:
    with _folder_with(rules) as folder:
        done = _promtool("check", "rules", "rules.yml", folder=str(folder))
    return "" if done.returncode == 0 else " ".join((done.stderr or done.stdout).split())


def fires(rules: str, alert: str, series: Mapping[str, str], minute: int) -> bool:
    """
    Return whether an alert is firing at a minute, given samples every 15 seconds.

    Args:
        rules: The content of a file of rules.
        alert: Its name.
        series: By series, values in promtool's notation, such as `0+30x80`.
        minute: Counted from the first sample.

    Raises:
        Miss: promtool can't run the rules; says why.
    """
    return _fires(rules, alert, tuple(series.items()), minute)


@functools.lru_cache(maxsize=1024)  # the same rules, asked the same, answer the same
def _fires(rules: str, alert: str, series: tuple[tuple[str, str], ...], minute: int) -> bool:
    case = {
        "interval": f"{_STEP_SECONDS}s",
        "input_series": [{"series": name, "values": values} for name, values in series],
        "promql_expr_test": [
            {
                "expr": f'(count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0) or vector(0)',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        ],
    }
    with _folder_with(rules) as folder:
        # JSON is YAML, too.
        tests = {"rule_files": ["rules.yml"], "evaluation_interval": f"{_STEP_SECONDS}s", "tests": [case]}
        (folder / "tests.yml").write_text(json.dumps(tests), encoding="utf-8")
        done = _promtool("test", "rules", "tests.yml", folder=str(folder))
    if done.returncode != 0 and "got: {} 0E+00" not in done.stdout + done.stderr:
        raise Miss(f"promtool can't run the rules: {' '.join((done.stdout + done.stderr).split())}")
    return done.returncode == 0


# --- a real server


def answers(history: Mapping[str, tuple[float, float]], minutes: int, queries: Iterable[str]) -> dict[str, Any]:
    """
    Return what a Prometheus answers to queries at the end of a history.

    Args:
        history: By series, the first value and what is added each second.
        minutes: How long it goes on.
        queries: PromQL.

    Returns:
        By query, a list of `{"metric": labels, "value": number}`, or the error as text.

    Raises:
        Miss: The program is missing, or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-lab-") as folder:
        lines = [
            f"{name} {first + second * each} {_BEGIN + second}"
            for name, (first, each) in history.items()
            for second in range(0, 60 * minutes + 1, _STEP_SECONDS)
        ]
        Path(folder, "history.txt").write_text("\n".join([*lines, "# EOF\n"]), encoding="utf-8")
        done = _promtool("tsdb", "create-blocks-from", "openmetrics", "history.txt", "series", folder=folder)
        if done.returncode != 0:
            raise Miss(f"promtool can't write the history: {done.stderr}")
        Path(folder, "empty.yml").write_text("scrape_configs: []\n", encoding="utf-8")
        with _running(folder) as url:
            at = _BEGIN + 60 * minutes
            return {query: _answer(f"{url}/api/v1/query?{_encoded(query=query, time=at)}") for query in queries}


@contextlib.contextmanager
def _running(folder: str) -> Iterator[str]:
    with Path(folder, "prometheus.log").open("wb") as log:
        for _ in range(_STARTS):
            address = f"127.0.0.1:{_free_port()}"
            command = [
                _program("prometheus"),
                "--config.file=empty.yml",
                "--storage.tsdb.path=series",
                "--storage.tsdb.retention.time=100y",
                "--query.timeout=20s",
                "--query.max-samples=1000000",
                f"--web.listen-address={address}",
            ]
            with subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server:  # noqa: S603 - fixed
                try:
                    if _became_ready(server, f"http://{address}/-/ready"):
                        yield f"http://{address}"
                        return
                finally:
                    server.kill()  # nothing in its folder is needed any more
    raise Miss("this can't be graded here: Prometheus did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _became_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        if _is_ready(url):
            return True
        time.sleep(0.05)
    return False


def _is_ready(url: str) -> bool:
    try:
        _fetched(url)
    except OSError:
        return False
    return True


def _answer(url: str) -> Any:
    try:
        found = json.loads(_fetched(url))["data"]["result"]
    except urllib.error.HTTPError as err:
        return str(json.loads(err.read(_ANSWER_BYTES)).get("error", err))
    if not isinstance(found, list) or (found and not isinstance(found[0], dict)):
        return "the query gives no series"
    return [{"metric": one["metric"], "value": float(one["value"][1])} for one in found]


def _encoded(**fields: str | float) -> str:
    return urllib.parse.urlencode(fields)


def _fetched(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        body: bytes = answer.read(_ANSWER_BYTES)
    return body


def scraped(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """
    Return what an exporter on this machine shows: by name and sorted labels, the value.

    Raises:
        Miss: Nothing answers, or what answers is not Prometheus' text format.
    """
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - only this needs it

    try:
        text = _fetched(f"http://127.0.0.1:{port}/metrics").decode()
        families = list(text_string_to_metric_families(text))
    except OSError as err:
        raise Miss(f"http://127.0.0.1:PORT/metrics does not answer: {err}") from None
    except ValueError:
        raise Miss("what the exporter answers can't be parsed") from None
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
