"""Finds out what the name of an agent stands for, and how it is run: a function, a process or a URL."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import functools
import importlib.util
import inspect
import re
import shlex
import shutil
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from evolvent.codec import locate
from evolvent.errors import BadInput
from evolvent.serve.errand import API_KEY, MODEL, AgentFailed, Errand, answer_of
from evolvent.serve.process import run_process

GIVEN = ("task", "base_url", "api_key", "model")
"""The parameters that a function may have, by name."""

_FUNCTION = re.compile(r"(?P<home>[\w./\\~-]+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")


Runner = Callable[[Errand], Awaitable[str]]


def find_runner(agent: str) -> Runner:
    """How an agent is run; BadInput where there is none of that name."""
    agent = agent.strip()
    if agent.startswith(("http://", "https://")):
        return functools.partial(_post, agent)
    if found := _FUNCTION.fullmatch(agent):
        return functools.partial(_call, _function(found["home"], found["name"]))
    words = _words(agent)
    return functools.partial(run_process, words)


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
        return answer_of(await _in_thread(function, given))
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


# ---------------------------------------------------------------- command lines


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
        return answer_of(reply.json())
    except ValueError:
        return reply.text
