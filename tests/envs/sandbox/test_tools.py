import asyncio
from dataclasses import replace

import pytest

from evolvent.envs import sandbox
from evolvent.envs.sandbox.tools import LIMITS, Python, Shell
from evolvent.envs.toolbox import SEAT, Toolbox
from evolvent.errors import InfrastructureError
from evolvent.records import Origin, Private, Reference, Task, ToolCall, said

why_not = sandbox.probe_all()["bubblewrap"]
pytestmark = pytest.mark.skipif(bool(why_not), reason=why_not)
QUICK = replace(LIMITS, wall_s=0.5)
TASK = Task(
    "t", "sums", 1, (said("user", "2+2"),), Private("4"), Reference("evolvent.rewards.verify:exact"), Origin("hand")
)


async def play(toolbox, *calls, seed=0):
    async with toolbox.open(TASK, seed) as world:
        return [await world.call(SEAT, ToolCall(name, arguments)) for name, arguments in calls]


def python(code):
    return "python", {"code": code}


def shell(command):
    return "shell", {"command": command}


async def test_a_notebook_keeps_its_names_and_shows_values_and_errors():
    box = Toolbox((Python(),), max_bytes=2000)
    results = await play(box, python("x = 6"), python("x * 7"), python("print('a')\n1 / 0"), python("x"))
    assert [result.text for result in results[:2]] == ["[no output]", "42"]
    assert results[2].is_error and results[2].text.startswith("a\nTraceback") and "ZeroDivisionError" in results[2].text
    assert results[3].text == "6" and not results[3].is_error


async def test_a_command_line_has_pipes_and_keeps_its_files():
    box = Toolbox((Shell(files={"in.txt": b"b\na\n"}),))
    results = await play(box, shell("sort in.txt > out.txt"), shell("cat out.txt | tr a-z A-Z; exit 3"))
    assert results[1].text == "A\nB\n[exit status 3]" and results[1].is_error


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (python("while True: pass"), ["stopped after 0.5 s", "names are lost"]),
        (python("print('x' * 10**6)"), ["more output than"]),
        (python("x = bytearray(2**33)"), ["out of memory: 512 MiB"]),
        (shell("sleep 60"), ["stopped after 0.5 s"]),
    ],
)
async def test_a_limit_is_an_observation_that_says_which(call, words):
    [result] = await play(Toolbox((Python(QUICK), Shell(QUICK)), max_bytes=20_000), call)
    assert result.is_error and all(word in result.text for word in words), result


async def test_two_episodes_at_once_never_see_each_other():
    box = Toolbox((Python(),))
    calls = [python("open('mine', 'w').write('{}')"), python("import os; os.listdir(), open('mine').read()")]
    told = await asyncio.gather(
        *(play(box, (calls[0][0], {"code": calls[0][1]["code"].format(n)}), calls[1]) for n in range(4))
    )
    assert [results[1].text for results in told] == [f"(['mine'], '{n}')" for n in range(4)]


async def test_chance_in_a_notebook_is_that_of_the_seed():
    box = Toolbox((Python(),))
    call = python("import random; random.random()")
    [a], [b], [c] = [await play(box, call, seed=seed) for seed in (1, 1, 2)]
    assert a == b != c


async def test_a_world_with_both_tools_goes_back_to_a_snapshot():
    box = Toolbox((Python(), Shell()))
    async with box.open(TASK, 3) as world:
        await world.call(SEAT, ToolCall("python", {"code": "import random; x = random.random()"}))
        await world.call(SEAT, ToolCall("shell", {"command": "echo one > f"}))
        before = await world.call(SEAT, ToolCall("python", {"code": "x"}))
        state, digest = world.snapshot(), world.state_digest()
        await world.call(SEAT, ToolCall("python", {"code": "x = None"}))
        await world.call(SEAT, ToolCall("shell", {"command": "rm f"}))
        world.restore(state)
        assert world.state_digest() == digest
        assert (await world.call(SEAT, ToolCall("python", {"code": "x"}))).text == before.text
        assert (await world.call(SEAT, ToolCall("shell", {"command": "cat f"}))).text == "one"


async def test_an_episode_without_a_call_opens_no_sandbox():
    box = Toolbox((Python(tier="bubblewrap"), Shell()))
    async with box.open(TASK, 0) as world:
        state = world.snapshot()
        world.restore(state)
        assert all(memory._session is None for memory in world._memories.values())


async def test_a_sandbox_that_cannot_be_had_is_not_the_agents_fault():
    broken = [tier for tier, why in sandbox.probe_all().items() if why]
    if not broken:
        pytest.skip("every sandbox works here")
    with pytest.raises(InfrastructureError, match="does not work here"):
        await play(Toolbox((Python(tier=broken[0]),)), python("1"))


def test_the_tools_describe_themselves():
    tools = Toolbox((Python(), Shell())).open(TASK, 0).tools(SEAT)
    assert [(tool.name, list(tool.parameters["properties"])) for tool in tools] == [
        ("python", ["code"]),
        ("shell", ["command"]),
    ]
    assert all(tool.description for tool in tools)
