"""What the HTTP door costs: clients that ask again as soon as they are answered, beside the policy's bare sampling.

The server is a process of its own, and so are the clients, which speak HTTP/1.1 by hand so that they cost little. A
round is as many requests as there are clients; the bare policy samples the same rows in one call. Both take turns.
The overhead is what a round takes longer than bare sampling, in percent of it; several rounds overlap in the server,
so it may be negative.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from types import TracebackType
from typing import Any

from bench.inputs import model_folder, prompts
from bench.rows import Row, alone

NEW = 64
GOAL = {("10M", 16, "no"): 10.0}
ROUNDS = {1: 12, 16: 6, 64: 3}
PARTS = ("parse", "sample", "render")
NO_PARTS = dict.fromkeys(PARTS, 0.0)


def cases(full: bool) -> list[dict[str, Any]]:
    """A tiny model, where the door is most of the work, and the one that the goal is for; streams in the full grid."""
    grid = [(size, clients, "no") for size in ("0.3M", "10M") for clients in (1, 16, 64)]
    if full:
        grid += [(size, clients, "yes") for size in ("0.3M", "10M") for clients in (1, 16, 64)]
    return [{"size": size, "clients": clients, "stream": stream, "threads": 1} for size, clients, stream in grid]


def measure(size: str, clients: int, stream: str, threads: int, pairs: int = 3) -> list[Row]:
    """One row: the overhead, with requests per second, latencies, and processor time of a request by part."""
    words = [bytes(ids).decode() for ids in prompts(clients, 40, 80)]
    rounds = ROUNDS[clients]
    with _Server(size) as server:
        load = _Load(server.url, words, stream == "yes")
        server.ask({"words": words, "new": NEW})
        asyncio.run(load.run(1))
        bare, served_s, latencies = [], [], []
        before = server.parts()
        for _ in range(pairs):
            bare.append(server.ask({"words": words, "new": NEW}))
            start = time.perf_counter()
            latencies += asyncio.run(load.run(rounds))
            served_s.append((time.perf_counter() - start) / rounds)
        spent = {part: seconds - before[part] for part, seconds in server.parts().items()}
    bare_cpu_s = [one["bare_cpu_s"] for one in bare]
    spent["http"] = spent.pop("all") - sum(bare_cpu_s) - sum(spent[part] for part in PARTS)
    overhead = [100 * (served / one["bare_s"] - 1) for served, one in zip(served_s, bare, strict=True)]
    cpu = {part: seconds / (pairs * rounds * clients) for part, seconds in spent.items()}
    return [alone(
        "gateway overhead", statistics.median(overhead), "% of sampling", same_work=True,
        target=GOAL.get((size, clients, stream)), why="target: at most; CPU is the server's, in ms of one request",
        **_told(clients, served_s, latencies, cpu, statistics.median(bare_cpu_s) / clients),
        pairs="/".join(f"{x:.0f}" for x in overhead), size=size, clients=clients, stream=stream, new=NEW,
    )]  # fmt: skip


def _told(
    clients: int, served_s: list[float], latencies: list[float], cpu: dict[str, float], bare_cpu_s: float
) -> dict[str, Any]:
    ordered = sorted(latencies)
    return {
        "requests/s": f"{clients / statistics.median(served_s):.1f}",
        "p50": f"{1000 * statistics.median(ordered):.0f}ms",
        "p99": f"{1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]:.0f}ms",
        "CPU": "+".join(f"{part} {1000 * seconds:.2f}" for part, seconds in cpu.items()),
        "bare CPU": f"{1000 * bare_cpu_s:.2f} (+{100 * (sum(cpu.values()) / bare_cpu_s - 1):.0f}%)",
    }


class _Server:
    """The process of `gateway_side.py`."""

    def __init__(self, size: str) -> None:
        words = [sys.executable, "-m", "bench.gateway_side", str(model_folder(size))]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Server:
        self.url = str(self._answer()["url"])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, words: dict[str, Any]) -> dict[str, Any]:
        """Bare sampling, or nothing, and the processor time so far."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def parts(self) -> dict[str, float]:
        """Processor seconds by part, and of the whole process."""
        text = urllib.request.urlopen(f"{self.url}/metrics").read().decode()
        found = re.findall(r'^evolvent_part_cpu_seconds_total\{part="(\w+)"\} (\S+)$', text, re.MULTILINE)
        return {**NO_PARTS, **{part: float(value) for part, value in found}, "all": self.ask({})["cpu_s"]}

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answer "):
                return dict(json.loads(line.removeprefix("answer ")))
        raise SystemExit("the server stopped")


class _Load:
    """Clients that each ask for one chat after the other, over a connection of their own."""

    def __init__(self, url: str, words: list[str], streams: bool) -> None:
        self.host, port = url.removeprefix("http://").split(":")
        self.port = int(port)
        self.requests = [self._request(text, streams) for text in words]

    def _request(self, text: str, streams: bool) -> bytes:
        body = {"model": "bench", "messages": [{"role": "user", "content": text}], "max_tokens": NEW}
        content = json.dumps({**body, "stream": streams, "return_token_ids": True, "logprobs": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
        return head.encode() + content

    async def run(self, rounds: int) -> list[float]:
        """Seconds of every request."""
        taken = await asyncio.gather(*(self._client(request, rounds) for request in self.requests))
        return [seconds for one in taken for seconds in one]

    async def _client(self, request: bytes, rounds: int) -> list[float]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        taken = []
        for _ in range(rounds):
            start = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            if found := re.search(rb"content-length: (\d+)", head):
                body = await reader.readexactly(int(found[1]))
            else:
                body = await reader.readuntil(b"\r\n0\r\n\r\n")
            taken.append(time.perf_counter() - start)
            assert b'"finish_reason"' in body
        writer.close()
        return taken
