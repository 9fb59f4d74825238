"""`sentinel certs`: an authority of one's own for mutual TLS, and a look at what will expire."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sentinel.cli._service import AsJson, console, fail, server_extra
from sentinel.datafolder import others_may_read, write_secret
from sentinel.errors import ConfigError
from sentinel.settings import parse_duration

if TYPE_CHECKING:  # the server extra, and slow to import
    from sentinel import certificates

__all__ = ["app", "certificate_rows"]

app = typer.Typer(help="Make, renew and check certificates for TLS.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--dir", help="Folder with the authority and what it issued.")]
_CA = "ca"
_DEFAULT = Path("certs")
_WORSE_THAN_OLD = {"critical", "expired", "invalid"}


def _library() -> Any:
    with server_extra():
        from sentinel import certificates  # noqa: PLC0415 - the server extra, and slow to import
    return certificates


@app.command()
def init(
    folder: Folder = _DEFAULT,
    name: Annotated[str, typer.Option(help="What the authority calls itself.")] = "Sentinel CA",
) -> None:
    """
    Make an authority, for ten years: ca.pem, which everybody gets, and ca.key, which nobody else may have.

    Example: sentinel certs init --dir certs
    """
    _absent(folder, _CA)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(folder, _CA, _library().make_ca(name, _now()))


@app.command()
def issue(
    name: Annotated[str, typer.Argument(help="Name of the files, and the first name that it holds for.")],
    san: Annotated[list[str] | None, typer.Option("--san", help="A further DNS name or address; repeatable.")] = None,
    folder: Folder = _DEFAULT,
    days: Annotated[int, typer.Option(min=1, max=825, help="How long it holds.")] = 365,
) -> None:
    """
    Issue a certificate, for a server and a client alike: NAME.pem and NAME.key.

    Example: sentinel certs issue sentinel --san localhost --san 127.0.0.1
    """
    if name == _CA or not name.replace("-", "").replace(".", "").replace("_", "").isalnum() or name.startswith("."):
        raise ConfigError("a name of letters, digits, dots and dashes, other than `ca`", where=name)
    _absent(folder, name)
    _write(folder, name, _library().issue(_authority(folder), name, [name, *(san or ())], _now(), days))


@app.command()
def rotate(
    names: Annotated[list[str] | None, typer.Argument(help="Which; without names all that are due.")] = None,
    folder: Folder = _DEFAULT,
    within: Annotated[str, typer.Option(help="Due is what ends within this time.")] = "30d",
) -> None:
    """
    Issue certificates anew, with new keys and the names that they had. A service that runs takes them by itself.

    Example: sentinel certs rotate
    """
    library, now = _library(), _now()
    try:
        latest = now + timedelta(seconds=parse_duration(within))
    except (ValueError, OverflowError):
        raise ConfigError("write it like 30d or 12h", where="--within") from None
    for name in names or _issued(folder):
        facts = library.examine(_read(folder / f"{name}.pem"), now)
        if names or facts.not_after <= latest:
            days = max(1, (facts.not_after - facts.not_before).days)
            _write(folder, name, library.issue(_authority(folder), name, facts.names or [name], now, days))


@app.command()
def check(folder: Folder = _DEFAULT, as_json: AsJson = False) -> None:
    """
    Show how each certificate does. Exit code 3: something ends within 30 days; 1: within 7, or it can't be used.

    Example: sentinel certs check --json
    """
    rows = certificate_rows(folder, _now())
    if not rows:
        raise ConfigError(
            "there is no certificate; make some with `sentinel certs init` and `issue`", where=str(folder)
        )
    if as_json:
        typer.echo(json.dumps({"items": rows}))
    else:
        table = Table("name", "state", "days left", "until", "holds for", "problem")
        for row in rows:
            days = "" if row["days_left"] is None else str(row["days_left"])
            names = ", ".join(row["names"])
            table.add_row(row["name"], row["state"], days, row["not_after"] or "", names, row["problem"] or "")
        console().print(table)
    states = {row["state"] for row in rows}
    raise typer.Exit(1 if states & _WORSE_THAN_OLD else 3 if "expiring_soon" in states else 0)


def certificate_rows(folder: Path, now: datetime) -> list[dict[str, Any]]:
    """Return how each certificate in a folder does, the authority first."""
    names = [_CA] if (folder / f"{_CA}.pem").exists() else []
    return [_row(folder, name, now) for name in [*names, *_issued(folder)]]


def _row(folder: Path, name: str, now: datetime) -> dict[str, Any]:
    key_file, ca_file = folder / f"{name}.key", folder / f"{_CA}.pem"
    library = _library()  # without it no certificate is invalid: nobody can tell
    try:
        ca = None if name == _CA or not ca_file.exists() else ca_file.read_bytes()
        key = key_file.read_bytes() if key_file.exists() else None
        facts: certificates.Facts = library.examine((folder / f"{name}.pem").read_bytes(), now, ca=ca, key=key)
    except (OSError, ConfigError) as err:
        problem = str(err.strerror) if isinstance(err, OSError) else str(err)
        return {"name": name, "state": "invalid", "days_left": None, "not_after": None, "names": [], "problem": problem}
    state, problem = facts.state.value, facts.problem or ""
    if not problem and key is not None and others_may_read(key_file):
        state, problem = "invalid", f"others may read its key: chmod 600 {key_file}"
    return {
        "name": name,
        "state": state,
        "days_left": facts.days_left,
        "not_after": facts.not_after.isoformat().replace("+00:00", "Z"),
        "names": list(facts.names),
        "problem": problem or None,
    }


def _now() -> datetime:
    return datetime.now(UTC)


def _issued(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.pem") if path.stem != _CA)


def _absent(folder: Path, name: str) -> None:
    for path in (folder / f"{name}.pem", folder / f"{name}.key"):
        if path.exists():
            hint = "" if name == _CA else f"; `sentinel certs rotate {name}` renews it"
            fail(f"{path} is there already{hint}", 2)


def _authority(folder: Path) -> Any:
    return _library().Pair(_read(folder / f"{_CA}.pem"), _read(folder / f"{_CA}.key"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ConfigError(f"can't be read: {err.strerror}", where=str(path)) from None


def _write(folder: Path, name: str, pair: Any) -> None:
    """Write the key first: who reads in between finds a pair that does not fit, and keeps what he has."""
    write_secret(folder / f"{name}.key", pair.key)
    part = folder / f".{name}.pem.part"
    part.write_bytes(pair.certificate)
    part.chmod(0o644)
    part.replace(folder / f"{name}.pem")
    typer.echo(f"{folder / name}.pem, {folder / name}.key")
