"""
The rules in force, and how they follow the files that they come from.

A set of files that would refuse a rule which the set in force does not refuse is not taken: the set in force stays, and
metric, log and health say so until the files are in order again. What was refused at the start stays known, so that one
rule that nobody can use does not stop the others from being changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from sentinel.detection import Refusal, RuleSet
from sentinel.errors import ConfigError
from sentinel.observability import Log, Metrics
from sentinel.rulefolder import (
    Fingerprint,
    RuleFiles,
    fingerprint,
    read_rules,
    read_thresholds,
    write_thresholds,
)

__all__ = ["Rules"]

_LOOK_SECONDS = 1.0


class Rules:
    """The rules in force; `watch` follows their files from a task of its own until `close`."""

    def __init__(
        self,
        places: Sequence[str],
        files: RuleFiles,
        thresholds: Path,
        *,
        replace: Callable[[RuleSet], Awaitable[None]],
        metrics: Metrics,
        log: Log,
    ) -> None:
        """
        Begin with rules that were read.

        Args:
            places: Files and folders; `default` names the shipped rules.
            files: What they held.
            thresholds: The file of what people have set.
            replace: Puts another set in force, between two batches of events.
            metrics: Where it is counted.
            log: Where it is said.
        """
        self._places = places
        self._thresholds = thresholds
        self._replace = replace
        self._metrics = metrics
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._blind: Mapping[str, str] = {}
        self._read, self.in_force = files
        self.rejected: tuple[Refusal, ...] = ()
        """Why the files as they are now are not in force; empty when they are."""
        self._tell_refused(self.in_force.refused)
        self._tell_warnings(self.in_force.warnings)
        metrics.rules_loaded.set(len(self.in_force.rules))

    def watch(self) -> None:
        """Begin to look at the files."""
        self._task = asyncio.create_task(self._watch_forever(), name="rules")

    def look(self) -> None:
        """Reload soon, whether or not the files look changed (SIGHUP)."""
        self._hurry.set()

    async def close(self) -> None:
        """End looking at the files."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reload(self) -> None:
        """Read the files, and put them in force or say in `rejected` why not."""
        async with self._one_at_a_time:
            self._read = await asyncio.to_thread(self._state)
            try:
                found = await asyncio.to_thread(read_rules, self._places, self._thresholds)
            except ConfigError as err:
                self._reject((Refusal(err.where or "", 1, None, err.reason),))
                return
            known = {(refusal.file, refusal.rule, refusal.reason) for refusal in self.in_force.refused}
            broken = [each for each in found.refused if (each.file, each.rule, each.reason) not in known]
            if broken:
                self._reject(tuple(broken))
            else:
                await self._take(found)

    async def set_threshold(self, rule: str, value: float | None) -> None:
        """Put a number in place of a rule's lower bound, or the file's own back (None), and read the rules again."""
        thresholds = read_thresholds(self._thresholds)
        thresholds.pop(rule, None)
        if value is not None:
            thresholds[rule] = int(value) if value == int(value) else value
        await asyncio.to_thread(write_thresholds, self._thresholds, thresholds)
        await self.reload()

    async def take_thresholds(self, chosen: Mapping[str, float]) -> None:
        """Go by these thresholds, and no others, if they are not in force already."""
        if read_thresholds(self._thresholds) != dict(chosen):
            await asyncio.to_thread(write_thresholds, self._thresholds, chosen)
            await self.reload()

    def _state(self) -> Fingerprint:
        return fingerprint([*self._places, str(self._thresholds)])

    # --- looking

    async def _watch_forever(self) -> None:
        """A change counts once two looks agree on it: an editor may write a file in several steps."""
        before = self._read
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), _LOOK_SECONDS)
            now = await asyncio.to_thread(self._state)
            if self._hurry.is_set() or (now == before and now != self._read):
                self._hurry.clear()
                await self.reload()
            before = now

    async def _take(self, found: RuleSet) -> None:
        await self._replace(found)
        self._tell_warnings([warning for warning in found.warnings if warning not in self.in_force.warnings])
        self.in_force, self.rejected = found, ()
        self._metrics.rules_loaded.set(len(found.rules))
        self._metrics.rules_refused.set(len(found.refused))
        self._metrics.rule_reloads.labels(result="taken").inc()
        self._log.info("rules reloaded", rules=len(found.rules), version=found.version)

    # --- telling

    def _reject(self, refused: tuple[Refusal, ...]) -> None:
        self.rejected = refused
        self._metrics.rule_reloads.labels(result="rejected").inc()
        self._tell_refused(refused)
        self._log.error("rules not reloaded, the last good ones stay in force", version=self.in_force.version)

    def _tell_refused(self, refused: Sequence[Refusal]) -> None:
        self._metrics.rules_refused.set(len(refused))
        for each in refused:
            self._log.warning("rule refused", file=each.file, line=each.line, rule=each.rule, reason=each.reason)

    def _tell_warnings(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            self._log.warning("rule loaded with a warning", warning=warning)

    def tell_blind(self, blind: Mapping[str, str]) -> None:
        """Count the rules that can't fire as things are, and say which and why, each once."""
        self._metrics.rules_blind.set(len(blind))
        for rule, why in blind.items():
            if rule not in self._blind:
                self._log.warning("rule can't fire", rule=rule, reason=why)
        self._blind = blind
