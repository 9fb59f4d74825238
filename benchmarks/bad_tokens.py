"""
Measure what bad tokens cost those who have good ones: `python benchmarks/bad_tokens.py [--rate 5000] [--pairs 5]`.

A client asks the service 200 times a second whether an address is blocked. In every second part another process sends
requests with junk for a token, evenly or in bursts. Told is the ratio of the two p99 for each pair of parts, and what
one refusal costs the service in processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import secrets
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

from service import Client, S, Service, service

GOOD_RATE = 200
PART_SECONDS = 5.0
CONNECTIONS = 8


def request(path: str) -> bytes:
    junk = f"sntl_admin_{secrets.token_urlsafe(40)[:38]}"
    return f"GET {S}{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {junk}\r\n\r\n".encode()


class _Junk(asyncio.Protocol):
    """One kept connection; counts the answers."""

    answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        _Junk.answers += data.count(b"HTTP/1.1 401")


async def flood(port: int, rate: int, burst: int, told: Connection) -> None:
    """Send so many a second, `burst` at a time, until told to stop; tells how many were sent and refused."""
    loop = asyncio.get_running_loop()
    senders = [(await loop.create_connection(_Junk, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    junk = [request("/check-ip/203.0.113.9") for _ in range(997)]
    told.send("begins")
    start, sent = time.perf_counter(), 0
    while not told.poll():
        due = int((time.perf_counter() - start) * rate) // burst * burst
        while sent < due:
            senders[sent % CONNECTIONS].transport.write(junk[sent % len(junk)])
            sent += 1
        await asyncio.sleep(0.001)
    seconds = time.perf_counter() - start
    await asyncio.sleep(0.3)
    told.send((round(sent / seconds), round(_Junk.answers / seconds)))


def flooding(port: int, rate: int, burst: int, told: Connection) -> None:
    asyncio.run(flood(port, rate, burst, told))


def good_latencies(client: Client, seconds: float) -> list[float]:
    """Return how long each answer took, from the moment when it was due to be asked for."""
    took = []
    start = time.perf_counter()
    for number in range(round(seconds * GOOD_RATE)):
        due = start + number / GOOD_RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        status, _ = client.ask("GET", f"{S}/check-ip/203.0.113.9")
        if status != 200:
            raise RuntimeError(f"the service answered {status}")
        took.append(time.perf_counter() - due)
    return took


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100, method="inclusive")[98] * 1000


def pair(running: Service, client: Client, rate: int, burst: int) -> dict[str, float]:
    before = running.cpu_seconds()
    calm = good_latencies(client, PART_SECONDS)
    idle = running.cpu_seconds() - before
    ours, theirs = multiprocessing.Pipe()
    arguments = (running.port, rate, burst, theirs)
    process = multiprocessing.get_context("spawn").Process(target=flooding, args=arguments, daemon=True)
    process.start()
    ours.recv()
    before = running.cpu_seconds()
    strained = good_latencies(client, PART_SECONDS)
    used = running.cpu_seconds() - before
    ours.send("stop")
    sent, refused = ours.recv()
    process.join()
    return {
        "calm_p99_ms": round(p99(calm), 2),
        "flooded_p99_ms": round(p99(strained), 2),
        "ratio": round(p99(strained) / p99(calm), 2),
        "sent_per_second": sent,
        "refused_per_second": refused,
        "us_cpu_per_refusal": round((used - idle) / PART_SECONDS / max(refused, 1) * 1e6, 1),
    }


def measure(rate: int = 5_000, pairs: int = 5, burst: int = 5) -> dict[str, Any]:
    with service() as running:
        token = running.token("--role", "enforcer")
        with Client(running.port, token) as client:
            good_latencies(client, 1.0)
            found = [pair(running, client, rate, burst) for _ in range(pairs)]
    return {
        "rate": rate,
        "good_rate": GOOD_RATE,
        "burst": burst,
        "median_ratio": statistics.median(one["ratio"] for one in found),
        "us_cpu_per_refusal": statistics.median(one["us_cpu_per_refusal"] for one in found),
        "pairs": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what bad tokens cost the others.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rate", type=int, default=5_000, help="bad tokens a second")
    parser.add_argument("--pairs", type=int, default=5, help="how often")
    parser.add_argument("--burst", type=int, default=5, help="how many at once")
    options = parser.parse_args()
    figures = measure(options.rate, options.pairs, options.burst)
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{options.rate}/s, {options.burst} at once: median ratio {figures['median_ratio']}")
    for one in figures["pairs"]:
        print("  ", ", ".join(f"{key} {value:,}" for key, value in one.items()))


if __name__ == "__main__":
    main()
