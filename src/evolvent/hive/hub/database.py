"""Opens the database of a hub, one file of SQLite or Postgres by URL, and brings its tables up to date."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from evolvent.errors import BadInput, MissingExtra, StoreError
from evolvent.hive.hub.groups import Groups

T = TypeVar("T")
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_MS = 30_000
POOL_SIZE = 8
LOCK_KEY = 4_883_541  # of Postgres' advisory lock while tables are brought up to date
DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql+psycopg")
PRAGMAS = {
    "busy_timeout": BUSY_MS,  # first: the next one locks the file
    "journal_mode": "WAL",
    "synchronous": "FULL",  # what was answered survives a loss of power too
    "foreign_keys": "ON",
    "cache_size": -65536,
    "mmap_size": 2**28,
    "temp_store": "MEMORY",
}


class Database:
    """Connections to one database; a write is one transaction, alone among writes where SQLite can have only one."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite sleeps between its tries to write, a lock of threads does not
        self._alone: AbstractContextManager[Any] = threading.Lock() if self.is_sqlite else nullcontext()
        self._groups = Groups(self.write)
        self._counting = threading.Lock()
        self.num_writes = 0  # of this process: what was read before the last of them may be out of date

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: all of it is kept once the block has ended, nothing of it after an error."""
        try:
            with self._alone, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
                yield connection
        finally:  # after an error nobody knows whether it was kept
            with self._counting:
                self.num_writes += 1

    def together(self, work: Callable[[Connection], T]) -> Future[T]:
        """A write that shares its transaction with others that wait; kept, or undone alone, once the future is done."""
        return self._groups.add(work)

    def close(self) -> None:
        """Finish what was begun, and give all connections back."""
        self._groups.close()
        self.engine.dispose()


def open_database(url: str) -> Database:
    """The database at a URL (or the path of a SQLite file), with its tables made or brought up to date."""
    database = Database(_engine(_read_url(url)))
    try:
        _migrate(database)
    except DBAPIError as error:
        database.close()
        cure = "is it a file of a hub, in a folder that can be written?"
        raise StoreError(
            "the database of the hub cannot be opened",
            where=database.engine.url.render_as_string(hide_password=True),
            got=str(error.orig),
            cure=cure if database.is_sqlite else "is the server running, and the database made and empty?",
        ) from error
    except StoreError:
        database.close()
        raise
    return database


def _read_url(url: str) -> URL:
    if "://" not in url:
        return URL.create("sqlite", database=url)
    try:
        found = make_url(url)
    except ArgumentError:
        raise BadInput("this is no URL of a database", where="database", wanted="postgresql://USER@HOST/NAME") from None
    if found.get_backend_name() == "postgresql" and "+" not in found.drivername:
        return found.set(drivername="postgresql+psycopg")
    return found


def _engine(url: URL) -> Engine:
    if url.drivername not in DRIVERS:
        wanted = "a path (SQLite), or postgresql://USER@HOST/NAME"
        raise BadInput("a hub cannot keep its tables there", where="database", got=url.drivername, wanted=wanted)
    try:
        engine = create_engine(url, pool_size=POOL_SIZE, max_overflow=2 * POOL_SIZE, pool_pre_ping=False)
    except ModuleNotFoundError:
        cure = 'pip install "evolvent[postgres]"'
        raise MissingExtra("Postgres needs a driver", where="database", cure=cure) from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for name, value in PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(database: Database) -> None:
    """Every migration that this database has not seen, in one transaction; two processes that start wait in turn."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with database.write() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:  # its revision is none of ours
            raise StoreError(
                "this hub was written by a newer version",
                where=connection.engine.url.render_as_string(hide_password=True),
                got=str(error),
                wanted="tables that this version knows",
                cure="pip install --upgrade evolvent",
            ) from error
