from __future__ import annotations

import asyncio
import os
import signal
import threading
import time

import pytest

from evolvent.envs import Interpreter, Toolbox
from evolvent.envs.interpreter import _pool, execute
from evolvent.records import Origin, Private, Reference, Task, ToolCall, said

quick = Interpreter(timeout_s=0.5)
task = Task(
    "t", "code", 1, (said("user", "?"),), Private("4"), Reference("evolvent.rewards.verify:exact"), Origin("hand")
)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print(1)\n1+2", "1\n3"),
        ("x = 5", "(no output)"),
        ("print('a')", "a"),
        ("'abc'", "abc"),
        ("import math\nmath.comb(10, 3)", "120"),
        ("sum(n for n in range(1000) if n % 7 == 3)", "71500"),
        ("x = 1\ny = x / 0", "error: line 2: ZeroDivisionError: division by zero"),
        ("print('first')\nfoo()", "first\nerror: line 2: NameError: name 'foo' is not defined"),
        ("def f(:", "error: line 1: SyntaxError: Expected a parameter or the end of the parameter list"),
        ("open('/etc/passwd').read()", "error: line 1: PermissionError: Permission denied: '/etc/passwd'"),
        ("import os\nos.listdir('/')", "error: line 2: PermissionError: Permission denied: '/'"),
        ("import socket", "error: line 1: ModuleNotFoundError: No module named 'socket'"),
        ("while True: pass", "error: took longer than 0.5 s"),
        ("a = 'x' * 10**9", "error: line 1: used more than 64 MiB"),
        ("2 ** 10 ** 9", "error: line 1: used more than 64 MiB"),
        ("def f(n): return f(n + 1)\nf(0)", "error: line 1: RecursionError: maximum recursion depth exceeded"),
        ("10 ** 5000", "error: the value of the last line is too large to show"),
        ("import time\ntime.sleep(1000)\ntime.time()", "946684800.0"),
        ("", "(no output)"),
    ],
)
def test_scripts_worked_by_hand(code: str, text: str) -> None:
    assert execute(code, quick).text == text


def test_chance_in_a_script_is_the_same_each_time() -> None:
    code = "import random\n[random.random() for _ in range(3)]"
    assert execute(code, quick) == execute(code, quick)


def test_long_output_keeps_its_head_and_tail() -> None:
    ran = execute("for i in range(100000): print(i)", Interpreter(timeout_s=20.0, max_output_bytes=1000))
    assert ran.printed.startswith("0\n1\n")
    assert ran.printed.endswith("99999\n")
    assert "characters left out" in ran.printed
    assert len(ran.printed) < 1100


def test_input_reads_the_lines_given_and_then_says_that_there_are_no_more() -> None:
    assert execute("int(input()) + int(input())", quick, ["3", "4"]).value == "7"
    assert "no more input" in execute("input()", quick).error


def test_nothing_is_remembered_between_scripts() -> None:
    execute("secret = 1", quick)
    assert "NameError" in execute("secret", quick).error


def test_a_worker_killed_from_outside_costs_the_script_nothing() -> None:
    with _pool().checkout() as session:
        pid = session.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert execute("1 + 1", quick).value == "2"


async def test_the_loop_runs_on_while_scripts_are_slow() -> None:
    async with Toolbox((quick,), timeout_s=0.01).open(task, 0) as world:
        endless = asyncio.create_task(world.call("agent", ToolCall("python", {"code": "while True: pass"})))
        ticks = 0
        while not endless.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks >= 5
        result = await endless
    assert result.is_error
    assert "took longer than 0.5 s" in result.text


async def test_fifty_scripts_share_few_workers() -> None:
    async def one(number: int) -> str:
        async with Toolbox((Interpreter(timeout_s=20.0),)).open(task, 0) as world:
            return (await world.call("agent", ToolCall("python", {"code": f"print({number} ** 2)"}))).text

    assert await asyncio.gather(*map(one, range(50))) == [str(n * n) for n in range(50)]


def test_threads_may_share_the_workers() -> None:
    got: list[str] = []
    threads = [threading.Thread(target=lambda n=n: got.append(execute(f"{n}+1", quick).value)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got) == [str(n) for n in range(1, 9)]


def test_an_endless_script_ends_and_the_next_one_runs() -> None:
    begin = time.monotonic()
    execute("while True: pass", quick)
    assert execute("1", quick).value == "1"
    assert time.monotonic() - begin < 30
