"""
Baselines of many users: `python benchmarks/entities.py [--users 200000] [--hours 96] [--json]`. A million takes long.

A log in which each user has one event, spread over so many hours, is given to a running service by `sentinel ingest`:
the worst case for what is remembered of each. Beside it somebody else sends one event after the other and waits until
each is judged.

seconds        From the start of the command to its end, when all days have closed and are learnt.
cpu_seconds    Of the service in that time.
peak_rss_mb    Of the service, and how much it had when a quarter, a half and three quarters of the events were judged.
longest_wait   Until an event of the other sender was judged, accepted within the import or at its end.
longest_pause  The longest time in which nothing was judged although something waited.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from service import NDJSON, PROGRAMS, Client, S, Service, now_text, service

USERS = 200_000
HOURS = 96
LOOK_SECONDS = 0.1


def log_lines(users: int, hours: int) -> Iterator[str]:
    """Yield one access to data for each user, as NDJSON."""
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=hours + 48)
    step = timedelta(hours=hours) / users
    for number in range(users):
        event = {
            "event_type": "data_access",
            "severity": "low",
            "timestamp": (begin + number * step).isoformat(),
            "user_id": f"user-{number}",
            "service_name": "api",
            "details": {"table_name": "orders", "row_count": 20 + number * 7919 % 180, "access_type": "select"},
        }
        yield json.dumps(event) + "\n"


class Watch:
    """Looks at a service from outside until it is told to stop."""

    def __init__(self, running: Service) -> None:
        self._running = running
        self._token = (running.data / "token").read_text().strip()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._look), threading.Thread(target=self._send)]
        self.longest_pause = 0.0
        self.longest_wait = 0.0
        self.seen: list[tuple[float, int, int]] = []
        """Seconds, events judged and memory in MB, one after the other."""
        self.sent = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        begin = moved = time.monotonic()
        before = -1
        with Client(self._running.port, self._token) as client:
            while not self._over.wait(LOOK_SECONDS):
                queue = json.loads(client.ask("GET", f"{S}/health")[1])["queue"]
                now, judged = time.monotonic(), queue["processed_seq"]
                if judged != before or judged == queue["accepted_seq"]:
                    before, moved = judged, now
                self.longest_pause = max(self.longest_pause, now - moved)
                self.seen.append((now - begin, judged, self._running.rss_mb()))

    def _send(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with Client(self._running.port, self._token) as client:  # a kept one would be closed while it waits
                event = {"event_type": "data_access", "severity": "low", "timestamp": now_text(), "user_id": "somebody"}
                begin = time.monotonic()
                client.ask("POST", f"{S}/events", json.dumps(event).encode(), Content_Type=NDJSON)
                self._running.wait_until_judged()
                self.longest_wait = max(self.longest_wait, time.monotonic() - begin)
                self.sent += 1


def measure(users: int = USERS, hours: int = HOURS) -> dict[str, Any]:
    """Return what an import of so many users takes; see above."""
    with service() as running:
        log = running.data.parent / "log.ndjson"
        with log.open("w", encoding="utf-8") as lines:
            lines.writelines(log_lines(users, hours))
        command = [PROGRAMS / "sentinel", "ingest", log, "--format", "json", "--data-dir", running.data, "--json"]
        with Watch(running) as watch:
            begin, before = time.monotonic(), running.cpu_seconds()
            told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            seconds, worked = time.monotonic() - begin, running.cpu_seconds() - before
        store = sum(path.stat().st_size for path in running.data.glob("*.db*"))
        at = {part: next((mb for _, judged, mb in watch.seen if judged >= users * part / 4), 0) for part in (1, 2, 3)}
        return {
            "users": users,
            "hours": hours,
            "events": told["events"],
            "anomalies": len(told["anomalies"]),
            "seconds": round(seconds, 1),
            "cpu_seconds": round(worked, 1),
            "peak_rss_mb": running.peak_rss_mb(),
            "rss_mb_at_start_and_quarters": [watch.seen[0][2], *at.values()],
            "longest_pause_s": round(watch.longest_pause, 2),
            "longest_wait_s": round(watch.longest_wait, 2),
            "others": watch.sent,
            "store_mb": store >> 20,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.users, arguments.hours)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
