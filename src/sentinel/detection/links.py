"""Which users, sessions and addresses belong together: those that one event carries, hour by hour (decisions, H4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, KeysView
from typing import Final

from sentinel.detection.sigma.fields import getter
from sentinel.model import Event, Micros, StoredEvent, SubjectType

__all__ = ["HOUR", "Link", "Links", "Node"]

Node = tuple[SubjectType, str]
Link = tuple[Node, Node, int]
"""Two subjects, the smaller first, and the hour since 1970 in which an event carried both."""

HOUR: Final[Micros] = 3600 * 1_000_000
_MOST = 200_000  # links in memory, some 30 MB; beyond, the oldest hours go
_NEIGHBOURS = 256  # of one subject in an hour
_network = getter("ip_network")


class Links:
    """The links of late hours, in memory."""

    def __init__(self) -> None:
        self._seen: dict[int, set[tuple[str | None, str | None, str | None]]] = {}
        self._hours: dict[int, dict[Node, set[Node]]] = {}
        self._size = 0

    def add(self, events: Iterable[StoredEvent]) -> list[Link]:
        """Take in events; returns the links that are new."""
        fresh: list[Link] = []
        for stored in events:
            event = stored.event
            carried = (event.user_id, event.session_id, event.ip_address)
            hour = stored.at // HOUR
            seen = self._seen.get(hour)
            if seen is None:
                seen = self._seen[hour] = set()
            elif carried in seen:
                continue
            seen.add(carried)
            fresh += self._connect(_nodes(event), hour)
        while self._size > _MOST and len(self._hours) > 1:
            self._forget(min(self._hours))
        return fresh

    def _connect(self, nodes: list[Node], hour: int) -> Iterable[Link]:
        neighbours = self._hours.setdefault(hour, defaultdict(set))
        for number, one in enumerate(nodes):
            for other in nodes[number + 1 :]:
                if other in neighbours[one] or len(neighbours[one]) >= _NEIGHBOURS <= len(neighbours[other]):
                    continue
                neighbours[one].add(other)
                neighbours[other].add(one)
                self._size += 1
                yield _link(one, other, hour)

    def _forget(self, hour: int) -> None:
        self._size -= sum(map(len, self._hours.pop(hour).values())) // 2
        self._seen.pop(hour, None)

    def merge(self, links: Iterable[Link]) -> None:
        """Take in links that are known from elsewhere."""
        for one, other, hour in links:
            neighbours = self._hours.setdefault(hour, defaultdict(set))
            if other not in neighbours[one]:
                neighbours[one].add(other)
                neighbours[other].add(one)
                self._size += 1

    def of(self, nodes: Iterable[Node], hours: range, among: KeysView[Node]) -> set[Link]:
        """Return the links of some subjects to some others in these hours."""
        wanted = set(nodes)
        found: set[Link] = set()
        for hour in self._hours.keys() & hours:
            neighbours = self._hours[hour]
            for node in wanted & neighbours.keys():
                found |= {_link(node, other, hour) for other in neighbours[node] & among}
        return found

    def all_of(self, nodes: Iterable[Node]) -> set[Link]:
        """Return all links of some subjects."""
        wanted = set(nodes)
        return {
            _link(node, other, hour)
            for hour, neighbours in self._hours.items()
            for node in wanted & neighbours.keys()
            for other in neighbours[node]
        }


def _nodes(event: Event) -> list[Node]:
    told = (
        (SubjectType.USER, event.user_id),
        (SubjectType.SESSION, event.session_id),
        (SubjectType.IP, event.ip_address),
        (SubjectType.NETWORK, _network(event) if event.ip_address else None),
    )
    return [(kind, name) for kind, name in told if isinstance(name, str)]


def _link(one: Node, other: Node, hour: int) -> Link:
    return (one, other, hour) if one < other else (other, one, hour)
