"""The engine: SQLite as a database that several processes share, or whatever the URL names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from console.tables import Base

_BUSY_MS = 30_000
_READ_ONLY = "unmask_read_only"


class Database:
    """Hands out sessions. Safe for threads, not across a fork.

    SQLite begins a writing transaction with BEGIN IMMEDIATE: two that read first and write later would otherwise fail
    each other instead of waiting.
    """

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        # A handful of connections serves the API's thread pool; each costs memory.
        self.engine: Engine = create_engine(url, pool_size=8, max_overflow=32, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._reader = self.engine.execution_options(**{_READ_ONLY: True})

    def create(self) -> None:
        """Makes the tables that are missing."""
        with self.engine.begin() as connection:
            if not self.is_sqlite:
                # Several processes start together; CREATE TABLE IF NOT EXISTS alone can collide.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7267)")
            Base.metadata.create_all(connection)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction, committed at the end of the block."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that changes nothing and waits for nobody."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Closes the idle connections."""
        self.engine.dispose()


def is_disk_full(error: OperationalError) -> bool:
    """Whether the database could not write because there is no room (SQLITE_FULL; SQLSTATE 53100)."""
    return getattr(error.orig, "sqlite_errorname", None) == "SQLITE_FULL" or getattr(error.orig, "sqlstate", None) == "53100"


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an upload that was accepted survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
