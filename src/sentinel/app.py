"""
The composition root: settings become a running monitor.

The only place where things are put together, and where the clock is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from sentinel.access import Token, TokenBook, looks_real, mint, token_hash
from sentinel.baselinefile import read_changes, read_tuning, write_changes
from sentinel.datafolder import lock, own_secret, read_key, write_secret
from sentinel.detection import RuleSet
from sentinel.detection.baseline import Tuning
from sentinel.detection.baseline.tuning import Limits
from sentinel.errors import ConfigError, OutsideError, SentinelError
from sentinel.model import Micros, Role, Severity
from sentinel.notify import Alertmanager, Plan
from sentinel.observability import Metrics, Names, Refusals, health_scores, open_log, open_scan_log
from sentinel.planfile import read_plan
from sentinel.policyfile import PolicyFile, read_policy
from sentinel.response import GuardRails, Network, Policy
from sentinel.rulefolder import RuleFiles, read_files, read_thresholds
from sentinel.settings import Settings
from sentinel.storage import SYSTEM, AuditEntry, Notary, Outcome, Standing, Store, StoreUnable
from sentinel.stream import (
    AlertmanagerPush,
    Board,
    Canary,
    Escalation,
    Evidence,
    Intake,
    Mirror,
    Orders,
    People,
    Responder,
    Rules,
    Worker,
)

if TYPE_CHECKING:
    from sentinel.scanning.scanner import Scanner
    from sentinel.storage.redis import Redis

__all__ = ["LIMITS", "THRESHOLD", "Monitor", "guard_rails"]

THRESHOLD = "threshold"
"""Kind of what is set by rule: a number."""
LIMITS = "limits"
"""Kind of what is set by metric of baselines."""
_BROUGHT = "brought"

_CHECK_SECONDS = 2.0
_SWITCH_SECONDS = 0.0003  # Python's own 5 ms are what each look into the store would wait while events are judged
_FOLLOW_SECONDS = 0.5  # between two looks at what other nodes do, when no news comes
_BETWEEN_SECONDS = 0.02  # when it does
_SILENT_SECONDS = 30.0  # after which a node that should judge, and is to be replaced by then, is said to have stopped
_PRUNE_SECONDS = 3600.0
_PARTS = 30  # in the time that events are kept for
_PARTS_SECONDS = 5.0
_MINUTE: Micros = 60 * 1_000_000
_HOUR: Micros = 60 * _MINUTE
_DAY: Micros = 24 * _HOUR
_MOST_EVENTS = 1_000_000
_OVERALL = Literal["healthy", "degraded", "critical", "offline"]


_number = msgspec.json.Decoder(int | float).decode
_limits = msgspec.json.Decoder(Limits).decode
_encode = msgspec.json.Encoder().encode


def _wall_clock() -> Micros:
    return time.time_ns() // 1000


class _Traffic(NamedTuple):
    """How many events the last hour had: a walk over an index, made again when more were accepted, or a minute ago."""

    accepted: int = -1
    at: Micros = 0
    events: int = 0


class Monitor:
    """A running monitor on one data folder. Made by `open`; `close` at the end."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        rules: RuleFiles,
        policy: Policy,
        plan: Plan,
        tuning: Tuning,
        held: IO[str],
        clock: Callable[[], Micros],
        of_all: bool,
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.metrics = Metrics(lambda: clock() / 1_000_000, _known_names(settings), of_all=of_all)
        logs, days = settings.data_dir / "logs", settings.log_retention_days
        self.log, close_log = open_log(logs / "api.log", retention_days=days)
        self.names_key = names_key = own_secret(settings.data_dir / "pseudonym.key")
        self.scan_log, close_scan_log = open_scan_log(logs / "scan.log", retention_days=days, key=names_key)
        self._close_logs = (close_log, close_scan_log)
        self.refusals = Refusals(self.metrics, self.log)
        self.rails = guard_rails(settings)
        self.tokens = TokenBook()
        self.board = Board(store, clock, self.metrics)
        self.responder = Responder(store, policy, self.rails, clock, blast_radius=settings.blast_radius)
        self.policy_file = PolicyFile(settings.policy_file, self.responder.take_policy, self.log)
        self.orders = Orders(store, self.board, clock=clock, metrics=self.metrics, log=self.log)
        self.worker = Worker(
            store,
            self.board,
            self.orders,
            rules.rules,
            self.responder,
            clock=clock,
            lateness=round(settings.lateness * 1_000_000),
            tuning=tuning,
            window_memory=settings.window_memory_mb << 20,
            metrics=self.metrics,
            log=self.log,
            on_lost=self._stop_at_once,
        )
        self.intake = Intake(
            store,
            clock=clock,
            queue_limit=settings.queue_limit,
            worker=self.worker,
            on_accepted=self.metrics.told.count,
            on_lost=self._stop_at_once,
        )
        self.rule_files = Rules(
            settings.rules_dir,
            rules,
            settings.thresholds_path,
            replace=self.worker.replace,
            metrics=self.metrics,
            log=self.log,
        )
        self.metrics.high_threat_rate.set(settings.high_threat_rate)
        self.metrics.watch_queue(lambda: self.intake.depth, self._waited)
        self.metrics.watch_windows(*self.worker.held)
        self.escalation = Escalation(store, self.orders, plan, clock=clock, metrics=self.metrics, log=self.log)
        self.push = None
        if settings.alertmanager_urls:
            alertmanager = _alertmanager(settings)
            self.push = AlertmanagerPush(
                store, alertmanager.send, plan.backup, clock=clock, metrics=self.metrics, log=self.log
            )
        self.canary = Canary(
            self.intake,
            self.worker,
            self.orders,
            self.board,
            store,
            ready=self.ready,
            clock=clock,
            metrics=self.metrics,
        )
        self.mirror = None
        if settings.redis_url is not None:
            self._redis = _redis(settings.redis_url)
            self.mirror = Mirror(store, self._redis, writes=lambda: self.worker.judging, clock=clock, log=self.log)
        self.evidence = Evidence(store, lambda: self.rules, clock)
        self.people = People(store, self.orders, self.metrics, clock)
        key = own_secret(settings.audit_key_path)
        self.audit_keys = [*map(read_key, settings.audit_old_keys), key]
        self.notary = Notary(store, settings.anchor_path, key, clock)
        self._held = held
        self._chores: list[asyncio.Task[None]] = []
        self._duties: list[asyncio.Task[None]] = []  # of the node that judges
        self._token_turn = -1
        self._followed_at = -math.inf
        self._news = asyncio.Event()  # another node has written
        self._leaving = False
        self.choosing = asyncio.Lock()
        """Held from setting something on this node to having it in the store, which every node goes by."""
        self._queued = (0, 0)  # the last event that was there at a time, and that time
        self._told_status: _OVERALL = "healthy"
        self._traffic = _Traffic()
        self._standing = Standing(open_violations={}, signals={}, last_minute={})

    @classmethod
    async def open(
        cls, settings: Settings, clock: Callable[[], Micros] = _wall_clock, *, of_all: bool = True
    ) -> Monitor:
        """
        Return a monitor that runs.

        Args:
            settings: Its own.
            clock: Microseconds since 1970.
            of_all: Whether its metrics say what is the same for all nodes, too.

        Raises:
            DataFolderBusy: Another process has the data folder.
            ConfigError: Rules, policy or folder can't be used; names the place.
        """
        held = lock(settings.data_dir)
        try:
            rules = read_files(settings.rules_dir, settings.thresholds_path)
            policy = read_policy(settings.policy_file)
            plan = read_plan(settings.escalation_file)
            tuning = read_tuning(settings.baselines_file, settings.baselines_path)
            store = await Store.open(settings.store_place)
        except BaseException:
            held.close()
            raise
        monitor = cls(
            settings,
            store,
            rules=rules,
            policy=policy,
            plan=plan,
            tuning=tuning,
            held=held,
            clock=clock,
            of_all=of_all,
        )
        await monitor._start()
        return monitor

    async def _start(self) -> None:
        sys.setswitchinterval(_SWITCH_SECONDS)
        self.log.info("Initializing security monitoring services...")
        self.tokens = TokenBook(await self.store.tokens())
        await self._first_token()
        await self.board.load()
        await self.people.load()
        if self.store.shared:
            await self._bring_chosen()
            await self._take_chosen()
        await self._judge_if_nobody_does()
        self.intake.start()
        self.rule_files.watch()
        self._chores = self._running(
            checks=self._check_forever(),
            canary=self.canary.run_forever(),
            **({"mirror": self.mirror.run_forever()} if self.mirror else {}),
            **({"nodes": self._follow_forever()} if self.store.shared else {}),
        )
        self.log.info("Security monitoring services initialized successfully.", rules=len(self.rules.rules))

    def _running(self, **chores: Coroutine[object, object, None]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._or_stop(chore), name=name) for name, chore in chores.items()]

    # --- who judges

    async def _judge_if_nobody_does(self) -> None:
        """Begin to judge, and with it what one node does for all, where no other node of the database does."""
        if self._leaving or self.settings.judge == "no" or not await self.store.take_lease():
            return
        await self.store.look_around()
        await self.board.catch_up()
        await self.notary.begin()
        if self.notary.trouble is not None:
            self.log.critical(self.notary.trouble)
        await self.worker.start()
        self.metrics.judging.set(1)
        self.metrics.takeovers.inc()
        self._duties = self._running(
            pruning=self._prune_forever(),
            **({"parts": self._keep_parts_forever()} if self.store.shared else {}),
            escalation=self.escalation.run_forever(),
            evidence=self.evidence.run_forever(),
            sealing=self._seal_forever(),
            **({"push": self.push.run_forever()} if self.push else {}),
        )
        if self.store.shared:
            self.log.info("this node judges", from_seq=self.worker.position)

    async def leave(self) -> None:
        """Let another node judge, where there can be one: this one is about to end, and answers what it has begun."""
        self._leaving = True
        self.store.stop_waiting()  # while it is away there is nothing to hand over
        if self.store.shared and self.worker.judging:
            await self._judge_no_more()
            with contextlib.suppress(StoreUnable):  # then the next judge seals it
                await self.notary.seal()
            await self.store.give_lease_back()

    async def _judge_no_more(self) -> None:
        for duty in self._duties:
            duty.cancel()  # its writes run to their end all the same, and closing the store waits for them
        await asyncio.gather(*self._duties, return_exceptions=True)
        self._duties = []
        await self.worker.stop()
        self.metrics.judging.set(0)

    async def _follow_forever(self) -> None:
        """See what other nodes do; take over from one that judges no more, and stand by when another one judges."""
        self.store.when_news(self._news.set)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _FOLLOW_SECONDS)
            self._news.clear()
            with contextlib.suppress(StoreUnable):
                await self._follow()
            await asyncio.sleep(_BETWEEN_SECONDS)

    async def _follow(self) -> None:
        if self.worker.judging and not self.store.judging:
            self.log.error("another node judges; this one stands by")
            await self._judge_no_more()
        await self.store.look_around()
        await self.board.catch_up()
        await self.worker.heard()
        if time.monotonic() - self._followed_at >= _FOLLOW_SECONDS:
            self._followed_at = time.monotonic()
            await self._follow_slowly()

    async def _follow_slowly(self) -> None:
        """Do what need not be done at each piece of news."""
        if self._token_turn != self.store.turn:
            turn = self.store.turn
            self.tokens.take(await self.store.tokens())
            await self._take_chosen()
            self._token_turn = turn
        await self.worker.tell_position()
        if not self.worker.judging:
            await self._judge_if_nobody_does()
        judge = self.store.judge
        silent = math.inf if judge is None else judge.silent
        self.metrics.judge_silent.set(0 if self.worker.judging else silent)

    async def _take_chosen(self) -> None:
        """Go by what was set on any node."""
        async with self.choosing:
            thresholds = await self.store.chosen(THRESHOLD)
            limits = await self.store.chosen(LIMITS)
            await self.rule_files.take_thresholds({rule: _number(text) for rule, text in thresholds.items()})
            path = self.settings.baselines_path
            changes = {metric: _limits(text) for metric, text in limits.items()}
            if read_changes(path) != changes:
                await asyncio.to_thread(write_changes, path, changes)
                self.worker.noticing.tune(read_tuning(self.settings.baselines_file, path))

    async def _bring_chosen(self) -> None:
        """Tell the store once what was set on this node before any went by the store; that of the first node counts."""
        if await self.store.chosen(_BROUGHT):
            return
        settings = self.settings
        mine: tuple[tuple[str, dict[str, Any]], ...] = (
            (THRESHOLD, read_thresholds(settings.thresholds_path)),
            (LIMITS, read_changes(settings.baselines_path)),
        )
        for kind, values in mine:
            await self.store.choose(kind, {name: _encode(value).decode() for name, value in values.items()})
        await self.store.choose(_BROUGHT, {_BROUGHT: "true"})

    async def keep_chosen(self, kind: str, name: str, value: object) -> None:
        """Have every node go by what was set here; None: by what the files say."""
        if self.store.shared:
            await self.store.choose(kind, {name: None if value is None else _encode(value).decode()})

    async def _seal_forever(self) -> None:
        while True:
            await self.notary.seal_when_due()
            await asyncio.sleep(_CHECK_SECONDS)

    @cached_property
    def scanner(self) -> Scanner:
        """What judges texts; made when first asked for, because an import needs none, and it takes 40 MB."""
        from sentinel.scanning.scanner import Scanner  # noqa: PLC0415 - slow to import, and 30 MB

        scanner = Scanner(depth=self.settings.scan_depth)
        self.metrics.scans.start_engines(["views", *scanner.engines, "encoder"])
        return scanner

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self.rule_files.in_force

    async def close(self) -> None:
        """Commit what was offered, stop judging, and let go of the data folder."""
        self.store.stop_waiting()
        await self.rule_files.close()
        await self.board.close()
        await self.intake.stop()
        for chore in self._chores:
            chore.cancel()  # its writes run to their end all the same, and closing the store waits for them
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self.worker.judging:
            await self._judge_no_more()
            await self.notary.seal()
        if self.mirror is not None:
            await self._redis.close()
        await self.store.close()
        self.refusals.close()
        self.log.info("Security monitoring services stopped.")
        for close in self._close_logs:
            close()
        self._held.close()

    async def _or_stop(self, chore: Coroutine[object, object, None]) -> None:
        """Carry out a chore for ever; a store that is lost, or a defect, stops the process: nobody else would tell."""
        try:
            await chore
        except Exception as err:  # noqa: BLE001 - see above
            if not (self.store.ending and isinstance(err, StoreUnable)):
                self._stop_at_once(err)

    async def prune(self) -> dict[str, int]:
        """Delete what is older than the settings say; returns rows by table."""
        now, settings = self.clock(), self.settings
        audited_before = now - settings.audit_retention_days * _DAY
        audit_upto = await self.store.audit_before(audited_before)
        if audit_upto:
            await self.notary.pruned(audit_upto)
        try:
            before = now - settings.retention_days * _DAY
            return await self.store.prune(before, audited_before, audit_upto, self._span)
        finally:
            self.worker.forget_incidents()

    @property
    def _span(self) -> Micros:
        """How long one part of the logs of events lasts, where they are in parts."""
        return self.settings.retention_days * _DAY // _PARTS

    async def _keep_parts_forever(self) -> None:
        while True:
            with contextlib.suppress(StoreUnable):  # tried again soon; meanwhile the part for the rest takes events
                await self.store.keep_parts(self._span)
            await asyncio.sleep(_PARTS_SECONDS)

    async def _prune_forever(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE_SECONDS)
            try:
                self.log.info("pruned", **await self.prune())
            except StoreUnable:
                continue  # tried again in an hour; health says what is wrong

    def _stop_at_once(self, err: BaseException) -> None:
        """
        End the process without another write: nobody knows what the disk holds, or what a defect has done.

        No clean-up on purpose. A failed fsync must not be retried, and whoever waits for an answer gets none, which is
        the truth. The next start makes durable what can be read.
        """
        with contextlib.suppress(Exception):
            self.log.critical("stopping at once", error=type(err).__name__)
        with contextlib.suppress(Exception):  # whoever read it may be gone, or its disk full
            sys.stderr.write(f"sentinel: {err if isinstance(err, SentinelError) else type(err).__name__}\n")
            sys.stderr.flush()
        os._exit(os.EX_IOERR if isinstance(err, OutsideError) else os.EX_SOFTWARE)

    # --- health

    def health(self) -> dict[str, object]:
        """Return the overall status and each component's (the contract's shape, without details)."""
        store_stops = self.store.trouble is not None or self.worker.failing is not None
        processor = "degraded" if store_stops else "running" if self._judged else "stopped"
        components = {
            "security_metrics_service": "running",
            "security_event_processor": processor,
            "automated_response_service": self._response_status(),
            "threat_detection_service": "running" if self.rules.rules and not self.rule_files.rejected else "degraded",
        }
        overall: _OVERALL = "healthy"
        if store_stops or "stopped" in components.values():
            overall = "critical"
        elif "degraded" in components.values() or self.notary.trouble is not None:
            overall = "degraded"
        return {
            "overall_status": overall,
            "components": {name: {"status": status} for name, status in components.items()},
        }

    def details(self) -> dict[str, dict[str, object]]:
        """Return what each component has to say beside its status, for those who may know."""
        return {
            "security_event_processor": {
                "accepted_seq": self.store.accepted_seq,
                "processed_seq": self.worker.position,
                "waiting": self.intake.depth,
                "settled": self._settled,
                "judging": self.worker.judging,
                **({"judge": self.store.judge.name} if self.store.judge is not None else {}),
                "reason": self.store.trouble or self.worker.failing,
            },
            "automated_response_service": {
                "blocks": len(self.board.snapshot),
                "policy_rejected": self.policy_file.rejected,
                **({"redis": self.mirror.trouble or "reached"} if self.mirror else {}),
            },
            "threat_detection_service": {
                "rules": len(self.rules.rules),
                "rules_refused": len(self.rules.refused),
                "rules_rejected": len(self.rule_files.rejected),
            },
        }

    @property
    def _settled(self) -> bool:
        """Whether what was there when the node that judges began has been taken up."""
        if self.worker.judging or self.store.judge is None:
            return self.worker.settled
        return self.store.judge.settled

    async def measure(self) -> dict[str, object]:
        """Read what the health of those watched is judged by; shows it in the metrics, and returns it."""
        now = self.clock()
        with contextlib.suppress(StoreUnable):  # while it is away, what was known last stands; the status tells
            self._standing = await self.store.standing(now - _HOUR, now - _MINUTE)
            if self._traffic.accepted != self.store.accepted_seq or now - self._traffic.at > _MINUTE:
                events = await self.store.events_since(now - _HOUR, _MOST_EVENTS)
                self._traffic = _Traffic(self.store.accepted_seq, now, events)
        standing = self._standing
        scores = health_scores(Counter(standing.open_violations) + Counter(standing.signals), self._traffic.events)
        self.metrics.health.show(scores, str(self.health()["overall_status"]), standing.last_minute)
        return {
            "score": scores[0],
            "score_normalized": round(scores[1], 2),
            "open_violations_last_hour": standing.open_violations,
            "signals_last_hour": standing.signals,
            "events_last_hour": self._traffic.events,
        }

    @property
    def _judged(self) -> bool:
        """Whether events are judged, here or elsewhere."""
        if self.worker.judging or not self.store.shared:
            return self.worker.alive
        return self.store.judge is not None and self.store.judge.silent < _SILENT_SECONDS

    def _waited(self) -> float:
        """Return for how many seconds at least the oldest event that is not judged has waited."""
        position, accepted, now = self.worker.position, self.store.accepted_seq, self.clock()
        if position >= self._queued[0]:
            self._queued = (accepted, now)
        return 0.0 if position >= accepted else (now - self._queued[1]) / 1_000_000

    def _response_status(self) -> str:
        if not self._judged:
            return "stopped"
        told = self.mirror is None or self.mirror.trouble is None
        return "running" if told and self.policy_file.rejected is None else "degraded"

    def ready(self) -> str | None:
        """Return None when events are taken and judged, else why not."""
        if self.store.trouble is not None:
            return self.store.trouble
        if not self.rules.rules:
            return "no rule is loaded"
        if self.worker.judging or not self.store.shared:
            return None if self.worker.alive else "the worker does not run"
        return None  # events are taken; health tells whether another node judges them

    async def _check_forever(self) -> None:
        """Write a row now and then: so a full disk is noticed on an idle system, and so is its end."""
        while True:
            with contextlib.suppress(StoreUnable):  # health shows it until it is over
                await self.store.probe()
            self.policy_file.look()
            self._waited()  # nobody may scrape
            self.rule_files.tell_blind(self.worker.coverage.blind() if self.worker.judging else {})
            status = str(self.health()["overall_status"])
            if status != self._told_status:
                self._told_status = status  # type: ignore[assignment]
                (self.log.info if status == "healthy" else self.log.error)(f"Security monitoring status: {status}")
            await asyncio.sleep(_CHECK_SECONDS)

    # --- tokens

    async def create_token(
        self,
        role: Role,
        *,
        by: str,
        name: str = "",
        max_severity: Severity | None = None,
        may_cause_actions: bool = False,
        expires_at: Micros | None = None,
        source_cidr: str | None = None,
        secret: str | None = None,
    ) -> tuple[str, Token]:
        """Return a new token's text, shown once, and what is kept of it."""
        text = secret or mint(role)
        default = Severity.HIGH if role is Role.INGEST else Severity.CRITICAL
        token = Token(
            id=f"tok-{uuid.uuid4().hex[:16]}",
            name=name or role.value,
            role=role,
            hash=token_hash(text),
            max_severity=max_severity or default,
            may_cause_actions=may_cause_actions,
            created_at=self.clock(),
            expires_at=expires_at,
            source_cidr=source_cidr,
        )
        await self._keep(token, "token.create", by)
        return text, token

    async def revoke_token(self, token: Token, *, by: str) -> Token:
        """Return the token as revoked; it is refused from now on."""
        revoked = msgspec.structs.replace(token, revoked_at=self.clock())
        await self._keep(revoked, "token.revoke", by)
        return revoked

    async def _keep(self, token: Token, operation: str, by: str) -> None:
        details = {"name": token.name, "role": token.role.value}
        entry = AuditEntry(at=self.clock(), actor=by, operation=operation, target=token.id, details=details)
        await self.store.save_token(token, entry)
        self.tokens.put(token)

    async def note(self, operation: str, target: str, details: dict[str, object], by: Token) -> None:
        """Write what somebody did into the audit trail."""
        entry = AuditEntry(at=self.clock(), actor=by.id, operation=operation, target=target, details=details)
        await self.store.apply(Outcome(position=0, audit=[entry]))

    async def _first_token(self) -> None:
        """Keep the admin token of the data folder over restarts, and make it at the first."""
        path = self.settings.token_file
        text = path.read_text(encoding="ascii").strip() if path.exists() else None
        if text is not None and not looks_real(text):
            raise ConfigError("holds no token; delete the file and start again to get a new one", where=str(path))
        if text is None:
            text = mint(Role.ADMIN)
            write_secret(path, f"{text}\n".encode())
        if token_hash(text) not in {token.hash for token in self.tokens.list()}:
            await self.create_token(Role.ADMIN, by=SYSTEM, name="first admin", secret=text)


def guard_rails(settings: Settings) -> GuardRails:
    """Return who may never be struck, whatever the policy says."""
    own: tuple[Network, ...] = ()
    with contextlib.suppress(ValueError):  # a host name: what it means is loopback, or belongs into the allow-list
        own = (ip_network(ip_address(settings.host)),)
    return GuardRails(
        allow_list=tuple(map(ip_network, settings.allow_list)),
        trusted_proxies=tuple(map(ip_network, settings.trusted_proxies)),
        own_addresses=own,
        protected_users=frozenset(settings.protected_users),
    )


def _redis(url: str) -> Redis:
    try:
        from sentinel.storage.redis import Redis  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"needs the redis extra ({err.name} is missing): in a checkout, pip install '.[server,redis]'",
            where="redis_url",
        ) from err
    return Redis(url)


def _alertmanager(settings: Settings) -> Alertmanager:
    tls = None
    if settings.alertmanager_ca_file or settings.alertmanager_cert_file:
        try:
            tls = ssl.create_default_context(cafile=settings.alertmanager_ca_file)
            if settings.alertmanager_cert_file:
                tls.load_cert_chain(settings.alertmanager_cert_file, settings.alertmanager_key_file)
        except OSError as err:  # ssl.SSLError is one
            raise ConfigError("can't be used for TLS", where="alertmanager_ca_file, alertmanager_cert_file") from err
    return Alertmanager(settings.alertmanager_urls, settings.alertmanager_token_file, tls)


def _known_names(settings: Settings) -> Names:
    return Names(settings.known_services, settings.known_tables, settings.known_tools, settings.known_endpoints)
