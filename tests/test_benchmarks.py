"""Tests of benchmarks/: they run, and what they find becomes rows of the page."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.encoder import write_encoder

from sentinel.scanning.classify.encoder import Encoder

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a benchmark by its name, as one that runs beside it does."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module


def small_scan(scan: ModuleType) -> object:
    scan.ROUNDS = {200: 5, 5_000: 3}
    return scan.measure()


def small_correlate(correlate: ModuleType) -> object:
    return {name: row(300) for name, row in correlate.ROWS.items()}


def small_middleware(middleware: ModuleType) -> object:
    middleware.BLOCKS, middleware.CHECKS, middleware.KNOWN_ADDRESSES = 300, 200, 50
    return middleware.measure()


def small_service(service: ModuleType) -> object:
    service.ADDRESSES, service.BODIES, service.BATCH, service.LOG_LINES = 3, 3, 50, 300
    with service.service() as running:  # one for all of its parts: starting it takes longer than they do
        return service.measure(0.3, fresh=lambda: nullcontext(running))


def small_scan_service(scan_service: ModuleType) -> object:
    assert shutil.which("wrk"), "wrk is missing: install it (apt install wrk)"
    return scan_service.measure(1)


def small_bad_tokens(bad_tokens: ModuleType) -> object:
    bad_tokens.PART_SECONDS = 0.3
    return bad_tokens.measure(rate=500, pairs=1)


def small_baselines(baselines: ModuleType) -> object:
    return baselines.measure(users=8, days=10)


def small_entities(entities: ModuleType) -> object:
    return entities.measure(users=300, hours=30)


def small_logs_peers(logs_peers: ModuleType) -> object:
    peers = logs_peers.PEERS
    logs_peers.PEERS = {name: peers[name] for name in ("sentinel", "fail2ban-regex")}
    with tempfile.TemporaryDirectory() as folder:
        return logs_peers.measure(*logs_peers.write_log(Path(folder), 2_000), runs=2)


def small_stores(stores: ModuleType) -> object:
    stores.TURNS = 1
    return stores.measure(0.3)


def small_nodes(nodes: ModuleType) -> object:
    nodes.TURNS, nodes.BLOCKS, nodes.BLOCKS_BY_PULL = 1, 3, 2
    return nodes.measure(0.3)


SMALL: dict[str, Callable[[ModuleType], object]] = {
    "scan.py": small_scan,
    "correlate.py": small_correlate,
    "middleware.py": small_middleware,
    "service.py": small_service,
    "logs_peers.py": small_logs_peers,
    "scan_service.py": small_scan_service,
    "bad_tokens.py": small_bad_tokens,
    "baselines.py": small_baselines,
    "entities.py": small_entities,
    "stores.py": small_stores,
    "nodes.py": small_nodes,
}


def test_every_benchmark_of_the_page_is_run_here(load: Callable[[str], ModuleType]) -> None:
    """A new one gets a small run below, or it may break unseen."""
    assert list(load("run_all").BENCHMARKS) == list(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_gives_the_rows_of_the_page(name: str, load: Callable[[str], ModuleType]) -> None:
    """With tiny sizes: every row has something to say in each of its cells."""
    benchmark = load(Path(name).stem)
    rows = list(load("run_all").BENCHMARKS[name](SMALL[name](benchmark)))
    del sys.modules[benchmark.__name__]  # its sizes were changed
    assert rows
    assert all(cell and "|" not in cell for row in rows for cell in row)
    assert {len(row) for row in rows} == {3}


def test_the_cost_of_second_looks_is_told(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of made-up texts and of a folder's, in which only the benign ones count."""
    encoder = Encoder.read(write_encoder(tmp_path / "encoder", band={"from": 0.0, "to": 1.0}))
    monkeypatch.setattr(Encoder, "installed", classmethod(lambda cls: encoder))
    (tmp_path / "rows.jsonl").write_text(
        '{"text": "What is a prime number?", "label": "benign"}\n{"text": "x", "label": "injection"}\n'
    )
    benchmark = load("scan")
    for folder, texts in ((None, 5), (str(tmp_path), 1)):
        figures = benchmark.second_look(folder, 5)
        assert (figures["texts"], figures["looked_twice"]) == (texts, 1.0)
        assert figures["auto_mean_ms"] > 0
