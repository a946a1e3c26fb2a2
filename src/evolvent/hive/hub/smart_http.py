"""Serves a hub's repositories to any git over HTTP: reading as far as is allowed, and to each agent writing its own.

The two services of git are started as they are, without `git http-backend`: that one reads a request's headers out of
its environment, unpacks bodies without a limit, and would wait for a slow client with a process in its hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
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
        if is_new and self._abilities:
            await exchange.begin(200, f"application/x-{service}-advertisement")
            await exchange.write(self._abilities, is_last=True)
            return
        start = b"" if is_new else b"%04x# service=%s\n0000" % (len(service) + 15, service.encode())
        words = (service.removeprefix("git-"), "--stateless-rpc", "--advertise-refs", path)
        said = await self._stream(exchange, f"application/x-{service}-advertisement", words, start=start)
        if is_new and said.endswith(b"0000"):
            self._abilities = said

    async def _give(self, exchange: Exchange, path: str) -> None:
        with open_spool(WISH_BYTES, exchange.encoding) as spool:
            await spool.fill(exchange.receive, 1)
            words = ("upload-pack", "--stateless-rpc", "--strict", "--timeout=30", path)
            await self._stream(exchange, f"application/x-{READ}-result", words, stdin=spool.file.fileno())

    async def _stream(
        self, exchange: Exchange, kind: str, words: tuple[str, ...], *, start: bytes = b"", stdin: int | None = None
    ) -> bytes:
        """Pass on what git says as it comes; the beginning of it, for those who want to keep it."""
        protocol = exchange.protocol if words[0] == "upload-pack" else ""
        given = asyncio.subprocess.DEVNULL if stdin is None else stdin
        async with _turn(self._readers):
            process = await self._repositories.git.start(*words, stdin=given, protocol=protocol)
            gone = asyncio.create_task(exchange.wait_until_gone())
            try:
                async with asyncio.timeout(ANSWER_S):
                    await exchange.begin(200, kind)
                    beginning = start + await _read(process, gone)
                    await exchange.write(beginning)
                    while data := await _read(process, gone):
                        await exchange.write(data)
                await exchange.write(b"", is_last=True)
            finally:
                gone.cancel()
                await end(process)
        return beginning

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


async def _read(process: asyncio.subprocess.Process, gone: asyncio.Task[None]) -> bytes:
    """The next part of the output, empty at its end; Gone where the client left meanwhile."""
    assert process.stdout is not None
    reading = asyncio.create_task(process.stdout.read(CHUNK))
    await asyncio.wait((reading, gone), return_when=asyncio.FIRST_COMPLETED)
    if not reading.done():
        reading.cancel()
        raise Gone
    return reading.result()


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
