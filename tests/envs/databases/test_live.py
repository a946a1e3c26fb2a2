import asyncio
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent import BadInput
from evolvent.envs.databases import (
    Column,
    Database,
    Databases,
    OpenDatabase,
    Parameter,
    PythonTool,
    SqlTool,
    Statement,
    Table,
    changes,
    digest,
    name_world,
)
from evolvent.envs.databases.live import MAX_ROWS
from evolvent.errors import ToolError
from evolvent.records import Message, Origin, Private, Reference, Task, ToolCall, said

TEAMS = Table("team", (Column("id"), Column("city")), (("t1", "oslo"), ("t2", "rome")))
PLAYERS = Table(
    "player",
    (Column("id"), Column("team", "text", "team"), Column("age", "integer"), Column("fee", "real")),
    (("p1", "t1", 20, 1.5), ("p2", "t1", 31, None), ("p3", "t2", 20, 2.0)),
)


def sql_tool(*statements, parameters=(), gives="rows", name="tool"):
    made = tuple(s if isinstance(s, Statement) else Statement(s) for s in statements)
    return SqlTool(name, "a tool", tuple(Parameter(*p) for p in parameters), made, gives)


SET_AGE = sql_tool(
    Statement("UPDATE player SET age = :age WHERE id = :id", "no player {id}"),
    parameters=(("id",), ("age", "integer")), gives="value", name="set_age",
)  # fmt: skip
FIND = sql_tool("SELECT id FROM player WHERE team = :team ORDER BY id", parameters=(("team",),), name="find")
CITY = sql_tool("SELECT city FROM team WHERE id = :id", parameters=(("id",),), gives="value", name="city")


def database(*tools, **more):
    return Database("league", (TEAMS, PLAYERS), tools or (SET_AGE, FIND, CITY), **more)


def opened(*tools, **more):
    return OpenDatabase(database(*tools, **more))


def called(world, name, **arguments):
    return asyncio.run(world.call("agent", ToolCall(name, arguments)))


# ------------------------------------------------------------ what tools do


def test_a_read_and_a_write_give_what_the_rows_say():
    world = opened()
    assert called(world, "find", team="t1").text == '[{"id": "p1"}, {"id": "p2"}]'
    assert called(world, "city", id="t2").text == '"rome"'
    assert called(world, "set_age", id="p1", age=21).text == '"done"'
    assert world.rows()["player"][0] == ("p1", "t1", 21, 1.5)


def test_a_refused_call_is_an_observation_in_the_tools_own_words():
    world, before = opened(), opened().state_digest()
    found = called(world, "set_age", id="p9", age=21)
    assert found.is_error
    assert found.text == 'error: no player "p9"'
    assert world.state_digest() == before


def test_a_wrong_argument_and_a_wrong_name_are_observations():
    world = opened()
    for call in (
        ToolCall("set_age", {"id": "p1"}),
        ToolCall("set_age", {"id": "p1", "age": "old"}),
        ToolCall("set_age", {"id": "p1", "age": 3, "more": 1}),
        ToolCall("sett_age", {}),
        ToolCall("set_age", None, "set_age("),
    ):
        assert asyncio.run(world.call("agent", call)).is_error, call
    assert world.evidence() == {"state": opened().state_digest(), "changes": {}, "num_calls": 5}


def test_statements_of_a_tool_take_effect_together_or_not_at_all():
    both = sql_tool(
        "UPDATE player SET age = 99 WHERE id = 'p1'",
        Statement("UPDATE player SET age = 99 WHERE id = 'nobody'", "nobody is there"),
    )
    world = opened(both)
    assert called(world, "tool").is_error
    assert world.rows()["player"] == PLAYERS.rows


def test_calls_beyond_the_limit_are_refused_and_change_nothing():
    world = opened(max_calls=1)
    assert not called(world, "set_age", id="p1", age=21).is_error
    assert "no calls left" in called(world, "set_age", id="p1", age=22).text
    assert world.rows()["player"][0][2] == 21


def test_an_answer_is_cut_to_its_limit():
    world = opened(
        sql_tool("SELECT a.id, b.id AS other, c.id AS third FROM player a, player b, player c"), max_bytes=200
    )
    text = called(world, "tool").text
    assert len(text.encode()) <= 200
    assert "bytes left out" in text


def test_a_message_without_a_call_ends_the_world():
    world = opened()
    call = Message("assistant", (ToolCall("city", {"id": "t1"}),))
    first = asyncio.run(world.step({"agent": call}))["agent"]
    assert not first.done
    assert first.observation[0].text == '"oslo"'
    assert asyncio.run(world.step({"agent": said("assistant", "oslo")}))["agent"].done


def test_only_the_agent_has_a_seat():
    with pytest.raises(BadInput, match="one seat"):
        opened().tools("guest")


# ------------------------------------------------------------ attacks by SQL

ATTACKS = {
    "attach": "ATTACH DATABASE 'stolen.sqlite' AS other",
    "attach memory": "ATTACH DATABASE ':memory:' AS other",
    "detach": "DETACH DATABASE main",
    "vacuum into a file": "VACUUM INTO 'stolen.sqlite'",
    "pragma": "PRAGMA foreign_keys = OFF",
    "pragma as a function": "SELECT * FROM pragma_table_info('player')",
    "database list": "SELECT * FROM pragma_database_list",
    "drop": "DROP TABLE player",
    "create": "CREATE TABLE mine (x)",
    "create temp": "CREATE TEMP TABLE mine (x)",
    "create view": "CREATE VIEW mine AS SELECT 1",
    "create trigger": "CREATE TRIGGER t AFTER UPDATE ON player BEGIN DELETE FROM team; END",
    "create virtual": "CREATE VIRTUAL TABLE v USING fts5(x)",
    "alter": "ALTER TABLE player ADD COLUMN x",
    "index": "CREATE INDEX i ON player (age)",
    "reindex": "REINDEX",
    "analyze": "ANALYZE",
    "read the schema": "SELECT sql FROM sqlite_master",
    "read the schema by its other name": "SELECT sql FROM sqlite_schema",
    "write the schema": "UPDATE sqlite_master SET sql = ''",
    "sequence": "SELECT * FROM sqlite_sequence",
    "load an extension": "SELECT load_extension('evil')",
    "dice": "SELECT random()",
    "dice in capitals": "SELECT RANDOM()",
    "blob of dice": "SELECT hex(randomblob(8))",
    "clock": "SELECT datetime('now')",
    "clock as a word": "SELECT CURRENT_TIMESTAMP",
    "date as a word": "SELECT CURRENT_DATE",
    "time as a word": "SELECT CURRENT_TIME",
    "unix clock": "SELECT unixepoch()",
    "formatted clock": "SELECT strftime('%s', 'now')",
    "time between": "SELECT timediff('now', '2000-01-01')",
    "order by dice": "SELECT id FROM player ORDER BY random()",
    "two statements": "SELECT 1; DELETE FROM player",
    "runaway recursion": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
    "cross joins": "SELECT count(*) FROM player a, player b, player c, player d, player e, player f, player g, "
    "player h, player i, player j, player k, player l, player m, player n",
    "a huge value": "SELECT zeroblob(100000000)",
    "blow up by replace": "SELECT replace(hex(zeroblob(500000)), '0', 'aaaaaaaaaa')",
    "read a file": "SELECT readfile('/etc/passwd')",
    "write a file": "SELECT writefile('x', 'y')",
    "edit": "SELECT edit('x', 'sh')",
    "end the transaction and go on": "COMMIT; DROP TABLE player",
}


@pytest.mark.parametrize("sql", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_by_sql_is_refused_and_changes_nothing(sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    world = opened(sql_tool(sql), CITY)
    found = called(world, "tool")
    assert found.is_error, found.text
    assert world.state_digest() == opened().state_digest()
    assert list(tmp_path.iterdir()) == []
    assert called(world, "city", id="t1").text == '"oslo"', "the world goes on after an attack"


INJECTIONS = ["'; DROP TABLE player; --", '" OR 1=1 --', "p1' OR '1'='1", "\x00", ":age", "?", "x" * 5000, "é\u202e'"]


@pytest.mark.parametrize("words", INJECTIONS)
def test_arguments_are_values_and_never_sql(words):
    world, before = opened(), opened().state_digest()
    assert called(world, "find", team=words).text == "[]"
    assert called(world, "set_age", id=words, age=1).is_error
    assert world.state_digest() == before


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.one_of(st.integers(), st.booleans(), st.none(), st.floats(), st.lists(st.integers())))
def test_no_argument_breaks_the_world(name, age):
    world = opened()
    called(world, "set_age", id=name, age=age)
    called(world, "find", team=name)
    assert [row[0] for row in world.rows()["player"]] == ["p1", "p2", "p3"]
    json.dumps(world.evidence())


def test_a_huge_text_is_never_made():
    """SQLite gives NULL for a text beyond its limit, which costs nothing."""
    assert called(opened(sql_tool("SELECT printf('%100000000d', 1) AS a")), "tool").text == '[{"a": null}]'


def test_a_number_too_large_for_sqlite_is_an_observation():
    world = opened()
    assert called(world, "set_age", id="p1", age=2**70).is_error
    assert world.rows()["player"] == PLAYERS.rows


def test_an_update_without_end_of_rows_is_stopped_and_taken_back():
    growing = sql_tool(
        "INSERT INTO team SELECT 'n' || x, 'x' FROM (WITH RECURSIVE n(x) AS "
        "(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n)"
    )
    world = opened(growing)
    assert called(world, "tool").is_error
    assert world.rows()["team"] == TEAMS.rows


def test_a_long_list_is_cut_to_its_first_rows():
    many = Table("n", (Column("i", "integer"),), tuple((i,) for i in range(MAX_ROWS + 5)))
    world = OpenDatabase(Database("many", (many,), (sql_tool("SELECT i FROM n"),)))
    assert len(world.run("tool", {})) == MAX_ROWS


def test_links_must_lead_somewhere():
    move = sql_tool("UPDATE player SET team = :team WHERE id = 'p1'", parameters=(("team",),), gives="value")
    drop = sql_tool("DELETE FROM team WHERE id = 't1'", name="drop")
    world = opened(move, drop)
    assert "FOREIGN KEY" in called(world, "tool", team="t9").text
    assert called(world, "drop").is_error
    assert not called(world, "tool", team="t2").is_error


def test_a_blob_cannot_come_in_by_the_back_door():
    world = opened(sql_tool("SELECT CAST('x' AS BLOB) AS b"))
    assert called(world, "tool").is_error, "bytes have no JSON form"


# ------------------------------------------------------------ copies, snapshots, digests


def test_two_episodes_at_once_never_see_each_other():
    plan = database()
    one, two = plan.open(task(), 0), plan.open(task(), 0)

    async def play(world, age):
        for i in range(20):
            await world.call("agent", ToolCall("set_age", {"id": "p1", "age": age + i}))
            await asyncio.sleep(0)
            assert world.rows()["player"][0][2] == age + i

    async def both():
        await asyncio.gather(play(one, 100), play(two, 500))

    asyncio.run(both())
    assert one.rows()["player"][0][2] == 119
    assert two.rows()["player"][0][2] == 519
    assert plan.tables == (TEAMS, PLAYERS)


def test_a_snapshot_brings_rows_and_calls_back():
    world = opened()
    called(world, "set_age", id="p1", age=50)
    state, at = world.snapshot(), world.state_digest()
    called(world, "set_age", id="p1", age=60)
    called(world, "set_age", id="p2", age=60)
    world.restore(state)
    assert (world.state_digest(), world.num_calls) == (at, 1)
    assert world.evidence()["changes"] == {"player": {"gone": [["p1", "t1", 20, 1.5]], "new": [["p1", "t1", 50, 1.5]]}}
    other = opened()
    other.restore(state)
    assert other.state_digest() == at


def test_a_restored_world_is_as_guarded_as_a_new_one():
    world = opened(sql_tool("DROP TABLE player"), sql_tool("DELETE FROM team WHERE id = 't1'", name="orphan"))
    world.restore(world.snapshot())
    assert called(world, "tool").is_error
    assert called(world, "orphan").is_error, "foreign keys hold after restore, too"


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_digest_does_not_know_the_order_of_rows(rng: random.Random):
    rows = list(PLAYERS.rows)
    rng.shuffle(rows)
    shuffled = Database("league", (TEAMS, replace(PLAYERS, rows=tuple(rows))), (FIND,))
    assert OpenDatabase(shuffled).state_digest() == opened().state_digest()


def test_the_digest_knows_every_value():
    seen = {opened().state_digest()}
    for row in range(3):
        for column in range(4):
            rows = [list(r) for r in PLAYERS.rows]
            rows[row][column] = {0: "new", 1: "t2" if rows[row][1] == "t1" else "t1"}.get(column, 77)
            made = Database("league", (TEAMS, replace(PLAYERS, rows=tuple(map(tuple, rows)))), ())
            seen.add(OpenDatabase(made).state_digest())
    assert len(seen) == 13


def test_deleted_and_made_again_is_the_same_state():
    gone = sql_tool("DELETE FROM player WHERE id = 'p3'", gives="value", name="gone")
    back = sql_tool("INSERT INTO player VALUES ('p3', 't2', 20, 2.0)", gives="value", name="back")
    world = opened(gone, back)
    before = world.state_digest()
    called(world, "gone")
    assert world.state_digest() != before
    called(world, "back")
    assert world.state_digest() == before
    assert world.evidence()["changes"] == {}


def test_changes_count_rows_that_are_there_twice():
    table = {"t": (("a", 1), ("a", 1))}
    assert changes(table, {"t": (("a", 1),)}) == {"t": {"gone": [["a", 1]], "new": []}}
    assert digest(table) != digest({"t": (("a", 1),)})


# ------------------------------------------------------------ plans


def task(**data):
    return Task("t", "f", 1, (said("user", "?"),), Private("", data), Reference("evolvent.rewards:exact"), Origin("x"))


def give_league():
    return database()


def test_a_task_names_its_world():
    named = name_world(Reference(f"{__name__}:give_league"))
    assert Databases().open(task(**named), 0).plan == database()


def test_a_task_without_a_world_says_so():
    with pytest.raises(BadInput, match="names no database"):
        Databases().open(task(), 0)
    with pytest.raises(BadInput, match="no database"):
        Databases().open(task(world={"path": "json:loads", "arguments": {"s": "1"}}), 0)


def test_a_world_cannot_mix_kinds_of_tools_or_use_odd_names():
    with pytest.raises(BadInput, match="one kind"):
        database(CITY, PythonTool("p", "", (), "def p(db): return 1"))
    with pytest.raises(BadInput, match="called alike"):
        database(CITY, CITY)
    with pytest.raises(BadInput, match="no name for a table"):
        Database("x", (Table('a"; DROP', (Column("i"),)),), ())
    with pytest.raises(BadInput, match="cannot be built"):
        _ = Database("x", (replace(TEAMS, rows=(("t1", "a"), ("t1", "b"))),), ()).image


def test_a_refusal_with_braces_in_an_argument_is_said_plainly():
    world = opened()
    assert called(world, "set_age", id="{age} {0} {x!r}", age=1).text == 'error: no player "{age} {0} {x!r}"'


def test_a_query_of_ours_is_under_the_same_guard():
    world = opened()
    assert world.ask("SELECT age FROM player WHERE id = 'p2'") == [(31,)]
    with pytest.raises(ToolError):
        world.ask("DROP TABLE player")
