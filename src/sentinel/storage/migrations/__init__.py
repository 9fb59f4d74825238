"""
The way from each version's schema to the next.

A new file gets the newest schema as it stands in `sqlite.sql`, and one of that version needs nothing: only a file of
another version needs Alembic, which costs 10 MB and a tenth of a second. `python -m tests.support.schema` writes
`sqlite.sql` anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect

if TYPE_CHECKING:  # slow to import, and large
    from alembic.config import Config

__all__ = ["SCHEMA", "known_versions", "migrate", "newest_version", "upgrade"]

SCHEMA: Final = Path(__file__).with_name("sqlite.sql")
"""The newest schema in SQLite's words, its version in the first line, statements between empty lines."""

_STATED = re.compile(r"-- version (\w+)\n")


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, in the transaction that the connection is in."""
    if connection.dialect.name != "sqlite" or not _is_newest(connection):
        upgrade(connection)


def _is_newest(connection: Connection) -> bool:
    """Whether the schema is the newest; a file without one gets it."""
    schema = SCHEMA.read_text(encoding="utf-8")
    stated = _STATED.match(schema)
    if stated is None or stated[1] != newest_version():
        return False
    names = set(inspect(connection).get_table_names())
    if not names:
        for statement in schema[stated.end() :].split("\n\n"):
            connection.exec_driver_sql(statement)
        return True
    if "alembic_version" not in names:
        return False
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all() == [stated[1]]


def upgrade(connection: Connection) -> None:
    """Take every step from the schema that is there to the newest."""
    from alembic import command  # noqa: PLC0415 - slow to import, and large

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def known_versions() -> set[str]:
    """Return the versions of the schema that this code knows the way from."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - slow to import, and large

    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def newest_version() -> str:
    """Return the version of the schema that this code works with: steps form one chain, named by their numbers."""
    return max(step.name.partition("_")[0] for step in (Path(__file__).parent / "versions").glob("[0-9]*.py"))


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - slow to import, and large

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
