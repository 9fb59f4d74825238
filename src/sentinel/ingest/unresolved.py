"""
Who failed to sign in from an address and has not done so since: what sets a slow attack apart from a shared address.

Fifty people behind one address fail as many names in six hours as somebody who tries one name every half an hour. But
people end their failures by a success of their own, seconds later, and a guesser does not. A success takes back the
failures of its own user from its own address and nothing else, so one valid account hides nothing.

The lines of a log have one order, and what a failure is told here follows from the lines before it alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv6Address
from typing import Final

__all__ = ["MOST_USERS", "REMEMBERED", "SETTLING", "Unresolved"]

REMEMBERED: Final = timedelta(hours=6)
"""How long a failure is held against an address."""

SETTLING: Final = timedelta(minutes=5)
"""A failure younger than this doesn't count yet: whoever mistyped is still typing."""

MOST_USERS: Final = 16
"""Users kept for each address; the number that is told ends there."""

_MOST_ADDRESSES = 1 << 16
_SUBSCRIBER_BITS = 64  # of an IPv6 address, as everywhere: RFC 6177


class Unresolved:
    """
    Remembers the first failure of each user from each address, or from each /64 of IPv6, until it is taken back.

    Bounded: the 65,536 addresses that failed last, and the first 16 users of each. What is forgotten makes the number
    smaller, never larger.
    """

    def __init__(self) -> None:
        self._users: dict[object, dict[str, datetime]] = {}

    def failed(self, address: str, user: str, at: datetime) -> int:
        """
        Note a failure.

        Args:
            address: In canonical spelling.
            user: Whose login it was; also a name that does not exist.
            at: Aware.

        Returns:
            How many users failed from the address between six hours and five minutes before, and have not signed in
            from there since; at most `MOST_USERS`.
        """
        key, gone, settled = _subscriber(address), at - REMEMBERED, at - SETTLING
        users = self._users.pop(key, {})
        count, forgotten = 0, []
        for name, then in users.items():
            if then <= settled:
                if then <= gone:
                    forgotten.append(name)
                else:
                    count += 1
        for name in forgotten:
            del users[name]
        if len(users) < MOST_USERS:
            users.setdefault(user, at)
        self._users[key] = users  # at the end: the dict stays in order of the latest failure
        if len(self._users) > _MOST_ADDRESSES:
            del self._users[next(iter(self._users))]
        return count

    def succeeded(self, address: str, user: str) -> None:
        """Take back the failures of this user from this address."""
        users = self._users.get(_subscriber(address))
        if users:
            users.pop(user, None)


def _subscriber(address: str) -> object:
    return int(IPv6Address(address)) >> (128 - _SUBSCRIBER_BITS) if ":" in address else address
