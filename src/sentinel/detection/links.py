"""Which users, sessions and addresses belong together: those that one event carries, hour by hour (decisions, H4)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, KeysView
from typing import Final

from sentinel.detection.sigma.fields import getter
from sentinel.model import Event, Micros, StoredEvent, SubjectType

__all__ = ["HOUR", "Link", "Links", "Node", "link"]

Node = tuple[SubjectType, str]
Link = tuple[Node, Node, int]
"""Two subjects, the smaller first, and the hour since 1970 in which an event carried both."""

HOUR: Final[Micros] = 3600 * 1_000_000
_MOST = 200_000  # links in memory, 75 to 105 MB; beyond, those that join nobody with signals go, the oldest first
_GROWN = 1.2  # by how much they must have grown for the next try
_NEIGHBOURS = 256  # of one subject in an hour
_FEW = 8  # of which a tuple is as quick as a set, and a quarter of its size
_HOURS_AT_HAND = 3  # of which it is known what was seen, so that it need not be looked at again
_NOBODY: Final[dict[Node, Collection[Node]]] = {}
_network = getter("ip_network")


class Links:
    """The links of late hours, in memory."""

    def __init__(self) -> None:
        self._seen: dict[int, set[tuple[str | None, str | None, str | None]]] = {}
        self._hours: dict[int, dict[Node, Collection[Node]]] = {}
        self._known: dict[Node, Node] = {}
        """Each subject once: whatever is kept of it here shares it, and its name."""
        self.size = 0
        """How many there are."""
        self._allowed = _MOST

    def add(self, events: Iterable[StoredEvent]) -> list[Link]:
        """Take in events; returns the links that are new."""
        fresh: list[Link] = []
        for stored in events:
            event = stored.event
            carried = (event.user_id, event.session_id, event.ip_address)
            hour = stored.at // HOUR
            if carried in self._seen.get(hour, ()):
                continue
            nodes = _nodes(event)
            if len(nodes) == 1:  # it joins nobody, and who comes alone must not be remembered without end
                continue
            nodes = [self._known.setdefault(node, node) for node in nodes]
            names: dict[str | None, str] = {name: name for _, name in nodes}
            seen = self._seen.setdefault(hour, set())
            if len(self._seen) > _HOURS_AT_HAND:
                del self._seen[min(self._seen)]
            seen.add((names.get(event.user_id), names.get(event.session_id), names.get(event.ip_address)))
            fresh += self._connect(nodes, hour)
        return fresh

    def _connect(self, nodes: list[Node], hour: int) -> Iterable[Link]:
        neighbours = self._hours.setdefault(hour, {})
        for number, one in enumerate(nodes):
            for other in nodes[number + 1 :]:
                mine, theirs = neighbours.get(one, ()), neighbours.get(other, ())
                if other in mine or len(mine) >= _NEIGHBOURS <= len(theirs):
                    continue
                neighbours[one], neighbours[other] = _with(mine, other), _with(theirs, one)
                self.size += 1
                yield link(one, other, hour)

    def shrink(self, among: KeysView[Node]) -> None:
        """Let go of links that do not join two of these, while there are too many; and in the end of whole hours."""
        if self.size <= self._allowed:
            return
        for hour in sorted(self._hours):
            if self.size > _MOST:
                self._keep(hour, among)
        for hour in sorted(self._hours):
            if self.size > 2 * _MOST:
                self._keep(hour, {}.keys())
        self._known = {node: node for neighbours in self._hours.values() for node in neighbours}
        self._allowed = max(_MOST, round(_GROWN * self.size))

    def _keep(self, hour: int, among: KeysView[Node]) -> None:
        before = self._hours.pop(hour)
        self._seen.pop(hour, None)
        kept = {node: both for node in before.keys() & among if (both := _among(before[node], among))}
        if kept:
            self._hours[hour] = kept
        self.size -= (sum(map(len, before.values())) - sum(map(len, kept.values()))) // 2

    def merge(self, links: Iterable[Link]) -> None:
        """Take in links that are known from elsewhere."""
        for first, second, hour in links:
            neighbours = self._hours.setdefault(hour, {})
            one, other = (self._known.setdefault(node, node) for node in (first, second))
            mine, theirs = neighbours.get(one, ()), neighbours.get(other, ())
            if other not in mine:
                neighbours[one], neighbours[other] = _with(mine, other), _with(theirs, one)
                self.size += 1

    def of(self, nodes: Iterable[Node], hours: range, among: KeysView[Node]) -> set[Link]:
        """Return the links of some subjects to some others in these hours."""
        wanted = set(nodes)
        found: set[Link] = set()
        for hour in self._hours.keys() & hours:
            neighbours = self._hours[hour]
            for node in wanted & neighbours.keys():
                found |= {link(node, other, hour) for other in _among(neighbours[node], among)}
        return found

    def beside(self, node: Node, hour: int, among: KeysView[Node]) -> Collection[Node]:
        """Return those of some others that an event of an hour carried together with a subject."""
        return _among(self._hours.get(hour, _NOBODY).get(node, ()), among)

    def all_of(self, nodes: Iterable[Node]) -> set[Link]:
        """Return all links of some subjects."""
        wanted = set(nodes)
        return {
            link(node, other, hour)
            for hour, neighbours in self._hours.items()
            for node in wanted & neighbours.keys()
            for other in neighbours[node]
        }


def _with(some: Collection[Node], one: Node) -> Collection[Node]:
    """Return a node's neighbours and one more; it may be the same set, grown."""
    if isinstance(some, set):
        some.add(one)
        return some
    return (*some, one) if len(some) < _FEW else {*some, one}


def _among(some: Collection[Node], others: KeysView[Node]) -> Collection[Node]:
    return tuple(node for node in some if node in others)


def _nodes(event: Event) -> list[Node]:
    told = (
        (SubjectType.USER, event.user_id),
        (SubjectType.SESSION, event.session_id),
        (SubjectType.IP, event.ip_address),
        (SubjectType.NETWORK, _network(event) if event.ip_address else None),
    )
    return [(kind, name) for kind, name in told if isinstance(name, str)]


def link(one: Node, other: Node, hour: int) -> Link:
    """Return the link between two subjects, whichever is named first."""
    return (one, other, hour) if one < other else (other, one, hour)
