"""The judge of every way to compute signals: sort everything, apply the definition. Slow, and easy to believe."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from sentinel.detection import Rule
from sentinel.model import StoredEvent


def oracle(rule: Rule, events: Iterable[StoredEvent]) -> dict[str, tuple[int, int, int]]:
    """Return {signal id: (first, last, count)} of one rule over a set of events."""
    groups = defaultdict(set)
    for stored in events:
        if not stored.late and rule.matches(stored.event) and (group := rule.group(stored.event)) is not None:
            groups[group].add((stored.at, stored.event.event_id))
    signals = {}
    for group, entries in groups.items():
        times = [at for at, _ in sorted(entries)]
        buckets = defaultdict(list)
        for j, at in enumerate(times):
            if j + 1 >= rule.threshold and at - times[j + 1 - rule.threshold] < rule.timespan:
                buckets[at // rule.suppress].append(at)
        for bucket, triggers in buckets.items():
            text = [rule.hash, *(part for pair in group for part in pair), str(bucket)]
            name = b"".join(b"%d:%b" % (len(part.encode()), part.encode()) for part in text)
            count = sum(at // rule.suppress == bucket for at in times)
            signals[hashlib.blake2b(name, digest_size=16).hexdigest()] = (min(triggers), max(triggers), count)
    return signals
