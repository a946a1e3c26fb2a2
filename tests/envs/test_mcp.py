from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox, calc
from evolvent.envs.mcp import McpTools, Sessions, as_app, as_server, read_config
from evolvent.errors import BadInput, InfrastructureError
from evolvent.records import Origin, Private, Reference, Task, ToolCall, said
from evolvent.serve.door import background

pytest.importorskip("mcp")

task = Task(
    "t", "sums", 1, (said("user", "2+2"),), Private("4"), Reference("evolvent.rewards.verify:exact"), Origin("")
)


@dataclass(frozen=True)
class Notes:
    """A tool that remembers what this episode wrote."""

    name: str = "note"

    def open(self, task: Task, seed: int) -> Noting:
        return Noting()


CLOSED: list[str] = []


class Noting:
    name = "note"

    def __init__(self) -> None:
        self.kept: list[str] = []

    def __call__(self, words: str) -> list[str]:
        """Write something down and see all that was written.

        words: what to keep
        """
        self.kept.append(words)
        return self.kept

    def close(self) -> None:
        CLOSED.extend(self.kept)


def down() -> str:
    """Never works."""
    raise InfrastructureError("the index is down")


def sums(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


BOX = Toolbox((calc, sums, Notes(), down), max_calls=1000)

# an official server, with nothing of ours
OFFICIAL = textwrap.dedent("""
    import asyncio, os, subprocess, sys, time
    from mcp.server import MCPServer
    kept = []
    server = MCPServer("official")

    @server.tool()
    def add(a: int, b: int) -> int:
        "Add two numbers."
        return a + b

    @server.tool()
    def note(words: str) -> str:
        kept.append(words)
        return " ".join(kept)

    @server.tool()
    async def wait(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"

    @server.tool()
    def spell(num: int) -> str:
        return "x" * num

    @server.tool()
    def environment() -> list[str]:
        return sorted(os.environ)

    @server.tool()
    def die() -> str:
        os._exit(3)

    @server.tool()
    def breed() -> str:
        "Start a program that outlives its parent, in a session of its own."
        return str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True).pid)

    @server.tool()
    def pid() -> str:
        return str(os.getpid())

    if __name__ == "__main__":
        if sys.argv[1] == "stubborn":
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            server.run("stdio")
            time.sleep(300)
        elif sys.argv[1] == "stdio":
            server.run("stdio")
        else:
            server.run("streamable-http", port=int(sys.argv[1]))
""")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("mcp") / "official.py"
    path.write_text(OFFICIAL)
    return path


@pytest.fixture
def official(script):
    return McpTools((sys.executable, str(script), "stdio"), env=("PATH",))


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(name, arguments)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # a zombie that its new parent has not read yet is as good as gone
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(*pids: int) -> list[int]:
    for _ in range(200):
        if not (left := [pid for pid in pids if is_alive(pid)]):
            break
        time.sleep(0.05)
    return left


# ---------------------------------------------------------------- our server


async def test_a_client_in_memory_sees_exactly_the_tools_of_the_world_and_its_answers_and_errors():
    from mcp import Client

    async with (
        BOX.open(task, 0) as world,
        BOX.open(task, 0) as twin,
        Client(as_server(world, question="2+2?")) as client,
    ):
        listed = (await client.list_tools()).tools
        assert [(t.name, t.description, t.input_schema) for t in listed] == [
            (t.name, t.description, t.parameters) for t in world.tools("agent")
        ]
        assert client.instructions == "2+2?"
        calls = [
            call("calc", expression="2*21"),
            call("calc", expresion="2"),
            call("sums", a="1"),
            call("sums", a=1.5),
            call("sums"),
            call("clac", expression="2"),
            call("note", words="é\n" * 400),
        ]
        for one in calls:
            heard, direct = await client.call_tool(one.name, dict(one.arguments)), await twin.call("agent", one)
            assert (heard.content[0].text, heard.is_error) == (direct.text, direct.is_error), one
        assert (await client.call_tool("calc", {"expression": "2*21"})).content[0].text == "42"


async def test_what_breaks_outside_the_agent_is_a_protocol_error_and_no_answer_of_the_tool():
    from mcp import Client
    from mcp.shared.exceptions import MCPError

    async with BOX.open(task, 0) as world, Client(as_server(world)) as client:
        with pytest.raises(MCPError, match="the index is down"):
            await client.call_tool("down", {})


async def test_a_hundred_worlds_with_a_hundred_clients_in_one_process_never_see_each_other():
    from contextlib import AsyncExitStack

    from mcp import Client

    async with AsyncExitStack() as stack:
        worlds = [await stack.enter_async_context(BOX.open(task, i)) for i in range(100)]
        clients = [await stack.enter_async_context(Client(as_server(world))) for world in worlds]
        for turn in range(3):
            made = await asyncio.gather(*(c.call_tool("note", {"words": f"{i}/{turn}"}) for i, c in enumerate(clients)))
        assert [m.content[0].text for m in made] == [f'["{i}/0", "{i}/1", "{i}/2"]' for i in range(100)]


async def test_a_world_without_tools_cannot_be_served():
    with pytest.raises(BadInput, match="without tools"):
        as_server(Toolbox(()).open(task, 0))


SERVE_STDIO = """
import asyncio
from evolvent.envs import Toolbox, calc
from evolvent.envs.mcp import serve_stdio
from evolvent.records import Origin, Private, Reference, Task, said
judge = Reference("evolvent.rewards.verify:exact")
task = Task("t", "sums", 1, (said("user", "2+2"),), Private("4"), judge, Origin(""))
async def main():
    async with Toolbox((calc,)).open(task, 0) as world:
        await serve_stdio(world)
asyncio.run(main())
"""


async def test_the_official_client_speaks_with_our_server_over_pipes():
    from mcp import Client, StdioServerParameters

    program = StdioServerParameters(command=sys.executable, args=["-c", SERVE_STDIO])
    from mcp.client.stdio import stdio_client

    with Path(os.devnull).open("w") as errors:
        async with Client(stdio_client(program, errlog=errors)) as client:
            assert [t.name for t in (await client.list_tools()).tools] == ["calc"]
            heard = await client.call_tool("calc", {"expression": "7*6"})
            assert (heard.content[0].text, heard.is_error) == ("42", False)


async def test_over_http_each_session_has_a_world_of_its_own_that_is_closed_when_it_ends():
    from mcp import Client

    CLOSED.clear()
    app = as_app(lambda: BOX.open(task, 0), Sessions())
    with background(app) as url:
        async with Client(url + "/mcp") as one, Client(url + "/mcp") as two:
            for words in ("one", "more"):
                heard = await one.call_tool("note", {"words": words})
            assert heard.content[0].text == '["one", "more"]'
            assert (await two.call_tool("note", {"words": "two"})).content[0].text == '["two"]'
            assert not CLOSED
        for _ in range(100):
            if len(CLOSED) == 3:
                break
            await asyncio.sleep(0.02)
    assert sorted(CLOSED) == ["more", "one", "two"]


async def test_over_http_no_more_than_so_many_sessions_are_open_and_a_silent_one_ends():
    from mcp import Client

    app = as_app(lambda: BOX.open(task, 0), Sessions(max_num=1))
    with background(app) as url:
        async with Client(url + "/mcp", mode="legacy") as first:
            await first.call_tool("note", {"words": "mine"})
            with pytest.raises(Exception, match=r"(?s).*") as refused:
                async with Client(url + "/mcp", mode="legacy"):
                    pass
            assert "Too many open sessions" in str(flat(refused.value))
    CLOSED.clear()
    with background(as_app(lambda: BOX.open(task, 0), Sessions(idle_timeout_s=1))) as url:
        # on a machine under load a second may pass between two requests, and the session with it
        for _ in range(20):
            opened, status = await asyncio.to_thread(open_session, url)
            if status == 200:
                break
        assert status == 200
        for _ in range(600):
            if CLOSED:
                break
            await asyncio.sleep(0.05)
        assert set(CLOSED) == {"w"}
        assert await asyncio.to_thread(lambda: httpx.post(url + "/mcp", headers=opened, json=NOTE).status_code) == 404


NOTE = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "note", "arguments": {"words": "w"}}}


def open_session(url: str) -> tuple[dict[str, str], int]:
    """A session by hand, of a client that never hangs up, and the status of its first call."""
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hand", "version": "1"}}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
    answer = httpx.post(url + "/mcp", headers=headers, json=asked, timeout=60)
    headers["mcp-session-id"] = answer.headers["mcp-session-id"]
    httpx.post(
        url + "/mcp", headers=headers, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, timeout=60
    )
    return headers, httpx.post(url + "/mcp", headers=headers, json=NOTE, timeout=60).status_code


def flat(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def test_over_http_a_client_that_insists_on_having_no_session_is_told_what_is_spoken_here():
    from mcp import Client

    with background(as_app(lambda: BOX.open(task, 0), Sessions())) as url:
        with pytest.raises(Exception, match=r"(?s).*") as refused:
            async with Client(url + "/mcp", mode="2026-07-28") as client:
                await client.list_tools()
        assert "a world needs a session" in str(flat(refused.value))


async def test_over_http_a_world_that_cannot_be_opened_says_why_to_whoever_asks_for_its_tools():
    from mcp import Client
    from mcp.shared.exceptions import MCPError

    plan = McpTools(("no-such-program-at-all",))
    with background(as_app(lambda: plan.open(task, 0), Sessions())) as url:
        async with Client(url + "/mcp") as client:
            with pytest.raises(MCPError, match="cannot start no-such-program-at-all"):
                await client.list_tools()


async def test_a_page_of_another_site_cannot_reach_a_server_on_this_machine():
    with background(as_app(lambda: BOX.open(task, 0), Sessions())) as url:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
        headers = {"accept": "application/json, text/event-stream"}
        far = httpx.post(url + "/mcp", headers={**headers, "origin": "http://evil.example"}, json=asked)
        bound = httpx.post(url + "/mcp", headers={**headers, "host": "evil.example"}, json=asked)
    assert far.status_code in (400, 403) and bound.status_code in (400, 403, 421)


# ---------------------------------------------------------------- their server, our world


async def test_the_tools_of_an_official_server_over_pipes_are_tools_of_a_world(official):
    async with official.open(task, 0) as world:
        assert {"add", "note", "spell"} <= {t.name for t in world.tools("agent")}
        [add] = [t for t in world.tools("agent") if t.name == "add"]
        assert add.description == "Add two numbers." and set(add.parameters["properties"]) == {"a", "b"}
        assert (await world.call("agent", call("add", a=2, b=3))).text == "5"
        unknown = await world.call("agent", call("ad", a=2, b=3))
        assert unknown.is_error and "did you mean add" in unknown.text
        wrong = await world.call("agent", call("add", a="two", b=3))
        assert wrong.is_error and wrong.text.startswith("error: ") and "valid integer" in wrong.text
        unread = await world.call("agent", ToolCall("add", None, "add(2"))
        assert unread.is_error and "cannot read the call 'add(2'" in unread.text
        assert len((await world.call("agent", call("spell", num=100_000))).text.encode()) <= official.max_bytes
        seen = (await world.call("agent", call("environment"))).text.split()
        assert "PATH" in seen and "HOME" not in seen and "PYTEST_CURRENT_TEST" not in seen


async def test_a_call_that_takes_too_long_is_an_observation_and_the_next_one_works(official):
    async with replace(official, timeout_s=2).open(task, 0) as world:
        late = await world.call("agent", call("wait", seconds=60))
        assert (late.text, late.is_error) == ("error: wait took longer than 2 s", True)
        assert (await world.call("agent", call("add", a=1, b=1))).text == "2"


async def test_a_server_that_dies_is_nobodys_failure_and_leaves_no_process(official):
    async with official.open(task, 0) as world:
        pid = int((await world.call("agent", call("pid"))).text)
        with pytest.raises(InfrastructureError, match="the MCP server broke"):
            await world.call("agent", call("die"))
        with pytest.raises(InfrastructureError, match="the MCP server broke"):
            await world.call("agent", call("add", a=1, b=1))
    assert not wait_until_gone(pid)


async def test_two_episodes_of_one_server_share_nothing(official):
    async with official.open(task, 0) as one, official.open(task, 0) as two:
        await one.call("agent", call("note", words="one"))
        assert (await two.call("agent", call("note", words="two"))).text == "two"
        assert (await one.call("agent", call("pid"))).text != (await two.call("agent", call("pid"))).text


@pytest.mark.slow
async def test_many_episodes_that_begin_together_wait_for_their_turn_to_start_and_are_not_late(official):
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        worlds = [replace(official, start_timeout_s=6).open(task, i) for i in range(10)]
        await asyncio.gather(*(stack.enter_async_context(world) for world in worlds))
        pids = [int((await world.call("agent", call("pid"))).text) for world in worlds]
        assert len(set(pids)) == 10
    assert not wait_until_gone(*pids)


async def test_only_allowed_tools_are_on_offer_and_an_allowed_one_must_exist(official):
    async with replace(official, allow=("add",)).open(task, 0) as world:
        assert [t.name for t in world.tools("agent")] == ["add"]
        assert (await world.call("agent", call("die"))).is_error
    with pytest.raises(BadInput, match="no tool 'addd'"):
        async with replace(official, allow=("addd",)).open(task, 0):
            pass


async def test_calls_are_capped(official):
    async with replace(official, max_calls=1).open(task, 0) as world:
        await world.call("agent", call("add", a=1, b=1))
        assert "no calls left" in (await world.call("agent", call("add", a=1, b=1))).text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("no-such-program-at-all",), "cannot start no-such-program-at-all"),
        ((sys.executable, "-c", "print('hello')"), "the MCP server broke"),
        ((sys.executable, "-c", "import sys; sys.exit('no key given')"), "no key given"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "did not answer in time"),
    ],
)
async def test_a_program_that_does_not_speak_mcp_is_an_infrastructure_error_that_says_why(command, words):
    limit_s = 1.5 if "in time" in words else 60
    with pytest.raises(InfrastructureError) as error:
        async with McpTools(command, start_timeout_s=limit_s).open(task, 0):
            pass
    assert words in str(error.value)


async def test_no_state_can_be_kept_and_this_is_said(official):
    with pytest.raises(BadInput, match="cannot be kept"):
        official.open(task, 0).snapshot()


async def test_leaving_ends_the_program_and_what_it_has_started_however_stubborn(script):
    plan = McpTools((sys.executable, str(script), "stubborn"))
    async with plan.open(task, 0) as world:
        pids = [int((await world.call("agent", call(name))).text) for name in ("pid", "breed")]
        assert all(map(is_alive, pids))
    assert not wait_until_gone(*pids)


HOST = """
import asyncio, sys
from evolvent.envs.mcp import McpTools
from evolvent.records import ToolCall
async def main():
    async with McpTools((sys.executable, sys.argv[1], "stubborn")).open(None, 0) as world:
        for name in ("pid", "breed"):
            print((await world.call("agent", ToolCall(name, {}))).text, flush=True)
        await asyncio.sleep(300)
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the minder looks every 0.2 s")
def test_kill_9_of_our_own_process_leaves_no_server_and_none_of_its_children(script):
    with subprocess.Popen([sys.executable, "-c", HOST, str(script)], stdout=-1, text=True) as host:
        pids = [int(host.stdout.readline()) for _ in range(2)]
        assert all(map(is_alive, pids))
        host.send_signal(signal.SIGKILL)
    assert not wait_until_gone(*pids)


async def test_an_official_server_over_http_is_a_world_too_and_its_end_is_noticed(script):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, str(script), str(port)], stderr=-3) as process:
        try:
            wait_for_port(port)
            async with McpTools(url=f"http://127.0.0.1:{port}/mcp").open(task, 0) as world:
                assert (await world.call("agent", call("add", a=20, b=22))).text == "42"
                process.kill()
                process.wait()
                with pytest.raises(InfrastructureError, match="the MCP server broke"):
                    await world.call("agent", call("add", a=20, b=22))
        finally:
            process.kill()
    with pytest.raises(InfrastructureError, match=f"127.0.0.1:{port}"):
        async with McpTools(url=f"http://127.0.0.1:{port}/mcp", start_timeout_s=5).open(task, 0):
            pass


def wait_for_port(port: int) -> None:
    import socket

    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the official server did not start")


async def test_our_world_behind_our_server_is_the_same_world_at_the_other_end():
    with background(as_app(lambda: BOX.open(task, 0), Sessions())) as url:
        far = McpTools(url=url + "/mcp")
        async with BOX.open(task, 0) as near, far.open(task, 0) as world:
            assert world.tools("agent") == near.tools("agent")
            for one in (call("calc", expression="6*7"), call("sums", a="1"), call("calc"), call("note", words="a")):
                assert await world.call("agent", one) == await near.call("agent", one)
            with pytest.raises(InfrastructureError, match="the index is down"):
                await world.call("agent", call("down"))


# ---------------------------------------------------------------- the plan


def test_a_plan_of_mcp_tools_comes_back_from_json_as_it_was():
    plan = McpTools(("npx", "server"), allow=("a", "b"), settings={"MODE": "ro"}, timeout_s=2.5)
    assert from_json(to_json(plan)) == plan


def test_a_plan_names_a_program_or_a_url():
    for wrong in ({}, {"command": ("a",), "url": "http://localhost"}):
        with pytest.raises(BadInput, match="a program or a URL"):
            McpTools(**wrong)
    with pytest.raises(BadInput, match="positive"):
        McpTools(("a",), timeout_s=0)


def test_a_configuration_file_of_desktop_clients_is_read(tmp_path):
    path = tmp_path / "servers.json"
    path.write_text(
        '{"mcpServers": {"files": {"command": "npx", "args": ["-y", "fs"], "env": {"KEY": "${KEY}", "MODE": "ro"}},'
        ' "far": {"url": "https://far.example/mcp"}}}'
    )
    files = read_config(str(path), "files")
    assert files.command == ("npx", "-y", "fs") and files.settings == {"MODE": "ro"} and "KEY" in files.env
    assert read_config(str(path), "far").url == "https://far.example/mcp"
    with pytest.raises(BadInput, match="did you mean files"):
        read_config(str(path), "file")
    with pytest.raises(BadInput, match=r"servers\.json#files or"):
        read_config(str(path))
    path.write_text("[]")
    with pytest.raises(BadInput, match="not a list of MCP servers"):
        read_config(str(path))
