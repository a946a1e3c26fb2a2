"""Serves a hub's repositories to any git over HTTP: reading as far as is allowed, and to each agent writing its own.

The two services of git are started as they are, without `git http-backend`: that one reads a request's headers out of
its environment and unpacks bodies without a limit. Requests and answers pass through files: a slow client holds no
process, one that dies in the middle of a push has started none, and no pack is ever held in memory.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any
from weakref import WeakValueDictionary

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.hub.exchange import READ, WRITE, Exchange, Send
from evolvent.hive.hub.git_process import end
from evolvent.hive.hub.receiving import receive as receive_push
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.repositories import Repositories
from evolvent.hive.hub.spool import CHUNK, Gone, Receive, open_spool

NUM_READERS, NUM_WRITERS, QUEUE_S, ANSWER_S = 8, 4, 30.0, 300.0
WISH_BYTES = 2**20  # what a client may say about what it has and wants
PATIENCE = 4  # a push so many times too large is cut off; a smaller one hears why in git's own words


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who asks, or with which status and words they are sent away."""

    status: int = 200
    agent: str | None = None
    words: str = ""
    retry_after_s: float | None = None


Authorize = Callable[[str, str | None, str | None, bool], Verdict]
Pushed = Callable[[str, str, Mapping[str, str], list[str]], None]


class GitDoor:
    """An ASGI app; `authorize` and `pushed` are plain functions, called in threads."""

    def __init__(self, repositories: Repositories, authorize: Authorize, pushed: Pushed) -> None:
        self._repositories, self._authorize, self._pushed = repositories, authorize, pushed
        self._readers = asyncio.Semaphore(NUM_READERS)
        self._writers = ThreadPoolExecutor(NUM_WRITERS, thread_name_prefix="push")
        # pushes into one fork wait here, and not in the threads that others need
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._abilities = b""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise BadInput("git speaks HTTP alone", where="git", got=scope["type"])
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except Refused as error:
            await exchange.refuse(error.status, str(error), error.retry_after_s)
        except InfrastructureError as error:
            await exchange.refuse(503, error.what, 5)
        except TimeoutError:
            await exchange.refuse(408, "this took too long")
        except Gone:
            return

    async def _answer(self, exchange: Exchange) -> None:
        name, service, is_greeting = exchange.read_target()
        user, password = exchange.read_credentials()
        verdict = await asyncio.to_thread(self._authorize, name, user, password, service == WRITE)
        if verdict.status != 200:
            raise Refused(verdict.status, verdict.words or "refused", retry_after_s=verdict.retry_after_s)
        if service == WRITE:
            _check_writer(name, verdict.agent)
        path = str(self._repositories.path(name))
        if is_greeting:
            await self._greet(exchange, service, path)
        elif service == READ:
            await self._give(exchange, path)
        else:
            await self._take(exchange, name, str(verdict.agent))

    async def _greet(self, exchange: Exchange, service: str, path: str) -> None:
        """Say which refs there are; a reader of today only wants to know what git can do, the same for every fork."""
        is_new = service == READ and exchange.protocol == "version=2"
        start = b"" if is_new else b"%04x# service=%s\n0000" % (len(service) + 15, service.encode())
        with tempfile.TemporaryFile() as answer:
            answer.write(start + (self._abilities if is_new else b""))
            answer.flush()
            if not (is_new and self._abilities):
                words = (service.removeprefix("git-"), "--stateless-rpc", "--advertise-refs", path)
                await self._ask(exchange, words, asyncio.subprocess.DEVNULL, answer)
            answer.seek(0)
            if is_new and (said := answer.read(CHUNK)).endswith(b"0000"):
                self._abilities = said
            await _send(exchange, f"application/x-{service}-advertisement", answer)

    async def _give(self, exchange: Exchange, path: str) -> None:
        with open_spool(WISH_BYTES, exchange.encoding) as spool, tempfile.TemporaryFile() as answer:
            await spool.fill(exchange.receive, 1)
            words = ("upload-pack", "--stateless-rpc", "--strict", "--timeout=30", path)
            await self._ask(exchange, words, spool.file.fileno(), answer)
            await _send(exchange, f"application/x-{READ}-result", answer)

    async def _ask(self, exchange: Exchange, words: tuple[str, ...], stdin: int, answer: IO[bytes]) -> None:
        """Let git write its answer to a file; it is stopped where nobody waits for that any longer."""
        protocol = exchange.protocol if words[0] == "upload-pack" else ""
        async with _turn(self._readers):
            process = await self._repositories.git.start(*words, stdin=stdin, stdout=answer.fileno(), protocol=protocol)
            waiting = {asyncio.create_task(process.wait()), asyncio.create_task(exchange.wait_until_gone())}
            try:
                seconds = self._repositories.limits.seconds
                await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
                await end(process)
        if process.returncode is None or process.returncode < 0:
            raise InfrastructureError("git took too long, or too much memory", where="git")

    async def _take(self, exchange: Exchange, name: str, agent: str) -> None:
        with open_spool(self._repositories.limits.push_bytes, exchange.encoding) as spool:
            await spool.fill(exchange.receive, PATIENCE)
            async with _turn(self._turns.setdefault(name, asyncio.Lock())):
                loop, job = asyncio.get_running_loop(), (self._repositories, name, spool.file, spool.num_bytes)
                received = await loop.run_in_executor(self._writers, receive_push, *job)
                if received.heads:
                    told = (name, agent, dict(received.heads), list(received.commits))
                    await asyncio.to_thread(self._pushed, *told)
        await exchange.begin(200, f"application/x-{WRITE}-result")
        await exchange.write(received.answer, is_last=True)


def _check_writer(name: str, agent: str | None) -> None:
    """An agent writes to its own fork and to nothing else, whoever it was that let it in."""
    kind, *names = name.split("--")
    if kind != "fork" or agent is None or names[1] != agent:
        raise Refused(403, "this repository is not yours to write", got=name, wanted=f"your own fork: {agent}")


async def _send(exchange: Exchange, kind: str, answer: IO[bytes]) -> None:
    num_bytes = answer.seek(0, os.SEEK_END)
    answer.seek(0)
    await exchange.begin(200, kind, (b"content-length", b"%d" % num_bytes))
    async with asyncio.timeout(ANSWER_S):
        while data := answer.read(CHUNK):
            await exchange.write(data)
        await exchange.write(b"", is_last=True)


@asynccontextmanager
async def _turn(queue: asyncio.Semaphore | asyncio.Lock) -> AsyncIterator[None]:
    """Wait for a turn, and not for ever."""
    try:
        async with asyncio.timeout(QUEUE_S):
            await queue.acquire()
    except TimeoutError:
        raise InfrastructureError("the hub has its hands full of git", where="git") from None
    try:
        yield
    finally:
        queue.release()
