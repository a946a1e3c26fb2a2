"""Starts an agent on one task - a function, a process or a URL - and reads its answer; no child outlives its task."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import functools
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent.codec import locate
from evolvent.errors import BadInput

LAST_LINE, OUTPUT = "last line", "output"
API_KEY, MODEL = "none", "agent"
MAX_OUTPUT_BYTES = 1 << 20
MAX_WHY_CHARS = 600
POLL_S = 0.005
LATE_S = 0.2
GIVEN = ("task", "base_url", "api_key", "model")
"""The parameters that a function may have, by name."""

_FUNCTION = re.compile(r"(?P<home>[\w./\\~-]+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Errand:
    """One task for one agent: what it is told, where it finds its model, and how its answer is read."""

    task: Mapping[str, Any]
    base_url: str
    timeout_s: float
    answer_is: str = LAST_LINE


class AgentFailed(Exception):
    """The agent ended with an error of its own."""

    def __init__(self, why: str) -> None:
        super().__init__(why if len(why) <= MAX_WHY_CHARS else "..." + why[-MAX_WHY_CHARS:])


Runner = Callable[[Errand], Awaitable[str]]


def find_runner(agent: str) -> Runner:
    """How an agent is run; BadInput where there is none of that name."""
    agent = agent.strip()
    if agent.startswith(("http://", "https://")):
        return functools.partial(_post, agent)
    if found := _FUNCTION.fullmatch(agent):
        return functools.partial(_call, _function(found["home"], found["name"]))
    words = _words(agent)
    return functools.partial(_run, words)


def is_process(agent: str) -> bool:
    """Whether the agent is started anew for each task."""
    return not agent.strip().startswith(("http://", "https://")) and not _FUNCTION.fullmatch(agent.strip())


def settled(agent: str) -> str:
    """The agent with absolute paths, so that a plan can be carried on from another folder."""
    agent = agent.strip()
    if agent.startswith(("http://", "https://")):
        return agent
    home, colon, name = agent.partition(":")
    if home.endswith(".py") and Path(home).expanduser().is_file() and (not colon or name.isidentifier()):
        return f"{Path(home).expanduser().absolute()}{colon}{name}"
    words = shlex.split(agent) if " " in agent else [agent]
    # a link stays a link: that is how the python of a virtual environment knows its home
    return shlex.join(
        str(Path(w).absolute()) if Path(w).is_file() and ("/" in w or w.endswith(".py")) else w for w in words
    )


# ---------------------------------------------------------------- functions


@functools.cache
def _function(home: str, name: str) -> Callable[..., Any]:
    found = getattr(_module(home), name, None) if home.endswith(".py") else locate(f"{home}:{name}")
    if not callable(found):
        there = (
            [n for n, thing in vars(_module(home)).items() if inspect.isfunction(thing)] if home.endswith(".py") else []
        )
        raise BadInput("no such function", where=f"agent={home}:{name}", got=name, wanted=", ".join(there) or None)
    taken = inspect.signature(found).parameters.values()
    odd = [p.name for p in taken if p.name not in GIVEN and p.default is p.empty and p.kind in _NAMED]
    if odd:
        raise BadInput(
            f"the agent asks for {odd[0]!r}, which nobody gives",
            where=f"agent={home}:{name}",
            got=str(inspect.signature(found)),
            wanted=f"parameters among {', '.join(GIVEN)}",
        )
    made: Callable[..., Any] = found
    return made


_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@functools.cache
def _module(home: str) -> Any:
    path = _existing(home)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:  # as where the file is run: what lies beside it can be imported
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput(
            "the agent's file cannot be loaded", where=str(path), got=f"{type(error).__name__}: {error}",
            cure="python " + shlex.quote(str(path)) + " shows where",
        ) from error  # fmt: skip
    return module


async def _call(function: Callable[..., Any], errand: Errand) -> str:
    given = {"task": dict(errand.task), "base_url": errand.base_url, "api_key": API_KEY, "model": MODEL}
    taken = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        given = {name: value for name, value in given.items() if name in taken}
    try:
        return _answer(await _in_thread(function, given))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise AgentFailed(f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})") from error


async def _in_thread(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """A thread of its own for each: in a pool those who wait for a place would hold up those who wait for a model.

    That goes for a coroutine too: one that blocks would block the very loop that has to answer it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(outcome: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(outcome)

    def work() -> None:
        outcome: Any = None
        error: Exception | None = None
        try:
            outcome = function(**given)
            outcome = asyncio.run(_awaited(outcome)) if inspect.isawaitable(outcome) else outcome
        except SystemExit as ended:
            error = AgentFailed(f"it left with exit({ended.code!r})") if ended.code else None
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(settle, outcome, error)

    threading.Thread(target=work, daemon=True, name="agent").start()
    return await done


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


def _answer(value: object) -> str:
    if isinstance(value, Mapping) and "answer" in value:
        value = value["answer"]
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


# ---------------------------------------------------------------- processes


def _words(agent: str) -> list[str]:
    try:
        words = shlex.split(agent)
    except ValueError as error:
        raise BadInput("the command line cannot be read", where="agent", got=agent, cure=str(error)) from error
    if not words:
        raise BadInput("no agent is named", where="agent", wanted="a file, module:function, a command line or a URL")
    if words[0].endswith(".py"):
        return [sys.executable, str(_existing(words[0])), *words[1:]]
    if shutil.which(words[0]) is None:
        raise BadInput(
            "no such agent",
            where=f"agent={agent}",
            got=f"{words[0]!r} is no file that ends in .py, no module:function, and no program on the PATH",
            wanted="path/to/agent.py, path/to/agent.py:function, module:function, a command line, or http://...",
        )
    return words


def _existing(home: str) -> Path:
    path = Path(home).expanduser()
    if path.is_file():
        return path.absolute()
    beside = [str(p) for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
    close = difflib.get_close_matches(str(path), beside, n=3, cutoff=0.4)
    raise BadInput(
        "the agent's file is not there",
        where=f"agent={home}",
        got="a folder" if path.is_dir() else "no such file",
        cure=f"did you mean {' or '.join(close)}?" if close else "give the path of a Python file",
    )


async def _run(words: list[str], errand: Errand) -> str:
    argv = [word.replace("{question}", str(errand.task["question"])) for word in words]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env=_environment(errand), start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise AgentFailed(f"{argv[0]}: {error.strerror}") from error
    reads = [asyncio.ensure_future(_read(stream)) for stream in (process.stdout, process.stderr)]
    try:
        await _tell(process, errand)
        status = await _exited(process)
    finally:
        _end(process.pid)
        done, late = await asyncio.wait(reads, timeout=LATE_S)
        if late:  # a child that left the group holds the pipe open
            _end_those_with(errand.base_url)
            done, late = await asyncio.wait(reads, timeout=LATE_S)
        for read in late:
            read.cancel()
        await _exited(process)
        process._transport.close()  # type: ignore[attr-defined]  # else it is closed by whoever collects it, too late
    output, errors = (read.result() if read in done else b"" for read in reads)
    if status != 0:
        raise AgentFailed(f"exit status {status}: {errors.decode(errors='replace').strip() or 'no words on stderr'}")
    return _printed(output.decode(errors="replace"), errand.answer_is)


async def _exited(process: asyncio.subprocess.Process) -> int:
    """The exit status; wait() would wait for whoever else holds the pipes as well."""
    while process.returncode is None:
        await asyncio.sleep(POLL_S)
    return process.returncode


def _environment(errand: Errand) -> dict[str, str]:
    near = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1", "localhost"]))
    address = {"OPENAI_BASE_URL": errand.base_url, "OPENAI_API_BASE": errand.base_url, "OPENAI_API_KEY": API_KEY}
    return {**os.environ, **address, "OPENAI_MODEL": MODEL, "NO_PROXY": near, "no_proxy": near}


async def _tell(process: asyncio.subprocess.Process, errand: Errand) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # an agent may read its task elsewhere, or not at all
        process.stdin.write(json.dumps(errand.task).encode() + b"\n")
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    """The last bytes of a stream; what is older than the limit is forgotten."""
    assert stream is not None
    kept = bytearray()
    while piece := await stream.read(1 << 16):
        kept += piece
        del kept[:-MAX_OUTPUT_BYTES]
    return bytes(kept)


def _end(process_id: int) -> None:
    """End a process with its group and all that descend from it."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process_id).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, signal.SIGKILL)


def _end_those_with(base_url: str) -> None:
    """End what an agent left behind elsewhere: its children have its address in their environment."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("OPENAI_BASE_URL") == base_url:
                process.kill()


def _printed(output: str, answer_is: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else ""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(last)
        if isinstance(found, dict) and "answer" in found:
            return _answer(found)
    return last if answer_is == LAST_LINE else output.strip()


# ---------------------------------------------------------------- URLs


async def _post(url: str, errand: Errand) -> str:
    import httpx

    body = {**errand.task, "base_url": errand.base_url, "api_key": API_KEY, "model": MODEL}
    try:
        async with httpx.AsyncClient(timeout=errand.timeout_s) as client:
            reply = await client.post(url, json=body)
    except httpx.TimeoutException:
        raise TimeoutError from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise AgentFailed(f"{url}: {type(error).__name__}: {error}") from error
    if not reply.is_success:
        raise AgentFailed(f"{url}: status {reply.status_code}: {reply.text[:200]}")
    try:
        return _answer(reply.json())
    except ValueError:
        return reply.text
