import asyncio
import io
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from evolvent.cli.visit import read_call
from evolvent.envs import calc
from evolvent.envs.tools import as_tool
from evolvent.errors import ToolError
from evolvent.records import Tool

EVOLVENT = str(Path(sys.executable).with_name("evolvent"))


@pytest.fixture
def typed(monkeypatch):
    """Lines that come through a pipe."""

    def type_in(*lines):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(line + "\n" for line in lines)))

    return type_in


# ---------------------------------------------------------------- playing


def test_calls_are_carried_out_and_the_answer_is_judged(typed, answered):
    typed("calc 600+27", 'calc {"expression": "6*7"}', "calc expression=2**3", "0")
    made = answered("world", "play", "chain:2")
    [visit] = made["visits"]
    assert [one.get("text") for one in visit["said"]] == ["627", "42", "8", None]
    assert visit["score"] == 0.0 and visit["answer"] == "0"


def test_the_right_answer_is_right_and_the_next_task_comes_while_there_are_lines(typed, answered):
    typed("0", "0", "0")
    wanted = [visit["question"] for visit in answered("world", "play", "chain:2")["visits"]]
    assert len(set(wanted)) == 3
    typed(str(eval(wanted[1].rstrip("?"))), "")  # sums, as a person reads them
    [visit] = answered("world", "play", "chain:2", "task=1")["visits"]
    assert visit["question"] == wanted[1] and visit["score"] == 1.0


def test_a_person_sees_question_tools_and_what_is_wrong_with_a_call(typed, told):
    typed("clac {}", 'calc {"expression"', "calc x=1 y", "tools", "calc [bold]")
    status, out, _ = told("world", "play", "chain:2")
    assert status == 0
    for words in [
        "task   ",
        "calc(expression: string)",
        "expression: for example",
        "there is no tool 'clac'; did you mean calc?",
    ]:
        assert words in out
    assert out.count("calc(expression: string)") == 2  # at the beginning, and when asked for
    assert "cannot read" in out and "[bold]" in out


def test_a_lake_is_crossed_by_bare_words_and_the_world_is_judged_and_not_the_words(typed, answered):
    pytest.importorskip("gymnasium")
    from evolvent.synthesis.gym_tasks import GymTasks

    task = GymTasks(("FrozenLake-v1",), 0, (1,)).task("gym:FrozenLake-v1", 1, 0, "test")
    ways = [call.arguments["action"] for message in task.private.solution for call in message.calls]
    typed(*ways, "done")
    [visit] = answered("world", "play", "gym:FrozenLake-v1:1")["visits"]
    assert visit["score"] == 1.0 and visit["evidence"]["num_steps"] == len(ways)
    typed(ways[0], "done")
    [visit] = answered("world", "play", "gym:FrozenLake-v1:1")["visits"]
    assert visit["score"] == 0.0 and "not reached" in visit["why"]


def test_wishes_come_one_by_one(typed, answered):
    pytest.importorskip("bfcl_eval", reason="pip install --no-deps bfcl-eval")
    from evolvent.synthesis.bfcl_tasks import BfclTasks

    task = BfclTasks(("base",), (2,)).task("bfcl:base", 2, 0, "test")
    lines = [
        line
        for message in task.private.solution
        for line in [f"{call.name} {json.dumps(call.arguments)}" for call in message.calls] or ["done"]
    ]
    typed(*lines)
    [visit] = answered("world", "play", "bfcl:base:2")["visits"]
    assert visit["score"] == 1.0
    assert [one["wish"] for one in visit["said"] if "wish" in one] == task.private.data["follow_ups"]


def test_a_world_of_ones_own_is_named_by_its_path_and_nobody_judges_there(typed, answered, tmp_path, monkeypatch):
    (tmp_path / "my_world_of_tests.py").write_text(
        textwrap.dedent("""
            from evolvent.envs import Toolbox, calc
            def double(number: int, times: int = 2) -> int:
                "Multiply."
                return number * times
            world = Toolbox((calc, double))
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    typed("double number=21", "double number=2 times=5", "double number=x", "bye", "never read")
    made = answered("world", "play", "my_world_of_tests:world")
    [visit] = made["visits"]
    assert [one["text"] for one in visit["said"][:2]] == ["42", "10"]
    assert visit["said"][2]["is_error"] and "score" not in visit


def test_an_mcp_server_of_a_configuration_file_is_played(typed, answered, tmp_path):
    pytest.importorskip("mcp")
    server = tmp_path / "server.py"
    server.write_text(
        textwrap.dedent("""
            from mcp.server import MCPServer
            server = MCPServer("s")
            @server.tool()
            def add(a: int, b: int) -> int:
                return a + b
            server.run("stdio")
        """)
    )
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": {"s": {"command": sys.executable, "args": [str(server)]}}}))
    typed("add a=40 b=2")
    [visit] = answered("world", "play", str(config))["visits"]
    assert visit["said"] == [{"call": "add", "arguments": {"a": 40, "b": 2}, "text": "42", "is_error": False}]


def test_manufactured_worlds_are_played_from_their_folders(typed, answered, refused, tmp_path):
    pytest.importorskip("faker")
    corpus, tasks = tmp_path / "worlds", tmp_path / "tasks"
    answered("synth", "worlds", f"out={corpus}", "num=2")
    worlds = sorted((corpus / "worlds").iterdir())
    if len(worlds) > 1:
        assert "name one, for example" in refused("world", "play", str(corpus))
    typed("no call")
    assert answered("world", "play", str(worlds[0]))["visits"][0]["answer"] == "no call"
    answered("synth", "tasks", f"from={corpus}", f"out={tasks}", "num=2")
    typed("surely wrong")
    [visit] = answered("world", "play", str(tasks))["visits"]
    assert visit["question"] and visit["score"] == 0.0


def test_a_source_named_by_its_path_brings_its_own_world(typed, answered):
    pytest.importorskip("gymnasium")
    typed("right", "done")
    [visit] = answered("world", "play", 'evolvent.synthesis.gym_tasks:GymTasks(("FrozenLake",))')["visits"]
    assert visit["said"][0]["call"] == "act"


def test_what_is_no_world_is_told_with_what_could_be_one(refused):
    assert "play WORLD, or serve WORLD" in refused("world")
    assert "did you mean serve" in refused("world", "serv", "chain")
    assert "gym:ID" in refused("world", "play", "nosuch")
    assert "one world" in refused("world", "play", "chain:1", "chain:2")
    assert "this is no world" in refused("world", "play", "evolvent.errors:nearest")
    assert "has no effect on world play" in refused("world", "play", "chain", "--port", "1")
    assert "did you mean http" in refused("world", "serve", "chain", "transport=htp")
    assert "not a whole number" in refused("world", "serve", "chain", "sessions=many")
    assert "no field 'tsak'" in refused("world", "play", "chain", "tsak=1")


def test_lines_are_read_as_calls_or_as_answers():
    one, two = as_tool(calc), Tool("pair", "", {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}})
    listed = Tool(
        "act", "", {"properties": {"to": {"anyOf": [{"type": "string", "enum": ["up"]}, {"type": "integer"}]}}}
    )

    def read(line, *tools):
        call = read_call(line, tools)
        return call and (call.name, call.arguments)

    assert read("calc 1 + 1", one) == ("calc", {"expression": "1 + 1"})
    assert read("calc expression=1", one) == ("calc", {"expression": "1"})  # a text where a text is wanted
    assert read("calc", one) == ("calc", {})
    assert read('pair a="two words" b=3', two) == ("pair", {"a": "two words", "b": 3})
    assert read('pair {"a": "x"}', two) == ("pair", {"a": "x"})
    assert read("up", listed) == ("act", {"to": "up"}) and read("down", listed) is None
    assert read("up", listed, one) is None  # two tools: a bare word could mean either
    assert read("the answer is x = 3", one) is None
    for wrong in ("pair two words", "pair {", 'pair a="', "pear a=1"):
        with pytest.raises(ToolError):
            read(wrong, two)


# ---------------------------------------------------------------- serving


def served(*words):
    process = subprocess.Popen(
        [EVOLVENT, "world", "serve", *words, "--port", "0", "--json"], stdout=-1, stderr=-1, text=True
    )
    return process, json.loads(process.stdout.readline())


def test_a_world_is_served_over_http_to_the_official_client_until_ctrl_c():
    pytest.importorskip("mcp")
    from mcp import Client

    process, told = served("chain:2")
    try:

        async def talk():
            async with Client(told["url"]) as client:
                heard = await client.call_tool("calc", {"expression": "6*7"})
                return client.instructions, heard.content[0].text

        question, text = asyncio.run(talk())
        assert question.endswith("?") and text == "42"
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
        assert (process.returncode, rest) == (0, ""), err
        assert "Traceback" not in err and "streamable HTTP" in err and "closed" in err
    finally:
        process.kill()


def test_a_world_is_served_over_pipes_as_desktop_clients_start_one():
    pytest.importorskip("mcp")
    from evolvent.envs.mcp import McpTools
    from evolvent.records import ToolCall

    async def talk():
        async with McpTools((EVOLVENT, "world", "serve", "chain:2", "transport=stdio")).open(None, 0) as world:
            return await world.call("agent", ToolCall("calc", {"expression": "6*7"}))

    assert asyncio.run(talk()).text == "42"


def test_a_world_is_served_over_openenv_and_judged_there():
    pytest.importorskip("websockets")
    from evolvent.envs.openenv import OpenEnv
    from evolvent.records import Origin, Reference, Task, said

    visit = Task("t", "visit", 1, (said("user", ""),), None, Reference("evolvent.rewards.verify:exact"), Origin(""))
    process, told = served("chain:2", "transport=openenv")
    try:

        async def talk():
            async with OpenEnv(told["url"]).open(visit, 3) as world:
                question = world.observe("agent")[0].text
                step = (await world.step({"agent": said("assistant", str(eval(question.rstrip("?"))))}))["agent"]
                return step.done, step.reward_components

        assert asyncio.run(talk()) == (True, {"return": 1.0})
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_json_belongs_to_the_protocol_when_served_over_pipes(refused):
    pytest.importorskip("mcp")
    process = subprocess.run(
        [EVOLVENT, "world", "serve", "chain:2", "transport=stdio", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2 and "stdout belongs to the protocol" in process.stderr


def test_what_is_wrong_with_a_world_is_told_before_it_is_served(refused):
    pytest.importorskip("mcp")
    missing = 'evolvent.envs.mcp:McpTools(("no-such-program-at-all",))'
    assert "cannot start no-such-program" in refused("world", "serve", missing, "--port", "0", status=1)
    assert "transport=openenv" in refused("world", "serve", "evolvent.envs:Toolbox(())", "--port", "0")
