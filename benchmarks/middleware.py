"""
How long the question "is this address blocked?" takes with 100,000 blocks in force, and what they cost in memory.

    python benchmarks/middleware.py [--json]

"known" addresses were asked before (a client sends many requests), "new" ones are seen for the first time.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import islice

from sentinel.enforcement import Block, Snapshot
from sentinel.enforcement.feed import now_micros
from sentinel.model import ActionStatus, Severity

BLOCKS = 100_000
CHECKS = 100_000
KNOWN_ADDRESSES = 5_000


def targets(chance: random.Random) -> Iterator[str]:
    """A mixture: 60 % IPv4 addresses, 20 % IPv4 networks /16 to /28, 20 % IPv6 /64."""
    while True:
        kind = chance.random()
        if kind < 0.6:
            yield str(IPv4Address(chance.getrandbits(32)))
        elif kind < 0.8:
            yield str(IPv4Network((chance.getrandbits(32), chance.randint(16, 28)), strict=False))
        else:
            yield str(IPv6Network((0x2001 << 112 | chance.getrandbits(112), 64), strict=False))


def addresses(chance: random.Random) -> Iterator[str]:
    """Four of five are IPv4, as clients are."""
    while True:
        if chance.random() < 0.8:
            yield str(IPv4Address(chance.getrandbits(32)))
        else:
            yield str(IPv6Address(0x2001 << 112 | chance.getrandbits(112)))


def snapshot_of(wanted: list[str]) -> Snapshot:
    later = now_micros() + 3_600_000_000
    snapshot = Snapshot()
    blocks = (
        Block(
            id=f"act-{seq:024x}",
            seq=seq,
            action_type="ip_block",
            target=target,
            status=ActionStatus.ACTIVE,
            expires=later,
            reason="Many failed logins: 12 events from this address",
            severity=Severity.HIGH,
        )
        for seq, target in enumerate(wanted, start=1)
    )
    snapshot.apply(blocks, len(wanted), complete=True)
    return snapshot


def timed(snapshot: Snapshot, asked: list[str]) -> dict[str, float]:
    """Return p50 and p99 of single checks in microseconds; the timer itself costs about 0.05."""
    now = now_micros()
    took = []
    for address in asked:
        start = time.perf_counter_ns()
        snapshot.check(address, now)
        took.append(time.perf_counter_ns() - start)
    cuts = statistics.quantiles(took, n=100)
    return {"p50_us": round(cuts[49] / 1000, 2), "p99_us": round(cuts[98] / 1000, 2)}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure() -> dict[str, object]:
    chance = random.Random(7)
    wanted = list(islice(targets(chance), BLOCKS))
    before_mb, start = peak_mb(), time.perf_counter()
    snapshot = snapshot_of(wanted)
    apply_seconds, memory_mb = time.perf_counter() - start, peak_mb() - before_mb
    known = (
        list(islice(addresses(chance), KNOWN_ADDRESSES // 2))
        + [target for target in wanted if "/" not in target][: KNOWN_ADDRESSES // 2]
    )
    timed(snapshot, known)
    return {
        "blocks": len(snapshot),
        "apply_seconds": round(apply_seconds, 2),
        "memory_mb": round(memory_mb, 1),
        "check_known": timed(snapshot, chance.choices(known, k=CHECKS)),
        "check_new": timed(snapshot, list(islice(addresses(chance), CHECKS))),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    options.add_argument("--json", action="store_true")
    figures = measure()
    if options.parse_args().json:
        json.dump(figures, sys.stdout)
        print()
    else:
        for name, figure in figures.items():
            print(f"{name:>14}  {figure}")


if __name__ == "__main__":
    main()
