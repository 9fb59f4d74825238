"""
What is in force, as keys in Redis for programs that read them there (interface, section 3).

Redis is told, never asked: the store has the truth, and what is here is written from it. A marker tells how far that
went and by whom. Where it is another one, because Redis came back empty or another node wrote meanwhile, all is written
anew. The node that judges writes; the others only look whether Redis is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from sentinel.errors import OutsideError
from sentinel.model import ActionStatus, ActionType, Micros
from sentinel.observability import Log
from sentinel.storage import Action, Store, StoreUnable
from sentinel.stream.board import CANARY, shown

if TYPE_CHECKING:  # an extra
    from sentinel.storage.redis import Key, Redis

__all__ = ["Mirror", "keys_of"]

_LOOK_SECONDS = 0.2
_MARKED_SECONDS = 2.0
_ANEW: Micros = 60 * 1_000_000  # what others have done to the keys is undone so soon
_GUIDES = {ActionType.IP_BLOCK: ("ip_block", "ip_address"), ActionType.USER_SUSPEND: ("user_suspend", "user_id")}
_PREFIXES = ("security_action:", *(f"{name}:" for name, _ in _GUIDES.values()))

_encode = msgspec.json.Encoder().encode
_Target = tuple[ActionType, str]


class Mirror:
    """Keeps the keys; `run_forever` is its task."""

    def __init__(
        self, store: Store, redis: Redis, *, writes: Callable[[], bool], clock: Callable[[], Micros], log: Log
    ) -> None:
        self._store = store
        self._redis = redis
        self._writes = writes
        self._clock = clock
        self._log = log
        self._mine = ""
        """What is marked when nobody else has written since."""
        self._told = 0
        self._held: dict[_Target, dict[str, Action]] = {}
        self._anew_at: Micros = 0
        self.trouble: str | None = None
        """Why the keys are not up to date; None when they are."""

    async def run_forever(self) -> None:
        """Look now and then, until it is cancelled."""
        looked, loop = 0.0, asyncio.get_running_loop()
        while True:
            try:
                due = loop.time() - looked >= _MARKED_SECONDS
                if due or (self._writes() and self._store.change_seq != self._told):
                    await self.step()
                    looked = loop.time()
                    self._tell(None)
            except StoreUnable:
                pass  # health says so
            except OutsideError as err:
                self._mine = ""
                self._tell(str(err))
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            (self._log.info if trouble is None else self._log.error)("keys in Redis", trouble=trouble)
        self.trouble = trouble

    async def step(self) -> None:
        """Write what has changed, or everything where the marker is not ours."""
        marked = await self._redis.marker()
        if not self._writes():
            self._mine = ""
            return
        now = self._clock()
        if not self._mine or marked != self._mine or now - self._anew_at >= _ANEW:
            await self._anew(now)
        elif self._store.change_seq != self._told:
            await self._changes(now)

    async def _anew(self, now: Micros) -> None:
        upto = self._store.change_seq
        self._held = {}
        self._take(await self._store.actions_in_force(now))
        keys = {name: key for target in self._held for name, key in self._keys(target, now).items()}
        there = await self._redis.names(_PREFIXES)
        await self._write(keys, [name for name in there if name not in keys], upto)
        self._anew_at = now

    async def _changes(self, now: Micros) -> None:
        changed = await self._store.actions_since(self._told)
        upto = max([self._told, *(action.change_seq for action in changed)])
        self._take(changed)
        keys: dict[str, Key] = {}
        gone: list[str] = []
        for target in dict.fromkeys((action.action_type, action.target) for action in changed):
            mine = self._keys(target, now)
            keys |= mine
            gone += [] if mine else names_of(*target)
        await self._write(keys, gone, upto)

    def _take(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if action.id == CANARY:
                continue
            target = (action.action_type, action.target)
            held = self._held.setdefault(target, {})
            held.pop(action.id, None)
            if action.status is ActionStatus.ACTIVE:
                held[action.id] = action
            if not held:
                del self._held[target]

    def _keys(self, target: _Target, now: Micros) -> dict[str, Key]:
        return keys_of(self._held.get(target, {}).values(), now)

    async def _write(self, keys: dict[str, Key], gone: list[str], upto: int) -> None:
        self._mine = ""  # until it is known to be written
        mark = f"{self._store.node}:{upto}"
        await self._redis.write(keys, gone, mark)
        self._mine, self._told = mark, upto


def names_of(action_type: ActionType, target: str) -> list[str]:
    """Return the keys that stand for an action of a type on a target."""
    names = [f"security_action:{action_type.value}:{target}"]
    if action_type in _GUIDES:
        names.append(f"{_GUIDES[action_type][0]}:{target}")
    return names


def keys_of(actions: Iterable[Action], now: Micros) -> dict[str, Key]:
    """
    Return the keys that stand for what is in force on one target.

    Args:
        actions: Active ones of the same type on the same target.
        now: Those that end by then are left out.

    Returns:
        By name the action that ends last, as JSON, and in how many milliseconds that is.
    """
    holding = [action for action in actions if action.ends() > now]
    if not holding:
        return {}
    action = max(holding, key=Action.ends)
    left = None if action.expiration is None else max(1, (action.expiration - now) // 1000)
    item = shown(action)
    if action.action_type in _GUIDES:
        item = {_GUIDES[action.action_type][1]: action.target, **item}
    value = _encode(item)
    return dict.fromkeys(names_of(action.action_type, action.target), (value, left))
