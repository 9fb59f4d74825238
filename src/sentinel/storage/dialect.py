r"""
What SQLite and PostgreSQL say differently: here, once each. The rest of the store speaks what both understand.

Two of the differences are of kind, not of words:

- Many rows at once. SQLite takes them in a few long INSERTs, since each step of a statement costs more than a row;
  PostgreSQL by COPY.
- NUL. SQLite keeps any text; PostgreSQL's can't hold the character U+0000, which a sender may well put into a name.
  There it is kept as U+FDD0, which Unicode never assigns, and comes back as U+0000. JSON columns hold it as `\u0000`,
  which they may; functions that look into JSON refuse it, so they look away where it stands. SQLite's own cut a text
  there, so lists of texts (`listed`) hold U+FDD0 for both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import JSON, Connection, Select, Table, Text, TextClause, bindparam, cast, func, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

__all__ = [
    "FIRST",
    "LISTED",
    "NUL",
    "PARTED",
    "SECOND",
    "TEXTS",
    "VALUE",
    "Bulk",
    "Each",
    "delete_some",
    "detail",
    "each",
    "gathered",
    "holds",
    "insert_missing",
    "insert_rows",
    "insert_unless_known",
    "listed",
    "words",
    "write_rows",
]

T = TypeVar("T")

_UNIQUE_VIOLATION = "23505"
PARTED = {"events": "at", "data_access_log": "created_at", "audit_log": "created_at"}
"""The tables that PostgreSQL has in parts, with the column of the time that they are kept for."""
NUL = "\ufdd0"
"""What stands for U+0000 in PostgreSQL."""

_encode = msgspec.json.Encoder().encode


class Each(NamedTuple, Generic[T]):
    """The same thing for either database."""

    sqlite: T
    postgresql: T

    def on(self, connection: Connection) -> T:
        """Return the one for the database that a connection leads to."""
        return self.sqlite if connection.dialect.name == "sqlite" else self.postgresql


def each(make: Callable[[Callable[[Table], Any]], T]) -> Each[T]:
    """Return a statement made with either database's own INSERT, the only one that knows ON CONFLICT."""
    return Each(make(sqlite.insert), make(postgresql.insert))


def words(statement: str, **differing: Each[str]) -> Each[TextClause]:
    """Return a statement in whose braces stands what differs."""
    return Each(
        text(statement.format(**{name: both.sqlite for name, both in differing.items()})),
        text(statement.format(**{name: both.postgresql for name, both in differing.items()})),
    )


def insert_missing(table: Table) -> Each[Any]:
    """Return the statement that writes rows, where none with the same primary key is there."""
    return each(lambda insert: insert(table).on_conflict_do_nothing())


# --- lists as one bound value: a statement with a place for each element takes longer to build than to run


def _with_nul(value: str) -> str:
    """SQLite's JSON functions cut a text at U+0000."""
    return f"replace({value}, char({ord(NUL)}), char(0))"


LISTED = Each("json_each(:listed) AS asked", "json_array_elements(CAST(:listed AS json)) AS asked(value)")
"""What stands after FROM: a row with a `value` for each element of what `listed` returned."""
VALUE = Each(_with_nul("asked.value"), "(asked.value #>> '{}')")
"""An element that is a text."""
FIRST = Each(_with_nul("json_extract(asked.value, '$[0]')"), "(asked.value ->> 0)")
"""Of an element that is a pair."""
SECOND = Each(_with_nul("json_extract(asked.value, '$[1]')"), "(asked.value ->> 1)")


def listed(values: Iterable[object]) -> str:
    """Return texts, or pairs of texts, as the value of `:listed`."""
    found = _encode(list(values)).decode()
    if "\\u0000" not in found:
        return found
    return _encode(_without_nul(msgspec.json.decode(found))).decode()


def _without_nul(value: Any) -> Any:
    return list(map(_without_nul, value)) if isinstance(value, list) else str(value).replace("\0", NUL)


def _texts() -> Each[Select[Any]]:
    asked = bindparam("listed", type_=Text)
    return Each(
        select(func.replace(func.json_each(asked).table_valued("value").c.value, NUL, func.char(0))),
        select(func.json_array_elements_text(cast(asked, JSON)).table_valued("value").render_derived().c.value),
    )


TEXTS = _texts()
"""The same as a query, of texts alone."""

# --- what is said of an event, in the bytes that it is kept as


class holds(FunctionElement[bool]):  # noqa: N801 - reads as a function
    """Whether a column of bytes holds these bytes somewhere: holds(column, bytes)."""

    inherit_cache = True


@compiles(holds, "sqlite")
def _holds_in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    column, needle = (compiler.process(part, **options) for part in element.clauses)
    return f"instr({column}, {needle}) > 0"


@compiles(holds, "postgresql")
def _holds_in_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    column, needle = (compiler.process(part, **options) for part in element.clauses)
    return f"position({needle} IN {column}) > 0"


class detail(FunctionElement[str]):  # noqa: N801 - as above
    """
    What the details of an event say of something, as text, NULL when nothing: detail(column, name).

    PostgreSQL can't read JSON that holds U+0000 anywhere; of such an event NULL, too, so it counts as saying nothing.
    """

    inherit_cache = True
    type = Text()


@compiles(detail, "sqlite")
def _detail_in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    column, name = (compiler.process(part, **options) for part in element.clauses)
    return f"json_extract(CAST({column} AS TEXT), '$.details.' || {name})"


@compiles(detail, "postgresql")
def _detail_in_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    column, name = (compiler.process(part, **options) for part in element.clauses)
    within = f"convert_from({column}, 'UTF8')::json #>> ARRAY['details', {name}]"
    return (
        f"CASE WHEN position(decode('5c7530303030', 'hex') IN {column}) = 0 THEN {within} END"  # the bytes of \\u0000
    )


class gathered(FunctionElement[str]):  # noqa: N801 - as above
    """The different texts of a group, with commas between them: gathered(column)."""

    inherit_cache = True
    type = Text()


@compiles(gathered, "sqlite")
def _gathered_in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"group_concat(DISTINCT {compiler.process(element.clauses, **options)})"


@compiles(gathered, "postgresql")
def _gathered_in_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"string_agg(DISTINCT {compiler.process(element.clauses, **options)}, ',')"


# --- many rows


_ASYNCPG: Any = asyncpg.dialect  # its words alone: the driver need not be there


class Bulk(NamedTuple):
    """A statement as text for many rows at once: SQLAlchemy takes longer to bind a row than SQLite to write it."""

    text: str
    places: tuple[str, ...]
    given: Mapping[str, Any]
    """Values that are the same for every row."""

    @classmethod
    def of(cls, statement: Each[Any]) -> Each[Bulk]:
        """Return a statement in either database's words."""
        compiled = (
            statement.sqlite.compile(dialect=sqlite.dialect(paramstyle="qmark")),
            statement.postgresql.compile(dialect=_ASYNCPG()),
        )
        return Each(*(cls(str(one), tuple(one.positiontup), one.params) for one in compiled))

    def bound(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """Return what the places of the statement get, for each row; JSON columns as text."""
        return [tuple(row[place] if place in row else self.given[place] for place in self.places) for row in rows]


def write_rows(connection: Connection, statement: Each[Bulk], rows: Iterable[Mapping[str, Any]]) -> None:
    """Have a statement run for each of these rows, of which there is one at least."""
    bulk = statement.on(connection)
    connection.exec_driver_sql(bulk.text, bulk.bound(rows))


def insert_unless_known(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> bool:
    """
    Write whole rows at the beginning of a transaction.

    Returns:
        False, with nothing written, when one of them is there already.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        return _copied(connection, table, rows)
    try:
        insert_rows(connection, table, rows)
    except sqlite3.IntegrityError:
        driver.rollback()
        return False
    return True


def insert_rows(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write whole rows, in the order of the table's columns."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        _copy(connection, table, rows)
        return
    done = 0
    for size, statement in _long_inserts(table):
        while len(rows) - done >= size:
            driver.execute(statement, list(chain.from_iterable(rows[done : done + size])))
            done += size


def _copied(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> bool:
    before = connection.begin_nested()
    try:
        _copy(connection, table, rows)
    except Exception as err:
        if getattr(err, "sqlstate", None) != _UNIQUE_VIOLATION:
            raise
        before.rollback()
        return False
    before.commit()
    return True


def _copy(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    names = [column.name for column in table.columns]
    adapted: Any = connection.connection.dbapi_connection
    if table.name == "events":  # what of them must be unique over all parts (`parts`); refused before much was written
        ids = [(row[1], row[0]) for row in rows]
        adapted.run_async(lambda driver: driver.copy_records_to_table("event_ids", records=ids))
    adapted.run_async(lambda driver: driver.copy_records_to_table(table.name, records=rows, columns=names))


def _long_inserts(table: Table) -> list[tuple[int, str]]:
    """Return statements by how many rows they write, the most first; few, so that each is compiled once."""
    if table.name not in _LONG_INSERTS:
        columns = ", ".join(column.name for column in table.columns)
        one = f"({', '.join('?' * len(table.columns))})"
        _LONG_INSERTS[table.name] = [
            (rows, f"INSERT INTO {table.name} ({columns}) VALUES {', '.join([one] * rows)}")  # noqa: S608 - our own names
            for rows in (256, 32, 4, 1)
        ]
    return _LONG_INSERTS[table.name]


_LONG_INSERTS: dict[str, list[tuple[int, str]]] = {}


def delete_some(table: str, which: str, most: int) -> Each[TextClause]:
    """Return the statement that deletes up to so many of these rows."""
    return Each(
        text(f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE {which} LIMIT {most})"),  # noqa: S608 - our own names
        text(f"DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {which} LIMIT {most}))"),  # noqa: S608 - our own names
    )
