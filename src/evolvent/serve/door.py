"""Opens a port for an app and closes it cleanly: in the foreground until Ctrl-C, or behind a with-block."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from evolvent.errors import BadInput, InfrastructureError
from evolvent.policies.policy import Policy
from evolvent.serve.app import make_app
from evolvent.serve.desk import PolicyDesk
from evolvent.serve.guard import LOOPBACK
from evolvent.serve.spelling import Renderer


def serve(  # six, each one a fact of the door
    policy: Policy,
    renderer: Renderer | None,
    *,
    port: int,
    model_name: str,
    where: Where | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve a policy until Ctrl-C; `announce` hears the address once the port is open (port 0 takes a free one)."""
    where = where or Where()
    app = make_app(PolicyDesk(policy, renderer, model_name, max_queue=where.max_queue), key=where.key)
    shown = f"[{where.host}]" if ":" in where.host else where.host
    asks = "  (asks for the key)" if where.key else ""
    serve_app(
        app,
        port=port,
        host=where.host,
        announce=lambda at: announce(f"serving {model_name} at http://{shown}:{at}/v1{asks}  (Ctrl-C ends it)"),
    )


@dataclass(frozen=True)
class Where:
    """Who may come in: the address listened on, the key that is asked for, and how many prompts may wait."""

    host: str = "127.0.0.1"
    key: str | None = field(default=None, repr=False)
    max_queue: int = 256

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.key:
            raise BadInput(
                "other machines may only come in with a key",
                where="host",
                got=self.host,
                wanted=f"one of {', '.join(LOOPBACK)}, or a key",
                cure="export EVOLVENT_KEY=... and add key_env=EVOLVENT_KEY",
            )
        if self.max_queue < 1:
            raise BadInput("nobody could wait", where="max_queue", got=self.max_queue, wanted="at least 1")


def serve_app(
    app: Any, *, port: int, host: str = "127.0.0.1", announce: Callable[[int], None], is_proxied: bool = False
) -> None:
    """Serve an app until Ctrl-C; `announce` hears the port once it is open.

    Behind a proxy of this machine X-Forwarded-For says who asks; else anybody here could call itself what it likes.
    """
    door = _listen(host, port)
    try:
        server = _Server(_config(app, is_proxied))
        announce(door.getsockname()[1])
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[door])
    finally:
        door.close()


@contextlib.contextmanager
def background(app: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """The base URL (without /v1) of an app that is served from a thread as long as the block lasts."""
    door = _listen(host, port)
    server = _Server(_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise InfrastructureError("the server did not start", where=f"{host}:{door.getsockname()[1]}")
            time.sleep(0.005)
        yield f"http://{host}:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        door.close()


class _Server(uvicorn.Server):
    """Tells an app that asks for it (`app.state.is_ending`) that it ends: streams without an end find theirs."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close, once no more is asked."""
        is_ending = getattr(getattr(self.config.app, "state", None), "is_ending", None)
        if is_ending is not None:
            is_ending.set()
        await super().shutdown(sockets)


def _config(app: Any, is_proxied: bool = False) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_parser(),
        log_level="warning",
        access_log=False,
        proxy_headers=is_proxied,
        timeout_graceful_shutdown=2,  # clients that hold a connection open must not hold up the end
    )


def _parser() -> Any:
    try:
        from evolvent.serve.heads import BoundedHeads
    except ModuleNotFoundError:  # without httptools uvicorn takes h11, which has bounds of its own
        return "auto"
    return BoundedHeads


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, or the reason why not."""
    if not 0 <= port <= 65535:
        raise BadInput("not a port", got=port, wanted="0..65535, where 0 takes a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
        door.listen(128)
    except OSError as error:
        door.close()
        cures = {
            errno.EADDRINUSE: "end the other program, or choose another port (--port 0 takes a free one)",
            errno.EACCES: "choose a port above 1023",
        }
        raise BadInput(
            f"cannot listen on {host}:{port}",
            got=error.strerror or str(error),
            wanted="a free port of this machine",
            cure=cures.get(error.errno or 0, "use host=127.0.0.1 and another port"),
        ) from error
    return door
