"""A sender that keeps what was not acknowledged, and remembers what it was promised."""

from __future__ import annotations

import json
import random
import threading
from typing import Any, Self

import httpx
from tests.support.service import S, Service
from tests.support.traffic import Traffic

__all__ = ["Sender"]


class Sender:
    """
    Sends batches of random size from a thread until it is told to stop; what was not acknowledged is sent again.

    `owed` holds, by id, every event that a 202 was seen for, `offered` every event that was ever sent.
    """

    def __init__(self, service: Service, seed: int, *, largest: int = 300, pause: float = 0.02) -> None:
        self.offered: dict[str, dict[str, Any]] = {}
        self.owed: dict[str, dict[str, Any]] = {}
        self.duplicates = 0
        self.cut_off = 0
        self.refusals: list[httpx.Response] = []
        self.in_flight = threading.Event()
        self._service = service
        self._client = service.client(service.ingest_token())
        self._traffic = Traffic(seed)
        self._dice = random.Random(seed)
        self._largest = largest
        self._pause = pause
        self._stopping = threading.Event()
        self._broken: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sender")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._broken is not None and kind is None:
            raise self._broken

    def wait_for(self, owed: int, seconds: float = 60) -> None:
        """Return once so many events are acknowledged."""
        for _ in range(round(seconds * 20)):
            if len(self.owed) >= owed or not self._thread.is_alive():
                break
            self._stopping.wait(0.05)
        assert len(self.owed) >= owed, f"only {len(self.owed)} events were acknowledged"

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                batch = self._traffic.batch(round(self._largest ** self._dice.random()))
                self._deliver(batch)
                if self._dice.random() < 0.05:  # an answer that got lost on its way: the sender can't know
                    self._deliver(batch)
                self._stopping.wait(self._dice.uniform(0, self._pause))
        except BaseException as err:  # noqa: BLE001 - a thread's failure must reach the test
            self._broken = err

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        self.offered.update((event["event_id"], event) for event in batch)
        while not self._stopping.is_set() and not self.send(batch):
            self._stopping.wait(0.1)

    def send(self, batch: list[dict[str, Any]]) -> bool:
        """Send events once; returns whether they are acknowledged."""
        body = "\n".join(map(json.dumps, batch))
        headers = {"Content-Type": "application/x-ndjson"}
        self.in_flight.set()
        try:
            answer = self._client.post(f"{self._service.url}{S}/events", content=body, headers=headers)
        except httpx.TransportError:
            self.cut_off += 1
            return False
        finally:
            self.in_flight.clear()
        if answer.status_code in {429, 503}:
            self.refusals.append(answer)
            return False
        self._note(answer, batch)
        return True

    def _note(self, answer: httpx.Response, batch: list[dict[str, Any]]) -> None:
        assert answer.status_code == 202, answer.text
        receipt = answer.json()
        assert receipt["accepted"] + receipt["duplicates"] == len(batch), receipt
        assert receipt["late"] == 0, receipt
        self.duplicates += receipt["duplicates"]
        self.owed.update((event["event_id"], event) for event in batch)
