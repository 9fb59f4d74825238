"""The way from each version's schema to the next."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

__all__ = ["known_versions", "migrate", "newest_version"]


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, in the transaction that the connection is in."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def known_versions() -> set[str]:
    """Return the versions of the schema that this code knows the way from."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def newest_version() -> str:
    """Return the version of the schema that this code works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "there are some"
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
