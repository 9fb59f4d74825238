"""
Measure a running service, as its users meet it: `python benchmarks/service.py [--seconds 60] [--json]`.

idle       What a service takes that has just started, and how many series it shows Prometheus.
reaction   The tenth failed login of a fresh address is posted while another thread keeps asking a web application with
           our middleware in that address's name. Time from the start of the post to the end of the first refusal.
steady     The same while another process sends 2,000 mixed events a second, whatever the answers take. Beside it the
           time from the answer to the tenth login, which says that it is durable, until the block that its signal led
           to reaches an enforcement point.
http       NDJSON batches of 500 events over four connections; each is answered when it is durable. Thirty in a hundred
           events match a rule. The clock stops when all of them are judged too.
sshd       `sentinel ingest` on a generated log, from the start of the command to its end, and the store that it leaves.

Everything runs on this machine, so clients and servers share its cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Self

from mixed_events import make_event

from sentinel.ingest.events import encode

PROGRAMS = Path(sys.executable).parent
EXAMPLES = Path(__file__).parents[1] / "examples"
S = "/api/v1/security"
NDJSON = "application/x-ndjson"
ADDRESSES = 60
RATE = 2_000
STEP = 20
"""Events in each request of the steady load."""
BATCH = 500
CONNECTIONS = 4
HTTP_SECONDS = 60.0
BODIES = 40
LOG_LINES = 200_000
PATIENCE_SECONDS = 60.0


class Client:
    """One kept connection to a server on this machine."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Return status and body of one request; underscores in header names stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, self._headers | named)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def send(self, body: bytes) -> int:
        return self.ask("POST", f"{S}/events", body, Content_Type=NDJSON)[0]


class Service:
    """A running `sentinel serve` on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        published = json.loads((self.data / "service.json").read_text())
        self.pid = int(published["pid"])
        self.port = int(published["url"].rpartition(":")[2])

    def token(self, *options: str) -> str:
        command = [PROGRAMS / "sentinel", "token", "create", "--data-dir", self.data, *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def wait_until_judged(self) -> None:
        """Return when all that was accepted before the call has been judged."""
        wanted = 0
        with Client(self.port, (self.data / "token").read_text().strip()) as client:
            while True:
                queue = json.loads(client.ask("GET", f"{S}/health")[1])["queue"]
                wanted = wanted or queue["accepted_seq"]
                if queue["processed_seq"] >= wanted:
                    return
                time.sleep(0.02)

    def peak_rss_mb(self) -> int:
        return self._memory_mb("VmHWM")

    def rss_mb(self) -> int:
        return self._memory_mb("VmRSS")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _memory_mb(self, what: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) // 1024 for line in lines if line.startswith(what))


@contextmanager
def started(*command: str | Path, port: int | None = None, until: Path | None = None) -> Iterator[None]:
    """Run a server until the block ends; the block starts when the port answers or the file is there."""
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not (until.exists() if until else answers(port)):
                if process.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended with exit code {process.returncode}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def answers(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = folder / "data" / "service.json"
        command = (PROGRAMS / "sentinel", "serve", "--port", "0", "--data-dir", folder / "data")
        with started(*command, until=address):
            yield Service(folder)


def percentiles(values: list[float], digits: int = 1) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {f"p{share}_ms": round(cuts[share - 1] * 1000, digits) for share in (50, 90, 99)}


def now_text() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


# --- idle


def idle(running: Service) -> dict[str, Any]:
    used = running.rss_mb()
    with Client(running.port, running.token("--role", "scraper")) as client:
        lines = client.ask("GET", "/metrics")[1].splitlines()
    return {"rss_mb": used, "series": sum(not line.startswith(b"#") for line in lines)}


# --- reaction


def failed_logins(address: str, count: int) -> bytes:
    event = {
        "event_type": "authentication",
        "severity": "low",
        "timestamp": now_text(),
        "ip_address": address,
        "user_id": "grace",
        "details": {"success": False, "operation": "login"},
    }
    return b"\n".join([json.dumps(event).encode()] * count)


def ask_until_refused(port: int, address: str, let_in: threading.Event) -> float:
    """Return when the first refusal had been read."""
    with Client(port) as client:
        while True:
            status, _ = client.ask("GET", "/", X_Forwarded_For=address)
            if status == 403:
                return time.perf_counter()
            let_in.set()


class Moments(NamedTuple):
    """When the tenth failed login of an address was sent, durable, and held against it."""

    sent: float
    accepted: float
    refused: float


def reaction_to(address: str, sender: Client, running: Service, demo_port: int) -> Moments:
    sender.send(failed_logins(address, 9))
    running.wait_until_judged()
    let_in = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(ask_until_refused, demo_port, address, let_in)
        let_in.wait()
        sent = time.perf_counter()
        sender.send(failed_logins(address, 1))
        return Moments(sent, time.perf_counter(), refused.result())


def enforcer_token(running: Service) -> Path:
    path = running.data.parent / "enforcer.token"
    path.write_text(running.token("--role", "enforcer"))
    return path


@contextmanager
def protected_application(running: Service) -> Iterator[int]:
    """Run the example application with our middleware; gives its port."""
    port = free_port()
    token = enforcer_token(running)
    command = (
        *("env", f"SENTINEL_URL=http://127.0.0.1:{running.port}", f"SENTINEL_TOKEN_FILE={token}"),
        *(PROGRAMS / "uvicorn", "--app-dir", EXAMPLES, "--port", str(port), "demo_app:app"),
    )
    with started(*command, port=port):
        yield port


def reactions(running: Service, network: str) -> dict[str, Moments]:
    token = running.token("--role", "ingest", "--may-cause-actions")
    with protected_application(running) as port, Client(running.port, token) as sender:
        addresses = [f"{network}.{number}" for number in range(1, ADDRESSES + 1)]
        return {address: reaction_to(address, sender, running, port) for address in addresses}


def reaction(running: Service) -> dict[str, Any]:
    took = [moments.refused - moments.sent for moments in reactions(running, "198.18.0").values()]
    return {"addresses": ADDRESSES, **percentiles(took), "longest_ms": round(max(took) * 1000, 1)}


# --- steady


def send_steadily(port: int, token: str, told: Connection) -> None:
    """Send events at the rate, until told to stop; tells then how many a second were sent, and the longest delay."""
    marked, sent, late = bodies(STEP), 0, 0.0
    told.send("begins")
    start = time.perf_counter()
    with Client(port, token) as client:
        while not told.poll(max(0.0, start + sent / RATE - time.perf_counter())):
            late = max(late, time.perf_counter() - start - sent / RATE)
            status = client.send(unmarked(marked[sent // STEP % len(marked)], f"s{sent}"))
            if status != 202:
                raise RuntimeError(f"the service answered {status}")
            sent += STEP
    told.send((round(sent / (time.perf_counter() - start)), round(late * 1000, 1)))


@contextmanager
def steady_load(running: Service) -> Iterator[dict[str, Any]]:
    """Send while the block runs; what became of it is in the dictionary afterwards."""
    ours, theirs = multiprocessing.Pipe()
    figures: dict[str, Any] = {}
    arguments = (running.port, running.token("--role", "ingest"), theirs)
    process = multiprocessing.get_context("spawn").Process(target=send_steadily, args=arguments, daemon=True)
    process.start()
    ours.recv()
    try:
        yield figures
    finally:
        ours.send("stop")
        figures["sent_per_second"], figures["longest_delay_ms"] = ours.recv()
        process.join()


def follow(running: Service, arrived: dict[str, float], stopped: threading.Event) -> None:
    """Note when the block on each address arrives, as an enforcement point does."""
    since = 0
    with Client(running.port, (running.data.parent / "enforcer.token").read_text()) as client:
        while not stopped.is_set():
            news = json.loads(client.ask("GET", f"{S}/decisions?since={since}&wait=1&node=benchmark")[1])
            now, since = time.perf_counter(), news["seq"]
            for item in news["items"]:
                arrived.setdefault(item["target"].removeprefix("ip:"), now)


def steady(running: Service) -> dict[str, Any]:
    arrived: dict[str, float] = {}
    stopped = threading.Event()
    enforcer_token(running)
    with ThreadPoolExecutor(1) as pool, steady_load(running) as load:
        following = pool.submit(follow, running, arrived, stopped)
        moments = reactions(running, "198.18.1")
        stopped.set()
        following.result()
    refused = [at.refused - at.sent for at in moments.values()]
    told = [max(0.0, arrived[address] - at.accepted) for address, at in moments.items()]
    return {
        "addresses": ADDRESSES,
        "rate": RATE,
        **load,
        **{f"refused_{name}": value for name, value in percentiles(refused).items()},
        **{f"signal_{name}": value for name, value in percentiles(told).items()},
    }


# --- http


def bodies(size: int) -> list[str]:
    """Return batches with marks in place of what must be new at each sending: id and time."""
    dice = random.Random(1)
    return [
        "\n".join(
            json.dumps(
                json.loads(encode(make_event(dice, seq + 1).event)) | {"event_id": f"@ID-{seq}", "timestamp": "@T"}
            )
            for seq in range(size)
        )
        for _ in range(BODIES)
    ]


def unmarked(text: str, name: str) -> bytes:
    return text.replace("@ID", name).replace("@T", now_text()).encode()


def send_for(seconds: float, port: int, token: str, marked: list[str], name: str) -> tuple[list[float], int]:
    """Return the seconds that each accepted batch took, and how often the service asked to wait."""
    took: list[float] = []
    waits = 0
    end = time.perf_counter() + seconds
    with Client(port, token) as client:
        while (start := time.perf_counter()) < end:
            status = client.send(unmarked(marked[len(took) % len(marked)], f"{name}-{len(took)}"))
            if status == 202:
                took.append(time.perf_counter() - start)
            elif status == 429:
                waits += 1
                time.sleep(1)
            else:
                raise RuntimeError(f"the service answered {status}")
    return took, waits


def http_ingest(running: Service, seconds: float) -> dict[str, Any]:
    token, marked = running.token("--role", "ingest", "--may-cause-actions"), bodies(BATCH)
    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        runs = [
            pool.submit(send_for, seconds, running.port, token, marked, f"c{number}") for number in range(CONNECTIONS)
        ]
        parts = [run.result() for run in runs]
    accepted_seconds = time.perf_counter() - start
    running.wait_until_judged()
    judged_seconds = time.perf_counter() - start
    took = [seconds for part, _ in parts for seconds in part]
    events = len(took) * BATCH
    return {
        "events": events,
        "seconds": seconds,
        "batch": BATCH,
        "connections": CONNECTIONS,
        "accepted_per_second": round(events / accepted_seconds),
        "judged_per_second": round(events / judged_seconds),
        "waits": sum(waits for _, waits in parts),
        "peak_rss_mb": running.peak_rss_mb(),
        **percentiles(took),
    }


# --- sshd


def log_lines() -> Iterator[str]:
    """Yield an sshd log in order of time: a third failures, a third successes, a third that says nothing new."""
    dice = random.Random(2)
    at = datetime.now(UTC) - timedelta(seconds=LOG_LINES / 10)
    for number in range(LOG_LINES):
        at += timedelta(seconds=0.1)
        start = f"{at:%b %e %H:%M:%S} gate sshd[{1000 + number % 30000}]: "
        address = f"198.51.{dice.randrange(256)}.{dice.randrange(1, 255)}"
        yield start + dice.choice(
            (
                f"Failed password for user{dice.randrange(500)} from {address} port 4022 ssh2",
                f"Accepted publickey for user{dice.randrange(500)} from {address} port 4022 ssh2: RSA SHA256:abc",
                f"Connection closed by {address} port 4022 [preauth]",
            )
        )


def sshd(folder: Path) -> dict[str, Any]:
    log = folder / "auth.log"
    log.write_text("\n".join(log_lines()) + "\n")
    command = [PROGRAMS / "sentinel", "ingest", log, "--format", "sshd", "--json", "--data-dir", folder / "imported"]
    start = time.perf_counter()
    summary = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    seconds = time.perf_counter() - start
    return {
        "lines": summary["lines"],
        "events": summary["events"],
        "lines_per_second": round(summary["lines"] / seconds),
        "events_per_second": round(summary["events"] / seconds),
        "peak_rss_mb": summary["peak_rss_mb"],
        "store_bytes": (folder / "imported" / "sentinel.db").stat().st_size,
    }


def measure(seconds: float, fresh: Callable[[], AbstractContextManager[Service]] = service) -> dict[str, Any]:
    """Return the figures of each part, each on a service of its own if `fresh` gives one."""
    with fresh() as running:
        idle_figures = idle(running)
        reacted = reaction(running)
    with fresh() as running:
        under_load = steady(running)
    with fresh() as running:
        over_http = http_ingest(running, seconds)
    with tempfile.TemporaryDirectory() as name:
        rest = {"http": over_http, "sshd": sshd(Path(name))}
    return {"idle": idle_figures, "reaction": reacted, "steady": under_load, **rest}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a running service.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=HTTP_SECONDS, help="how long `http` sends")
    options = parser.parse_args()
    figures = measure(options.seconds)
    if options.json:
        print(json.dumps(figures))
        return
    for name, values in figures.items():
        print(name, ", ".join(f"{key} {value:,}" for key, value in values.items()))


if __name__ == "__main__":
    main()
