"""`sentinel db`: upgrade, prune, back up and restore what a data folder keeps."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from sentinel.cli._service import DataDir, ask, on_service, server_extra
from sentinel.datafolder import lock, own_secret
from sentinel.errors import ConfigError
from sentinel.settings import Settings, load_settings

__all__ = ["app"]

app = typer.Typer(help="Upgrade, prune, back up and restore the store.", no_args_is_help=True)


@app.command()
def upgrade(data_dir: DataDir = None) -> None:
    """
    Bring the store to this version's schema. `serve` does it too; this shows what it did. The service must be stopped.

    Example: sentinel db upgrade
    """
    with server_extra():
        from sentinel.storage import Store, place_of, schema_version  # noqa: PLC0415 - the server extra, and slow to import

    settings = load_settings({"data_dir": data_dir})

    async def migrate() -> None:
        await (await Store.open(settings.store_place)).close()

    with lock(settings.data_dir):
        before = schema_version(settings.store_place)
        asyncio.run(migrate())
        after = schema_version(settings.store_place)
    place = settings.database_path if settings.database_url is None else place_of(settings.database_url)
    typer.echo(f"{place}: schema {before or 'none'} -> {after}")


@app.command()
def prune(data_dir: DataDir = None) -> None:
    """
    Delete what is older than the settings retention_days and audit_retention_days say. The service does it hourly.

    Example: sentinel db prune
    """
    answer = on_service(lambda client, _: ask(client, "POST", "/prune"), {"data_dir": data_dir})
    typer.echo(", ".join(f"{count} {name}" for name, count in answer["deleted"].items()) + " deleted")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A new file.")],
    data_dir: DataDir = None,
) -> None:
    """
    Write a whole copy of the store to a file, while the service runs or not. Keep the anchors elsewhere, not with it.

    Example: sentinel db backup /backup/sentinel-2026-11-22.db
    """
    with server_extra():
        from sentinel.storage import backup as write  # noqa: PLC0415 - the server extra, and slow to import

    size = write(_file(load_settings({"data_dir": data_dir})), target)
    typer.echo(f"{target}: {size:,} bytes")


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What `db backup` wrote.")],
    data_dir: DataDir = None,
) -> None:
    """
    Put a backup in place of the store. The service must be stopped; the store that is there now is kept beside it.

    What came after the backup is gone, and the audit anchor says so from then on.

    Example: sentinel db restore /backup/sentinel-2026-11-22.db
    """
    with server_extra():
        from sentinel.storage import restore as put  # noqa: PLC0415 - the server extra, and slow to import

    if not source.is_file():
        raise ConfigError("there is no such file", where=str(source))
    settings = load_settings({"data_dir": data_dir})
    path = _file(settings)
    with lock(settings.data_dir):
        kept = put(source, path)
        size = asyncio.run(_settle(settings))
    typer.echo(f"restored: the audit log ends at entry {size}")
    if kept is not None:
        sys.stderr.write(f"the store that was there is kept as {kept}\n")


@app.command()
def restored(data_dir: DataDir = None) -> None:
    """
    Say that PostgreSQL's own tools brought the store back from a backup. The service must be stopped.

    What came after the backup is gone: the audit anchor says so from then on, and enforcement points take everything
    anew. After `sentinel db restore`, which says it by itself, there is no need.

    Example: sentinel db restored
    """
    settings = load_settings({"data_dir": data_dir})
    with lock(settings.data_dir):
        size = asyncio.run(_settle(settings))
    typer.echo(f"restored: the audit log ends at entry {size}")


def _file(settings: Settings) -> Path:
    if settings.database_url is not None:
        raise ConfigError(
            "PostgreSQL has the store: back it up with its own tools, such as pg_dump", where="database_url"
        )
    return settings.database_path


async def _settle(settings: Settings) -> int:
    """Bring the store to the present schema, and say in it and in the anchor that it is a restored one."""
    with server_extra():
        from sentinel.storage import Notary, Store  # noqa: PLC0415 - as above

    store = await Store.open(settings.store_place)
    try:
        await store.restored()
        notary = Notary(
            store, settings.anchor_path, own_secret(settings.audit_key_path), lambda: time.time_ns() // 1000
        )
        await notary.begin()
        await notary.restored()
        if notary.trouble is not None:
            raise ConfigError(notary.trouble, where=str(settings.anchor_path))
        return store.audited[0]
    finally:
        await store.close()
