"""Asks a server over kept connections, each as soon as it was answered, from one loop that costs little itself.

HTTP/1.1 by hand over epoll: a request is bytes that were made before, an answer is read for its status and length
only. What the loop itself can do at most is measured against a server that always says the same.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

CHUNK = 1 << 18
QUIET_S = 60.0


@dataclass
class Window:
    """What came back in one stretch of load: seconds of every answer, how long it all took, and what was refused."""

    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    refused: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (len(self.latencies_s) - len(self.refused)) / self.seconds


class Load:
    """So many clients of one server."""

    def __init__(self, address: tuple[str, int], num_clients: int) -> None:
        self.poll = select.epoll()
        self.clients: dict[int, _Client] = {}
        for _ in range(num_clients):
            client = _Client(address)
            self.clients[client.fileno] = client
            self.poll.register(client.fileno, select.EPOLLIN)

    def close(self) -> None:
        """Hang up."""
        for client in self.clients.values():
            client.socket.close()
        self.poll.close()

    def run(self, requests: Iterator[bytes], seconds: float) -> Window:
        """Ask for so long, or until there is nothing more to ask, and wait for what is still to come."""
        window, clock = Window(), time.perf_counter
        start = clock()
        end, num_open = start + seconds, 0
        for client in self.clients.values():
            num_open += client.ask(next(requests, b""), clock())
        while num_open:
            found = self.poll.poll(QUIET_S)
            if not found:
                raise TimeoutError(f"no answer for {QUIET_S:g} s; {num_open} requests are open")
            for fileno, _ in found:
                client = self.clients[fileno]
                if not client.hear():
                    continue
                at = clock()
                window.latencies_s.append(at - client.asked)
                if not client.is_good:
                    window.refused.append(bytes(client.heard[:2000]))
                num_open -= 1
                if at < end:
                    num_open += client.ask(next(requests, b""), clock())
        window.seconds = clock() - start
        return window


class _Client:
    """One connection with at most one request open."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fileno = self.socket.fileno()
        self.heard = bytearray()
        self.asked, self.total, self.is_good = 0.0, 0, False

    def ask(self, request: bytes, at: float) -> bool:
        """Send it; False where there is nothing to send."""
        if not request:
            return False
        self.asked, self.total = at, 0
        self.heard = bytearray()
        self.socket.sendall(request)
        return True

    def hear(self) -> bool:
        """Read what has come; whether the answer is complete."""
        part = self.socket.recv(CHUNK)
        if not part:
            raise ConnectionError(f"the server hung up after {bytes(self.heard[:300])!r}")
        self.heard += part
        if not self.total:
            head = self.heard.find(b"\r\n\r\n")
            if head < 0:
                return False
            told = bytes(self.heard[:head]).lower()
            self.is_good = told.startswith((b"http/1.1 200", b"http/1.1 201"))
            place = told.find(b"content-length:")
            if place < 0:
                raise ConnectionError(f"an answer without its length: {told[:300]!r}")
            self.total = head + 4 + int(told[place + 15 :].split(b"\r\n", 1)[0])
        return len(self.heard) >= self.total


def request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """A request as bytes."""
    words = f"{method} {path} HTTP/1.1\r\nHost: hub\r\nX-Agent-Token: {token}\r\nAccept: */*\r\n"
    if body:
        words += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return words.encode() + b"\r\n" + body


def ceiling(num_clients: int, num_bytes: int, seconds: float) -> Window:
    """What the loop does against a process that answers everything with the same bytes."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=num_clients)
    process = multiprocessing.get_context("fork").Process(target=_echo, args=(listener, num_bytes), daemon=True)
    process.start()
    load = Load(listener.getsockname(), num_clients)
    try:
        return load.run(iter(lambda: request("GET", "/", "token"), b""), seconds)
    finally:
        load.close()
        process.kill()
        process.join()
        listener.close()


def _echo(listener: socket.socket, num_bytes: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % num_bytes + b"x" * num_bytes
    poll, open_sockets = select.epoll(), {}
    poll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for fileno, _ in poll.poll():
            if fileno == listener.fileno():
                made = listener.accept()[0]
                open_sockets[made.fileno()] = made
                poll.register(made.fileno(), select.EPOLLIN)
            elif open_sockets[fileno].recv(CHUNK):
                open_sockets[fileno].sendall(answer)
            else:
                poll.unregister(fileno)
                open_sockets.pop(fileno).close()
