"""
Write the newest schema, as the steps of the migrations make it, to where new SQLite files get theirs from.

    python -m tests.support.schema
"""

from __future__ import annotations

from sqlalchemy import create_engine

from sentinel.storage.migrations import SCHEMA, newest_version, upgrade

_MADE = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"


def schema() -> str:
    """Return the version and the statements, rows of the migrations' own among them."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection)
        statements = [" ".join(sql.split()) for sql in connection.exec_driver_sql(_MADE).scalars()]
        for table in ("alembic_version", "positions"):
            for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1"):
                values = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in row)
                statements.append(f"INSERT INTO {table} VALUES ({values})")
    engine.dispose()
    return f"-- version {newest_version()}\n" + "\n\n".join(statements) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
