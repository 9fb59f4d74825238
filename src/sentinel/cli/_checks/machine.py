"""The machine and the data folder: what a service needs before it can start, and what lets it lose data silently."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path

from sentinel.baselinefile import read_tuning
from sentinel.cli._checks.check import Check, bad, good, skipped, warned
from sentinel.datafolder import OTHERS, DataFolderBusy, lock, others_may_read
from sentinel.errors import ConfigError
from sentinel.model import Depth, Micros
from sentinel.planfile import read_plan
from sentinel.policyfile import read_policy
from sentinel.response import WIDEST_PREFIX
from sentinel.rulefolder import read_files
from sentinel.settings import Settings

__all__ = ["machine_checks"]

_LEAST_BYTES = 1024**3
_LEAST_SHARE = 0.05
_SLOW_FSYNC_SECONDS = 0.05
_FORGETFUL = {"tmpfs", "ramfs", "overlay", "aufs"}
_ELSEWHERE = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"}
_AHEAD: Micros = 5 * 60 * 1_000_000
_TIME_ERROR = 5
_NAMED = (
    "alertmanager_token_file",
    "alertmanager_ca_file",
    "alertmanager_cert_file",
    "alertmanager_key_file",
    "webhook_secret_file",
)
"""Settings that name a file of which only whether it can be read is looked at."""


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Yield what is wrong with the machine, the data folder and the files that the settings name."""
    busy = _busy(settings.data_dir)
    yield from _folder(settings.data_dir)
    yield _disk(settings.data_dir)
    yield from _fsync(settings.data_dir)
    if settings.database_url is None:
        yield _store(settings)
    else:
        yield from _postgres(settings.database_url)
    yield from _clock(settings)
    yield _port(settings, busy=busy)
    yield from _lists(settings)
    yield from _tls(settings)
    yield from _files(settings)
    yield _second_look(settings.scan_depth)


def _busy(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        lock(folder).close()
    except DataFolderBusy:
        return True
    except ConfigError:
        return False
    return False


def _folder(folder: Path) -> Iterator[Check]:
    name = "data folder"
    if not folder.is_dir():
        yield skipped(name, f"{folder} is not there yet; `sentinel serve` makes it")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield bad(
            name,
            f"{folder} can't be written by this user",
            f"chown it, or run as its owner (uid {folder.stat().st_uid})",
        )
        return
    if folder.stat().st_mode & OTHERS:
        yield bad(name, f"others may look into {folder}, where tokens and keys lie", f"chmod 700 {folder}")
    else:
        yield good(name, f"{folder} belongs to us alone")
    for secret in ("token", "audit.key", "pseudonym.key"):
        path = folder / secret
        if path.exists() and path.stat().st_mode & OTHERS:
            yield bad(f"data folder: {secret}", f"others may read {path}", f"chmod 600 {path}")


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _disk(folder: Path) -> Check:
    found = shutil.disk_usage(_there(folder))
    says = f"{found.free / 1024**3:.1f} GiB free, {found.free / found.total:.0%}"
    if found.free < _LEAST_BYTES:
        return bad("disk", says, "make room, or lower retention_days; a full disk refuses events with 503")
    if found.free / found.total < _LEAST_SHARE:
        return warned("disk", says, "make room, or lower retention_days")
    return good("disk", says)


def _fsync(folder: Path) -> Iterator[Check]:
    """202 promises that an event is on disk; some file systems keep it in memory, or on another machine."""
    kind = _file_system(_there(folder))
    if kind in _FORGETFUL:
        says = f"the data folder lies on {kind}, which a restart of the machine or container empties"
        yield warned("fsync: file system", says, "put it on a disk or a volume")
    elif kind in _ELSEWHERE:
        says = f"the data folder lies on {kind}: SQLite's locks and fsync are not to be trusted there"
        yield bad("fsync: file system", says, "put it on a local disk")
    else:
        yield good("fsync: file system", kind or "not known")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(5):
            file.write(b"x" * 4096)
            file.flush()
            begin = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    median = statistics.median(times)
    says = f"{median * 1000:.1f} ms"
    if median > _SLOW_FSYNC_SECONDS:
        yield warned("fsync: time", says, "every 202 waits for one; take a faster disk, or send larger batches")
    else:
        yield good("fsync: time", says)


def _file_system(path: Path) -> str | None:
    """Return the type of the file system that a folder lies on, where the kernel tells."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [(Path(part[1].replace("\\040", " ")), part[2]) for part in map(str.split, mounts)]
    inside = [(len(place.parts), kind) for place, kind in found if path.is_relative_to(place)]
    return max(inside, default=(0, None))[1]


def _store(settings: Settings) -> Check:
    name, path = "store", settings.database_path
    if not path.exists():
        return skipped(name, "there is none yet")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as store:
            said = store.execute("PRAGMA quick_check(1)").fetchone()[0]
            mode = store.execute("PRAGMA journal_mode").fetchone()[0]
            [version] = store.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.Error, TypeError) as err:
        return bad(name, f"{path} is no whole store ({type(err).__name__})", "sentinel db restore BACKUP")
    if said != "ok":
        return bad(name, f"{path} is damaged", "stop the service; sentinel db restore BACKUP")
    if mode != "wal":
        return bad(name, f"its journal mode is {mode}", "start the service once: it sets wal")
    return good(name, f"whole, schema {version}, {path.stat().st_size / 1024**2:.0f} MiB")


def _postgres(url: str) -> Iterator[Check]:
    from sentinel.storage import place_of, state_of  # noqa: PLC0415 - the server extra, and slow to import

    name, place = "store", place_of(url)
    try:
        state = state_of(url)
    except ConfigError as err:
        yield bad(name, str(err), "start PostgreSQL, or correct SENTINEL_DATABASE_URL: docs/how-to/use-postgresql.md")
        return
    if state.encoding != "UTF8":
        yield bad(name, f"{place} has the encoding {state.encoding}", "create a database with ENCODING 'UTF8'")
    elif state.schema is None:
        yield skipped(name, f"{place} is empty; `sentinel serve` makes the tables")
    else:
        yield good(name, f"{place}, schema {state.schema}, {state.size / 1024**2:.0f} MiB, PostgreSQL {state.version}")
    if state.fsync:
        yield good("store: fsync", f"on, synchronous_commit {state.synchronous_commit}")
    else:
        yield bad("store: fsync", "off: a power cut loses what a 202 promised", "ALTER SYSTEM SET fsync = on")


def _clock(settings: Settings) -> Iterator[Check]:
    state = _kernel_clock()
    if state is None:
        yield skipped("clock: synchronised", "the kernel does not tell")
    elif state == _TIME_ERROR:
        yield warned("clock: synchronised", "nothing sets this machine's clock", "run chrony or systemd-timesyncd")
    else:
        yield good("clock: synchronised", "the kernel says so")
    latest = _latest(settings)
    now = time.time_ns() // 1000
    if latest is not None and latest > now + _AHEAD:
        hours = (latest - now) / 3_600_000_000
        says = f"the store holds what was written {hours:.1f} h from now: the clock was ahead, or is behind"
        yield bad("clock: against the store", says, "set the clock; blocks end by it")
    elif latest is not None:
        yield good("clock: against the store", "nothing in the store is from the future")


def _kernel_clock() -> int | None:
    """Return what adjtimex(2) says of the clock; 5 = it is not synchronised."""
    try:
        # The structure is smaller; its first field, 0, asks to read only.
        return int(ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError):
        return None


def _latest(settings: Settings) -> Micros | None:
    if settings.database_url is not None:
        from sentinel.storage import state_of  # noqa: PLC0415 - the server extra, and slow to import

        with suppress(ConfigError):  # said above
            return state_of(settings.database_url).last_audited
        return None
    try:
        with closing(sqlite3.connect(f"file:{settings.database_path}?mode=ro", uri=True, timeout=5)) as store:
            found = store.execute("SELECT max(at) FROM audit_trail").fetchone()[0]
    except sqlite3.Error:
        return None
    return None if found is None else int(found)


def _port(settings: Settings, *, busy: bool) -> Check:
    name = "port"
    if busy:
        return good(name, "a service runs on this data folder")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as err:
        says = f"{settings.host}:{settings.port}: {err.strerror}"
        return bad(name, says, "another program has it: `ss -ltnp` names it; or choose another with --port")
    return good(name, f"{settings.host}:{settings.port} is free")


def _lists(settings: Settings) -> Iterator[Check]:
    for name, harm in (
        ("allow_list", "so much may never be blocked"),
        ("trusted_proxies", "so many may say in X-Forwarded-For that they are somebody else, and are never blocked"),
    ):
        wide = [
            text
            for text in getattr(settings, name)
            for network in [ip_network(text)]
            if network.prefixlen < WIDEST_PREFIX[network.version]
        ]
        if wide:
            yield bad(name, f"{', '.join(wide)}: {harm}", f"name the few addresses in {name} that need it")
        else:
            yield good(name, f"{len(getattr(settings, name))} entries")
    if not _loopback(settings.host) and settings.tls_certificate is None and not settings.trusted_proxies:
        says = f"it listens on {settings.host} without TLS, and no proxy is trusted: tokens go in the clear"
        yield warned("listening", says, "tls_certificate, or a proxy in front: docs/how-to/use-tls.md")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(settings: Settings) -> Iterator[Check]:
    if settings.tls_certificate is None:
        return
    try:
        from sentinel.certificates import State, examine  # noqa: PLC0415 - the server extra
    except ModuleNotFoundError as err:
        yield skipped("tls: certificate", f"{err.name} is missing here: the server extra brings it")
        return
    key_path = settings.tls_key or settings.tls_certificate
    try:
        certificate, key = settings.tls_certificate.read_bytes(), key_path.read_bytes()
        facts = examine(certificate, datetime.now(UTC), key=key)
    except (OSError, ConfigError) as err:
        told = err.strerror if isinstance(err, OSError) else str(err)
        yield bad(
            "tls: certificate", f"{settings.tls_certificate}: {told}", "sentinel certs issue, or correct the path"
        )
        return
    fix = "sentinel certs rotate, or ask your authority"
    if facts.state is State.EXPIRING:
        yield warned("tls: certificate", f"{facts.days_left} days left", fix)
    elif facts.state is not State.VALID:
        yield bad("tls: certificate", facts.problem or f"{facts.state.value}: {facts.days_left} days left", fix)
    else:
        yield good("tls: certificate", f"{facts.days_left} days left")
    if others_may_read(key_path):
        yield warned("tls: key", f"others may read {key_path}", f"chmod 600 {key_path}")
    if settings.tls_client_ca is not None and not settings.tls_client_ca.is_file():
        yield bad(
            "tls: authorities", f"{settings.tls_client_ca} is missing", "sentinel certs init, or correct the path"
        )


def _files(settings: Settings) -> Iterator[Check]:
    try:
        rules = read_files(settings.rules_dir, settings.thresholds_path).rules
    except ConfigError as err:
        yield bad("rules", str(err), "sentinel rules lint")
    else:
        refused = "; ".join(f"{each.file}:{each.line}: {each.reason}" for each in rules.refused[:3])
        if refused:
            yield bad("rules", f"{len(rules.refused)} refused: {refused}", "sentinel rules lint says which and why")
        else:
            yield good("rules", f"{len(rules.rules)} load")
    for name, read, page in (
        ("policy", lambda: read_policy(settings.policy_file), "decide-what-is-done.md"),
        ("escalation", lambda: read_plan(settings.escalation_file), "wake-people.md"),
        ("baselines", lambda: read_tuning(settings.baselines_file, settings.baselines_path), "notice-the-unusual.md"),
    ):
        try:
            read()
        except ConfigError as err:
            yield bad(name, str(err), f"docs/how-to/{page}")
        else:
            yield good(name, "it loads")
    for name in _NAMED:
        path: Path | None = getattr(settings, name)
        if path is None:
            continue
        if path.is_file() and os.access(path, os.R_OK):
            yield good(name, "it is there")
        else:
            yield bad(name, f"{path} is missing, or closed to this user", "put it there, or take the setting out")


def _second_look(depth: Depth) -> Check:
    from sentinel.scanning.classify.encoder import INSTALL  # noqa: PLC0415 - slow to import
    from sentinel.scanning.second_look import encoder_for  # noqa: PLC0415

    name = "second look"
    try:
        encoder = encoder_for(depth)
        if encoder is None:
            without = f"there is no encoder ({INSTALL})"
            return good(name, "nowhere: scan_depth is fast" if depth == "fast" else f"nowhere: {without}")
        encoder.checked()
    except ConfigError as err:
        return bad(name, str(err), "install it again, or set scan_depth to fast")
    return good(name, f"{depth}: encoder {encoder.version}, its files are those it describes")
