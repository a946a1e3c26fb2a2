import contextlib
import itertools
import multiprocessing
import resource
import shutil
import sqlite3

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from evolvent.errors import BadInput, StoreError
from evolvent.hive.hub import database as under_test
from evolvent.hive.hub.database import MIGRATIONS, open_database
from evolvent.hive.hub.hub import open_hub
from evolvent.hive.hub.identity import add_user, register
from evolvent.hive.hub.schema import agents, metadata, users
from evolvent.hive.hub.search import index

SEARCH = ("search_text", "words", "search_words")  # what each database needs to find words, beside the tables
NEXT = """
from alembic import op
from sqlalchemy import Column, Integer

revision, down_revision, branch_labels, depends_on = "0003", "0002", None, None

def upgrade():
    op.add_column("users", Column("num_logins", Integer, nullable=False, server_default="7"))
"""
_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request, tmp_path):
    """A database without any table."""
    if request.param == "sqlite":
        yield str(tmp_path / "hub.db")
        return
    postgres = request.getfixturevalue("postgres")
    name = f"empty_{next(_numbers)}"
    postgres.connection.execute(f"CREATE DATABASE {name}")
    yield postgres.server.get_uri(database=name)
    postgres.connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_migrations_make_what_the_code_works_with(empty_url):
    with opened(empty_url) as database, database.read() as connection:
        defaults = is_other_default if database.is_sqlite else True
        options = {"include_object": is_ours, "compare_type": True, "compare_server_default": defaults}
        difference = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        keys = unique_keys(connection)
    assert difference == [], "the migrations and schema.py say different things"
    assert keys == {name: wanted_keys(table) for name, table in metadata.tables.items()}


def test_a_migration_can_be_taken_back_and_made_again(empty_url):
    with opened(empty_url) as database:
        with database.write() as connection:
            add_user(connection, "olga", "owner")
            talk(connection)
        with database.write() as connection:
            command.downgrade(config_of(connection), "base")
        with database.read() as connection:
            left = set(inspect(connection).get_table_names()) - {"alembic_version"}
        assert left == set(), "tables were left behind"
        with database.write() as connection:
            command.upgrade(config_of(connection), "head")
            assert connection.execute(select(users)).all() == []
            talk(connection)


def test_a_database_that_is_brought_up_to_date_keeps_its_rows_and_an_older_version_refuses_it(
    empty_url, tmp_path, monkeypatch
):
    with opened(empty_url) as database, database.write() as connection:
        add_user(connection, "olga", "owner")
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (tmp_path / "migrations/versions/0003_next.py").write_text(NEXT)
    with monkeypatch.context() as later_version:
        later_version.setattr(under_test, "MIGRATIONS", tmp_path / "migrations")
        with opened(empty_url) as database, database.read() as connection:
            rows = connection.execute(text("SELECT name, num_logins FROM users")).all()
            assert [tuple(row) for row in rows] == [("olga", 7)]
    with pytest.raises(StoreError) as refused:
        open_database(empty_url)
    assert "newer" in str(refused.value.what) and refused.value.cure, refused.value
    with monkeypatch.context() as later_version:
        later_version.setattr(under_test, "MIGRATIONS", tmp_path / "migrations")
        with opened(empty_url) as database, database.read() as connection:
            assert connection.execute(select(users.c.name)).scalars().all() == ["olga"], "the refusal lost a row"


def test_a_hub_of_the_first_version_keeps_its_agents_and_lets_them_take_turns(empty_url):
    with opened(empty_url) as database, database.write() as connection:
        command.downgrade(config_of(connection), "0001")
        row = "INSERT INTO agents (id, registered_at, last_seen_at) VALUES ('ann', 'then', 'then')"
        connection.execute(text(row))
    with opened(empty_url) as database, database.read() as connection:
        assert connection.execute(select(agents.c.id, agents.c.served_at)).all() == [("ann", "")]


def test_a_migration_that_breaks_leaves_everything_as_it_was(empty_url, tmp_path, monkeypatch):
    with opened(empty_url) as database, database.write() as connection:
        add_user(connection, "olga", "owner")
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    broken = NEXT + '    op.execute("INSERT INTO nowhere VALUES (1)")\n'
    (tmp_path / "migrations/versions/0003_next.py").write_text(broken)
    with monkeypatch.context() as later_version:
        later_version.setattr(under_test, "MIGRATIONS", tmp_path / "migrations")
        with pytest.raises(StoreError):
            open_database(empty_url)
    with opened(empty_url) as database, database.read() as connection:
        columns = {column["name"] for column in inspect(connection).get_columns("users")}
        assert "num_logins" not in columns, "half a migration was kept"
        assert connection.execute(select(users.c.name)).scalars().all() == ["olga"]


def test_processes_that_open_at_the_same_moment_wait_for_each_other(empty_url):
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Barrier(4), fork.SimpleQueue()
    children = [fork.Process(target=open_and_add, args=(empty_url, f"user {i}", start, answers)) for i in range(4)]
    for child in children:
        child.start()
    said = [answers.get() for _ in children]
    for child in children:
        child.join(20)
    assert said == ["fine"] * 4, said
    with opened(empty_url) as database, database.read() as connection:
        assert connection.execute(select(users.c.name).order_by(users.c.name)).scalars().all() == [
            f"user {i}" for i in range(4)
        ]


def open_and_add(url, name, start, answers):
    try:
        start.wait(20)
        with opened(url) as database, database.write() as connection:
            add_user(connection, name, "user")
        answers.put("fine")
    except BaseException as error:
        answers.put(repr(error))


@pytest.mark.parametrize("content", [b"this is a letter, not a database" * 200, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "hub.db"
    path.write_bytes(content)
    with pytest.raises(StoreError) as refused:
        open_database(str(path))
    assert str(path) in str(refused.value.where) and refused.value.cure
    assert path.read_bytes() == content


def test_tables_of_another_program_are_refused_and_left_alone(tmp_path):
    path = tmp_path / "hub.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE users (shoe_size)")
        other.execute("INSERT INTO users VALUES (43)")
        other.commit()
    with pytest.raises(StoreError):
        open_database(str(path))
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT * FROM users").fetchall() == [(43,)]
        assert other.execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


@pytest.mark.parametrize("place", ["missing/hub.db", "file/hub.db", "folder"])
def test_a_place_where_no_file_can_be_is_a_store_error(tmp_path, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError) as refused:
        open_database(str(tmp_path / place))
    assert refused.value.cure


@pytest.mark.parametrize(
    "url", ["mysql://localhost/hub", "sqlite+nothing:///hub.db", "://", "postgresql+asyncpg://x/y"]
)
def test_a_url_that_no_hub_can_use_is_bad_input(url):
    with pytest.raises(BadInput):
        open_database(url)


def test_a_server_that_is_not_there_is_a_store_error_without_the_password():
    with pytest.raises(StoreError) as refused:
        open_database("postgresql://olga:sesame@127.0.0.1:1/hub?connect_timeout=2")
    assert "sesame" not in str(refused.value)
    assert "127.0.0.1" in str(refused.value.where)


def test_a_full_disk_is_told_and_nothing_that_was_answered_is_lost(tmp_path):
    from starlette.testclient import TestClient

    from evolvent.hive.hub.app import make_app

    hub = open_hub(tmp_path / "hub")
    with TestClient(make_app(hub), raise_server_exceptions=False) as client:
        names = [client.post("/api/register", json={"preferred_name": "ann"}).json()["id"]]
        with contextlib.closing(sqlite3.connect(tmp_path / "hub/hub.db")) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what follows needs room of its own
        with files_end_at(60_000):
            said = [client.post("/api/register", json={"preferred_name": f"bob-{i}"}) for i in range(15)]
            assert client.get("/api/agents").status_code == 200, "reading needs no room"
        names += [one.json()["id"] for one in said if one.status_code == 201]
        refused = [one for one in said if one.status_code != 201]
        assert refused and {one.status_code for one in refused} == {503}, "the disk was not full, or was not told"
        assert "nothing was kept" in refused[0].json()["detail"]
        assert "sqlite" not in refused[0].text.lower(), "clients hear nothing of the inside"
        names.append(client.post("/api/register", json={"preferred_name": "cleo"}).json()["id"])
    hub.close()
    again = open_hub(tmp_path / "hub")
    with again.database.read() as connection:
        assert set(connection.execute(select(agents.c.id)).scalars()) == set(names)
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    again.close()


@contextlib.contextmanager
def files_end_at(num_bytes):
    """No file of this process grows beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def opened(url):
    database = open_database(url)
    try:
        yield database
    finally:
        database.close()


def config_of(connection):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def is_ours(_thing, name, _kind, _is_there, _like):
    return not any(name == one or (name or "").startswith("search_text") for one in SEARCH)


def is_other_default(_context, _found, _column, found, _wanted, wanted):
    """SQLite puts brackets and quotes around some, which alembic takes for a difference."""
    plain = [one if one is None else one.strip("()'") for one in (found, wanted)]
    return plain[0] != plain[1]


def unique_keys(connection):
    """The columns of each unique key by table; the comparison of alembic leaves out those without a name."""
    found = inspect(connection)
    return {
        name: {tuple(one["column_names"]) for one in found.get_unique_constraints(name)} for name in metadata.tables
    }


def wanted_keys(table):
    from sqlalchemy import UniqueConstraint

    return {
        tuple(column.name for column in one.columns) for one in table.constraints if isinstance(one, UniqueConstraint)
    }


def talk(connection):
    """A word that can be found: each database has its own machinery for that."""
    from evolvent.hive.hub.schema import tasks

    register(connection, "ann")
    row = dict.fromkeys(("name", "description", "program", "config", "digest", "base_sha", "direction"), "x")
    connection.execute(tasks.insert().values(id="t", created_at="x", last_activity="x", **row))
    index(connection, "post", 1, "t", "ann", "a word")
