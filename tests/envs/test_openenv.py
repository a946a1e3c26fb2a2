from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox, calc
from evolvent.envs.gym import Gym
from evolvent.envs.openenv import OpenEnv, words_of
from evolvent.envs.toolbox import SEAT
from evolvent.errors import BadInput, InfrastructureError, ToolError, VerifierError
from evolvent.policies.scripted import Oracle
from evolvent.records import Message, Origin, Private, Reference, Sampling, Task, ToolCall, said
from evolvent.rewards import Checked, judge_episodes
from evolvent.rewards.outcome import world_return
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import ToolLoop
from evolvent.serve.door import background
from evolvent.serve.openenv import OpenEnvDoor, make_openenv
from evolvent.tasks import source

websockets = pytest.importorskip("websockets")

task = Task("t", "hand", 1, (said("user", "go"),), None, Reference("evolvent.rewards.verify:exact"), Origin(""))


def draw_sum(number: int) -> Task:
    return source("chain:2").task("chain", 2, number)


def draw_lake(number: int) -> Task:
    from evolvent.synthesis.gym_tasks import GymTasks

    return GymTasks().task("gym:FrozenLake-v1", 1, number)


@pytest.fixture(scope="module")
def sums():
    with background(make_openenv(OpenEnvDoor(Toolbox((calc,)), draw_sum))) as url:
        yield url


@pytest.fixture(scope="module")
def lake():
    pytest.importorskip("gymnasium")
    with background(make_openenv(OpenEnvDoor(Gym(), draw_lake))) as url:
        yield url


async def talk(url: str, *messages: object, **how: object) -> list[dict]:
    """What the server answers to raw messages, one after another."""
    from websockets.asyncio.client import connect

    async with connect(url.replace("http", "ws") + "/ws", **how) as socket:
        heard = []
        for message in messages:
            await socket.send(message if isinstance(message, str) else json.dumps(message))
            heard.append(json.loads(await socket.recv()))
        return heard


# ---------------------------------------------------------------- the wire of our server


async def test_reset_step_and_state_have_the_shape_that_generic_clients_read(sums):
    wanted = draw_sum(7)
    reset, state, step, over = await talk(
        sums,
        {"type": "reset", "data": {"seed": 7, "episode_id": "mine"}},
        {"type": "state"},
        {"type": "step", "data": {"message": wanted.private.answer}},
        {"type": "step", "data": {"message": "again"}},
    )
    assert reset == {
        "type": "observation",
        "data": {"observation": {"text": wanted.question}, "reward": None, "done": False},
    }
    assert state == {"type": "state", "data": {"episode_id": "mine", "step_count": 0}}
    assert (step["data"]["reward"], step["data"]["done"]) == (1.0, True)
    assert over["type"] == "error" and "the episode is over" in over["data"]["message"]


async def test_a_wrong_answer_earns_nothing_and_tools_are_called_on_the_way(sums):
    listed, called, refused, step = await talk(
        sums,
        {"type": "step", "data": {"type": "list_tools"}},  # no reset is needed for this
        {"type": "step", "data": {"type": "call_tool", "tool_name": "calc", "arguments": {"expression": "6*7"}}},
        {"type": "step", "data": {"type": "call_tool", "tool_name": "calc", "arguments": {"x": 1}}},
        {"type": "step", "data": {"message": "no idea"}},
    )
    assert [tool["name"] for tool in listed["data"]["observation"]["tools"]] == ["calc"]
    assert called["data"]["observation"] == {"tool_name": "calc", "result": "42", "error": None}
    assert "has no argument 'x'" in refused["data"]["observation"]["error"]["message"]
    assert (step["data"]["reward"], step["data"]["done"]) == (0.0, True)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "INVALID_JSON"),
        ("[]", "VALIDATION_ERROR"),
        ({"type": "fly"}, "UNKNOWN_TYPE"),
        ({"type": "reset", "data": {"seed": -1}}, "VALIDATION_ERROR"),
        ({"type": "reset", "data": 5}, "VALIDATION_ERROR"),
        ({"type": "step", "data": {}}, "VALIDATION_ERROR"),
        ({"type": "step", "data": {"type": "call_tool"}}, "VALIDATION_ERROR"),
    ],
)
async def test_nonsense_gets_an_error_with_a_code_and_the_connection_lives_on(sums, message, code):
    heard = await talk(sums, message, {"type": "state"})
    assert heard[0]["type"] == "error" and heard[0]["data"]["code"] == code
    assert heard[1]["type"] == "state"


async def test_requests_of_mcp_travel_beside_the_steps(sums):
    ask = {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "tools/call",
        "params": {"name": "calc", "arguments": {"expression": "1+1"}},
    }
    listed, called, unknown = await talk(
        sums,
        {"type": "mcp", "data": {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}},
        {"type": "mcp", "data": ask},
        {"type": "mcp", "data": {**ask, "method": "prompts/list"}},
    )
    assert listed["data"]["result"]["tools"][0]["name"] == "calc" and listed["data"]["id"] == 2
    assert called["data"]["result"] == {"content": [{"type": "text", "text": "2"}], "isError": False}
    assert unknown["data"]["error"]["code"] == -32601


async def test_full_and_silent_are_told_and_a_page_of_another_site_is_turned_away():
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    door = OpenEnvDoor(Toolbox((calc,)), draw_sum, max_num=1, idle_timeout_s=2)
    with background(make_openenv(door)) as url:
        async with connect(url.replace("http", "ws") + "/ws") as first:
            with pytest.raises(InfrastructureError, match="1 connections are open"):
                async with OpenEnv(url).open(task, 0):
                    pass
            told = json.loads(await first.recv())  # and after that it is closed
            assert told["data"]["code"] == "SESSION_ERROR" and "silent" in told["data"]["message"]
        with pytest.raises(InvalidStatus):
            await talk(url, {"type": "state"}, origin="http://evil.example")
        async with OpenEnv(url).open(task, 0):  # there is room again
            pass


# ---------------------------------------------------------------- our client


async def test_an_environment_with_tools_is_a_world_with_these_tools(sums):
    async with OpenEnv(sums).open(task, 5) as world, Toolbox((calc,)).open(task, 5) as near:
        assert world.tools(SEAT) == near.tools(SEAT)
        assert world.observe(SEAT)[0].text == draw_sum(5).question
        for call in (ToolCall("calc", {"expression": "6*7"}), ToolCall("calc", {"x": 1}), ToolCall("kalk", {})):
            assert await world.call(SEAT, call) == await near.call(SEAT, call)
        step = (await world.step({SEAT: said("assistant", draw_sum(5).private.answer)}))[SEAT]
        assert step.done and step.reward_components == {"return": 1.0}
        assert world.evidence() == {"return": 1.0, "num_steps": 2, "terminated": True}
        assert "the episode is over" in (await world.call(SEAT, ToolCall("calc", {"expression": "1"}))).text


def test_a_table_behind_openenv_is_solved_and_scored_by_its_own_rewards(lake):
    wanted = draw_lake(3)
    far = replace(task, prompt=wanted.prompt, private=Private("", {"openenv": {"seed": 3}}, wanted.private.solution))
    for solution, value in ((wanted.private.solution, 1.0), (wanted.private.solution[-1:], 0.0)):
        oracle = {"agent": Oracle({far.question: solution})}
        stage = Stage(ToolLoop(50), OpenEnv(lake), oracle, {"agent": "agent"}, Sampling(64), Budgets(99, 10**6, 10**6))
        [episode] = judge_episodes(Checked(world_return), play([Attempt(far, 0)], stage))
        assert episode.traces[0].score.value == value


async def test_two_connections_share_nothing_and_the_same_seed_is_the_same_world(lake):
    plan = OpenEnv(lake)
    async with plan.open(task, 4) as one, plan.open(task, 4) as two:
        before = two.observe(SEAT)
        assert one.observe(SEAT) == before
        await one.call(SEAT, ToolCall("act", {"action": "right"}))
        seen = (await two.call(SEAT, ToolCall("act", {"action": "left"}))).text
        assert seen.startswith("[S]")


PLAIN = """An OpenEnv server that knows neither tools nor our words: it echoes actions, and ends at the third."""


async def plain_server(socket) -> None:
    num = 0
    async for raw in socket:
        asked = json.loads(raw)
        if asked["type"] == "close":
            return
        if asked["type"] == "mcp":
            heard = {
                "type": "mcp",
                "data": {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no tools"}},
            }
        elif asked["type"] == "step" and asked["data"].get("code") == "crash":
            heard = {"type": "error", "data": {"message": "that went wrong", "code": "EXECUTION_ERROR"}}
        elif asked["type"] == "step" and asked["data"].get("code") == "hang up":
            return
        elif asked["type"] == "step" and asked["data"].get("code") == "sleep":
            await asyncio.sleep(2)
            return
        else:
            num += asked["type"] == "step"
            data = {"observation": {"echoed": asked["data"], "n": num}, "reward": 0.5 * num, "done": num == 3}
            heard = {"type": "observation", "data": data}
        await socket.send(json.dumps(heard))


@pytest.fixture
async def plain():
    from websockets.asyncio.server import serve

    async with serve(plain_server, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_environment_without_tools_is_acted_in_by_words(plain):
    async with OpenEnv(plain, text_field="code").open(task, 1) as world:
        assert [tool.name for tool in world.tools(SEAT)] == ["act"]
        assert world.observe(SEAT)[0].text == '{"echoed": {"seed": 1}, "n": 0}'
        assert (await world.call(SEAT, ToolCall("act", {"message": "x"}))).text == '{"echoed": {"code": "x"}, "n": 1}'
        wrong = await world.call(SEAT, ToolCall("act", {"message": "crash"}))
        assert wrong.is_error and wrong.text == "error: that went wrong"
        step = (await world.step({SEAT: said("assistant", "y")}))[SEAT]
        assert step.reward_components == {"return": 1.0} and not step.done
        last = (await world.step({SEAT: Message("assistant", (ToolCall("act", {"message": "z"}),))}))[SEAT]
        assert last.done and world.evidence()["return"] == 3.0


@pytest.mark.parametrize("word", ["hang up", "sleep"])
async def test_a_server_that_hangs_up_or_falls_silent_is_nobodys_failure(plain, word):
    async with OpenEnv(plain, text_field="code", timeout_s=1).open(task, 1) as world:
        with pytest.raises(InfrastructureError, match="the OpenEnv server broke"):
            await world.call(SEAT, ToolCall("act", {"message": word}))


async def test_a_server_that_is_not_there_is_told_with_its_address():
    with pytest.raises(InfrastructureError, match="cannot be reached"):
        async with OpenEnv("http://127.0.0.1:9", start_timeout_s=2).open(task, 0):
            pass


def test_observations_are_read_as_words():
    assert words_of({"text": "hi", "metadata": {"a": 1}}) == "hi"
    assert words_of({"board": [1], "turn": 2}) == '{"board": [1], "turn": 2}'
    wrapped = {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "is_error": False}
    assert words_of({"tool_name": "t", "result": wrapped, "error": None}) == "a\nb"
    with pytest.raises(ToolError, match="no such tool"):
        words_of(
            {"tool_name": "t", "result": None, "error": {"error_type": "tool_not_found", "message": "no such tool"}}
        )


def test_the_plan_comes_back_from_json_and_no_state_can_be_kept():
    plan = OpenEnv("wss://far.example/env/", text_field="code")
    assert from_json(to_json(plan)) == plan and plan.socket_url == "wss://far.example/env/ws"
    with pytest.raises(BadInput, match="cannot be kept"):
        plan.open(task, 0).snapshot()
    with pytest.raises(BadInput, match="not the URL"):
        OpenEnv("far.example")


def test_a_world_without_rewards_cannot_be_judged_by_them():
    with pytest.raises(VerifierError, match="says nothing of its rewards"):
        world_return(task, "", {})
