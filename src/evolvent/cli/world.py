"""`evolvent world`: try a world yourself, or serve one to agents from outside."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.scenes import WANTED, Scene, find_scene
from evolvent.cli.screen import Screen
from evolvent.cli.visit import visit
from evolvent.errors import BadInput, MissingExtra, nearest
from evolvent.seeds import derive

DEFAULT_PORT = 8000
TRANSPORTS = ("http", "stdio", "openenv")
DEEDS = {"play": ("task",), "serve": ("task", "transport", "port", "sessions", "idle_timeout_s")}


def main(command: Command) -> dict[str, Any]:
    """Play or serve."""
    deed, word = _read(command)
    refuse_fields(command, DEEDS[deed])
    seed = command.seed or 0
    scene = find_scene(word, seed)
    first = _number(command, "task", 0)
    screen = Screen(as_json=command.json)
    if deed == "play":
        if command.port != DEFAULT_PORT:
            raise BadInput(
                "--port has no effect on world play", where="evolvent world play", cure="world serve takes it"
            )
        return visit(scene, first, seed, screen)
    return serve(scene, command, screen)


def serve(scene: Scene, command: Command, screen: Screen) -> dict[str, Any]:
    """Until Ctrl-C, or until the program at the other end of the pipes hangs up."""
    transport = command.fields.get("transport", "http")
    if transport not in TRANSPORTS:
        cure = nearest(transport, list(TRANSPORTS))
        raise BadInput("unknown transport", where="transport", got=transport, wanted=" | ".join(TRANSPORTS), cure=cure)
    if transport == "stdio":
        return _serve_stdio(scene, command)
    from evolvent.serve.door import serve_app

    path = "/mcp" if transport == "http" else "/ws"
    app = _mcp_app(scene, command) if transport == "http" else _openenv_app(scene, command)

    def announce(port: int) -> None:
        url = f"{'http' if transport == 'http' else 'ws'}://127.0.0.1:{port}{path}"
        if command.json:
            print(json.dumps({"url": url, "world": scene.name, "transport": transport}), flush=True)
        what = "MCP, streamable HTTP" if transport == "http" else "OpenEnv's WebSocket"
        screen.console.print(f"serving {scene.name} at {url} ({what}; Ctrl-C ends it)", markup=False, soft_wrap=True)

    serve_app(app, port=_number(command, "port", command.port), announce=announce)
    screen.say("closed")
    return {}


def _serve_stdio(scene: Scene, command: Command) -> dict[str, Any]:
    """One world for the program that has started us; stdout belongs to the protocol."""
    from evolvent.envs.mcp import serve_stdio

    if command.json:
        raise BadInput("--json has no effect here", where="transport=stdio", cure="stdout belongs to the protocol")
    task = scene.task(_number(command, "task", 0))

    async def run() -> None:
        async with scene.world.open(task, derive(command.seed or 0, task.task_id, 0)) as world:
            await serve_stdio(world, name=scene.name, question=task.question)

    print(f"serving {scene.name} over stdin and stdout; end of input ends it", file=sys.stderr, flush=True)
    asyncio.run(run())
    return {}


def _mcp_app(scene: Scene, command: Command) -> Any:
    from evolvent.envs.mcp import Sessions, as_app

    task, num = scene.task(_number(command, "task", 0)), iter(range(2**62))
    sessions = Sessions(
        _number(command, "sessions", Sessions().max_num),
        _number(command, "idle_timeout_s", int(Sessions().idle_timeout_s)),
    )
    _check_serves(scene, command)
    return as_app(
        lambda: scene.world.open(task, derive(command.seed or 0, task.task_id, next(num))),
        sessions,
        name=scene.name,
        question=task.question,
    )


def _check_serves(scene: Scene, command: Command) -> None:
    """Open the world once, so that what is wrong with it is told here and not to the first client."""

    async def look() -> None:
        async with scene.world.open(scene.task(0), derive(command.seed or 0, "look")) as world:
            if not world.tools(world.seats[0]):
                raise BadInput(
                    "a world without tools has nothing to serve over MCP", where=scene.name, cure="transport=openenv"
                )

    asyncio.run(look())


def _openenv_app(scene: Scene, command: Command) -> Any:
    try:
        import websockets  # noqa: F401 - uvicorn answers a WebSocket without it by an error that says little
    except ImportError as error:
        raise MissingExtra(
            "websockets is not installed", where="transport=openenv", cure="pip install 'evolvent[worlds]'"
        ) from error
    from evolvent.serve.openenv import OpenEnvDoor, make_openenv

    first = _number(command, "task", 0)
    return make_openenv(
        OpenEnvDoor(
            scene.world,
            lambda number: scene.task(first + number),
            name=scene.name,
            max_num=_number(command, "sessions", 64),
            idle_timeout_s=_number(command, "idle_timeout_s", 600),
        )
    )


def _read(command: Command) -> tuple[str, str]:
    """The deed and the world."""
    words = command.words
    if not words or words[0] not in DEEDS:
        raise BadInput(
            "world needs a deed",
            where="evolvent world",
            got=words[0] if words else "nothing",
            wanted="play WORLD, or serve WORLD",
            cure=nearest(words[0], list(DEEDS)) if words else "evolvent world play chain:2",
        )
    if len(words) != 2:
        where, got = f"evolvent world {words[0]}", " ".join(words[1:]) or "nothing"
        raise BadInput("one world is played or served", where=where, got=got, wanted=WANTED)
    return words[0], words[1]


def _number(command: Command, name: str, default: int) -> int:
    text = command.fields.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise BadInput("not a whole number", where=name, got=text, wanted="a number from 0 on")
    return int(text)
