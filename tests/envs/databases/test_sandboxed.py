import asyncio

import pytest

from evolvent import BadInput
from evolvent.envs.databases import Column, Database, Parameter, PythonTool, Table
from evolvent.envs.databases.corpus import digest_of, read_world, write_world
from evolvent.envs.databases.sandboxed import SandboxedDatabase
from evolvent.envs.sandbox import choose
from evolvent.errors import InfrastructureError
from evolvent.records import Origin, Private, Reference, Task, ToolCall, said

STOCK = Table("stock", (Column("id"), Column("num", "integer")), (("a", 1), ("b", 2)))
NOTES = Table("note", (Column("id", "integer"), Column("item", "text", "stock"), Column("words")))
TASK = Task(
    "t", "f", 1, (said("user", "?"),), Private("SECRET-ANSWER"), Reference("evolvent.rewards:exact"), Origin("x")
)

ADD = """
def add(db, id, num):
    found = db.execute("UPDATE stock SET num = num + ? WHERE id = ?", (num, id))
    if found.rowcount == 0:
        raise ValueError(f"no item {id}")
    if num > 100:
        raise ValueError("that is too many")
    return db.execute("SELECT num FROM stock WHERE id = ?", (id,)).fetchone()[0]
"""
ADD_TOOL = PythonTool("add", "adds to the stock", (Parameter("id"), Parameter("num", "integer")), ADD)


def tool(body, name="tool"):
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return PythonTool(name, "does something", (), f"def {name}(db):\n{lines}\n")


def database(*tools, **more):
    return Database("shop", (STOCK, NOTES), tools or (ADD_TOOL,), **more)


def called(world, name="tool", **arguments):
    return asyncio.run(world.call("agent", ToolCall(name, arguments)))


@pytest.fixture
def opened():
    worlds = []

    def make(*tools, **more):
        worlds.append(database(*tools, **more).open(TASK, 0))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def test_a_call_is_a_transaction_that_an_exception_takes_back(opened):
    world = opened()
    assert isinstance(world, SandboxedDatabase)
    assert called(world, "add", id="a", num=4).text == "5"
    refused = called(world, "add", id="a", num=400)
    assert refused.is_error
    assert refused.text == "error: ValueError: that is too many"
    assert world.rows() == {"stock": (("a", 5), ("b", 2)), "note": ()}
    assert world.evidence()["changes"] == {"stock": {"gone": [["a", 1]], "new": [["a", 5]]}}
    assert world.evidence()["num_calls"] == 2


def test_a_snapshot_brings_the_file_back(opened):
    world = opened()
    called(world, "add", id="a", num=1)
    state, at = world.snapshot(), world.state_digest()
    called(world, "add", id="a", num=1)
    assert world.state_digest() != at
    world.restore(state)
    assert (world.state_digest(), world.num_calls) == (at, 1)
    assert called(world, "add", id="a", num=1).text == "3"


def test_two_episodes_at_once_never_see_each_other_and_the_corpus_stays_as_it_is(tmp_path):
    write_world(tmp_path / "shop", database())
    before = digest_of(tmp_path)
    plans = [read_world(tmp_path / "shop") for _ in range(2)]

    async def play(world, step):
        async with world:
            for i in range(1, 6):
                found = await world.call("agent", ToolCall("add", {"id": "a", "num": step}))
                assert found.text == str(1 + i * step)
            return world.rows()["stock"][0]

    async def both():
        return await asyncio.gather(
            *(play(plan.open(TASK, 0), step) for plan, step in zip(plans, (1, 10), strict=True))
        )

    assert asyncio.run(both()) == [("a", 6), ("a", 51)]
    assert digest_of(tmp_path) == before


def test_a_tool_that_never_ends_is_an_observation_and_leaves_nothing(opened):
    endless = tool("db.execute('UPDATE stock SET num = 99')\nwhile True: pass", "endless")
    world = opened(endless, ADD_TOOL, timeout_s=0.7)
    found = called(world, "endless")
    assert found.is_error
    assert "timed out" in found.text
    assert world.rows()["stock"] == STOCK.rows
    assert called(world, "add", id="a", num=1).text == "2", "the world goes on"


BAD = {
    "a syntax error": "return 1 +",
    "an exit": "import os\nos._exit(0)",
    "an exit by exception": "raise SystemExit(0)",
    "no JSON": "return object()",
    "not a number": "return float('nan')",
    "a long answer": "return 'x' * 10**6",
    "deep recursion": "def f(): return f()\n    return f()",
    "a name that is not there": "return nowhere",
    "dropping a table": "db.execute('DROP TABLE stock')",
    "other files": "db.execute(\"ATTACH DATABASE 'x' AS x\")",
    "dice of the database": "return db.execute('SELECT random()').fetchone()",
    "the schema": "return db.execute('PRAGMA writable_schema = 1').fetchall()",
    "a broken link": "db.execute(\"INSERT INTO note VALUES (1, 'zz', '')\")",
    "a forged result": 'import os\nos.write(1, b\'\\n{"gives": "1"}\\n\')\nos._exit(0)',
    "the file thrown away": "import os\nos.remove('world.sqlite')\nraise ValueError('no')",
}


@pytest.mark.parametrize("body", [BAD[k] for k in BAD if k != "the file thrown away"],
                         ids=[k for k in BAD if k != "the file thrown away"])  # fmt: skip
def test_a_bad_tool_is_an_observation_and_changes_no_row(opened, body):
    world = opened(tool(f"db.execute('UPDATE stock SET num = 99')\n{body}"), ADD_TOOL)
    assert called(world).is_error
    assert world.rows() == {"stock": STOCK.rows, "note": ()}
    assert called(world, "add", id="a", num=1).text == "2", "the world goes on"


def test_a_tool_that_destroys_the_database_is_no_fault_of_the_agent(opened):
    world = opened(tool(BAD["the file thrown away"]))
    called(world)
    with pytest.raises(InfrastructureError):
        world.rows()


def test_printing_is_no_answer(opened):
    world = opened(tool("print('hello')\nprint('{\"gives\": \"7\"}')\nreturn [1, None, 'é']"))
    assert called(world).text == '[1, null, "é"]'


def test_what_a_tool_keeps_outside_of_the_database_is_gone_with_the_call(opened):
    counting = PythonTool("tool", "", (), "seen = []\ndef tool(db):\n    seen.append(1)\n    return len(seen)\n")
    world = opened(counting)
    assert [called(world).text for _ in range(3)] == ["1", "1", "1"]


def test_the_private_part_and_the_host_are_out_of_reach(opened, monkeypatch):
    monkeypatch.setenv("EVOLVENT_TEST_SECRET", "SECRET-ENVIRONMENT")
    look = tool(
        "import os, glob\n"
        "found = [str(dict(os.environ)), str(os.listdir('.')), str(glob.glob('/home/*') + glob.glob('/work/*'))]\n"
        "try:\n    found.append(open('/proc/self/cmdline').read())\nexcept OSError as e: found.append(str(e))\n"
        "return found"
    )
    text = called(opened(look, max_bytes=100_000)).text
    assert "SECRET" not in text


def test_a_network_is_not_there(opened):
    dial = tool("import socket\ns = socket.create_connection(('127.0.0.1', 22), 1)\nreturn 'open'")
    assert called(opened(dial)).is_error


def test_without_a_sandbox_it_refuses(monkeypatch):
    monkeypatch.setattr(choose, "TIERS", ())
    with pytest.raises(InfrastructureError, match="no sandbox"):
        database().open(TASK, 0)


def test_a_query_of_ours_does_not_touch_the_world(opened):
    world = opened()
    called(world, "add", id="a", num=1)
    assert world.ask("SELECT num FROM stock WHERE id = 'a'") == [(2,)]
    world.ask("UPDATE stock SET num = 0")
    assert world.rows()["stock"][0] == ("a", 2)


def test_wrong_arguments_never_reach_the_sandbox(opened):
    world = opened()
    assert called(world, "add", id="a").is_error
    assert called(world, "add", id="a", num="1; import os").is_error
    with pytest.raises(BadInput):
        world.observe("guest")
