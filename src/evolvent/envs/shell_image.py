"""Rooms of tasks that bring an image: in a container, where the image is on this machine.

Nothing is pulled or built behind anybody's back: the error gives the command. What lies in the image's working folder
is taken out as data and put into each sandbox like the files of any other task; around it the image is read only.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
from dataclasses import replace
from typing import Any

from evolvent.envs.sandbox.container import Container, bounds_of, open_
from evolvent.envs.sandbox.limits import Limits
from evolvent.envs.sandbox.tier import Sandbox
from evolvent.envs.shell_files import MAX_BYTES, read_left
from evolvent.envs.shell_room import (
    ABSOLUTE,
    APP,
    HOME,
    LOGS,
    SOLUTION,
    TESTS,
    NeedsImage,
    Room,
    check_needs,
    code_of,
    has_paths,
    own_variables,
    plain_room,
)
from evolvent.errors import BadInput, InfrastructureError
from evolvent.tasks.formats.harbor import HarborTask

OURS, AROUND = "localhost/evolvent-task", "localhost/evolvent-room"
BUILD_S = 120.0
HIDDEN = ("/", "/tmp", "/sandbox", "/proc", "/sys", "/dev")  # a container has its own there
LINK = """import os, shutil, sys
for pair in sys.argv[1:]:
    place, target = pair.split("=")
    if os.path.lexists(place):
        os.unlink(place) if os.path.islink(place) else shutil.rmtree(place)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.symlink(target, place)
"""


def room_of(task: HarborTask) -> Room:
    """What the agent finds; BadInput with the reason where neither files nor a container can give it."""
    check_needs(task)
    try:
        return plain_room(task)
    except NeedsImage as why:
        return _image_room(task, why)


def refusal(task: HarborTask, sandbox: Sandbox) -> str:
    """Why this sandbox cannot hold the task; nothing where it can."""
    try:
        home = sandbox_for(room_of(task), sandbox)
    except BadInput as error:
        return told_briefly(error)
    scripts = [f for f in task.files if f.endswith((".sh", ".py")) and not f.startswith("environment/")]
    bound = [f for f in scripts if ABSOLUTE.search(code_of(task.files[f].decode("utf-8", "replace")))]
    if bound and not has_paths(home):
        return f"{bound[0]} names {HOME} or /tests, and the sandbox {home.name} has its files elsewhere"
    return ""


def told_briefly(error: BadInput) -> str:
    """Why a task is left out, and what would let it in."""
    what = f"{error.what} ({error.got})" if error.got is not None else error.what
    return f"{what}; {error.cure}" if isinstance(error, NeedsImage) and error.cure else what


def sandbox_for(room: Room, sandbox: Sandbox) -> Sandbox:
    """The sandbox that a room asks for: the one given, or a container of the room's image."""
    return _container(room.image) if room.image else sandbox


def image_name(task: HarborTask) -> str:
    """The image that a task names, else what its Dockerfile is to be built as."""
    named = task.table("environment").get("docker_image")
    context = task.below("environment")
    told = hashlib.sha256()
    for path, data in sorted(context.items()):
        told.update(f"{len(path.encode())} {path} {len(data)}\n".encode() + data)
    return str(named) if named else f"{OURS}:{told.hexdigest()[:16]}"


def _image_room(task: HarborTask, why: NeedsImage) -> Room:
    name = image_name(task)
    found = _inspect(name)
    if found is None:
        is_named = bool(task.table("environment").get("docker_image"))
        engine = open_().engine
        build = f"{engine} pull {name}" if is_named else f"{engine} build -t {name} {task.where}/environment"
        raise NeedsImage(
            why.what,
            where="the task's environment",
            got=why.got,
            wanted=f"the image {name} on this machine",
            cure=build,
        )
    work = str(found["Config"].get("WorkingDir") or "/").rstrip("/") or "/"
    if work in HIDDEN or work.startswith(("/tmp/", "/sandbox/")):
        raise BadInput("a container hides the working folder of this image", where=name, got=f"WORKDIR {work}")
    left = read_left(_taken_out(name, str(found["Id"]), work))
    if left.trouble:
        raise BadInput("the files of an image cannot be taken out", where=name, got=left.trouble)
    around = _around(name, str(found["Id"]), work)
    return Room(left.files, left.folders, own_variables(task), left.executables, left.links, around)


def _inspect(name: str) -> dict[str, Any] | None:
    """What the engine knows of an image; None where it is not on this machine."""
    try:
        told = subprocess.run(
            [open_().engine, "image", "inspect", name], capture_output=True, check=False, timeout=BUILD_S
        )
    except OSError:
        return None  # no engine, no image
    found = json.loads(told.stdout or b"[]") if told.returncode == 0 else []
    return dict(found[0]) if found else None


@functools.lru_cache(maxsize=16)
def _taken_out(name: str, image_id: str, work: str) -> bytes:
    """The working folder of an image as an archive."""
    engine = open_().engine
    words = [engine, "run", "--rm", "--pull", "never", *bounds_of(Limits(wall_s=BUILD_S, cpu_s=BUILD_S), engine)]
    words += ["--user", "0", "--entrypoint", "tar", name, "-C", work, "-cf", "-", "."]
    ran = subprocess.run(words, capture_output=True, check=False, timeout=BUILD_S)
    if ran.returncode or len(ran.stdout) > 2 * MAX_BYTES:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BadInput(
            "the files of an image cannot be taken out",
            where=name,
            got=said[-1] if said else f"{len(ran.stdout)} bytes",
            wanted=f"an image with tar, bash and python3, and at most {MAX_BYTES} bytes in {work}",
        )
    return ran.stdout


@functools.lru_cache(maxsize=16)
def _around(name: str, image_id: str, work: str) -> str:
    """The image with its working folder, /tests, /logs and /solution led into the sandbox's own; made once."""
    links = {work: APP, HOME: APP, "/tests": TESTS, "/logs": LOGS.partition("/")[0], "/solution": SOLUTION}
    pairs = [f"{place}=/sandbox/{target}" for place, target in links.items()]
    run = json.dumps(["python3", "-I", "-S", "-c", LINK, *pairs])
    script = f"FROM {name}\nUSER 0\nRUN {run}\nWORKDIR /\nENTRYPOINT []\nCMD []\n"
    tag = f"{AROUND}:{hashlib.sha256(f'{image_id} {script}'.encode()).hexdigest()[:16]}"
    if _inspect(tag) is None:
        words = [open_().engine, "build", "--network", "none", "--pull=never", "-t", tag, "-"]
        made = subprocess.run(words, input=script.encode(), capture_output=True, check=False, timeout=BUILD_S)
        if made.returncode:
            said = (made.stderr or made.stdout).decode("utf-8", "replace").strip().splitlines()
            raise InfrastructureError(
                "a room cannot be made from an image", where=name, got=said[-1] if said else "", wanted="python3 in it"
            )
    return tag


@functools.lru_cache(maxsize=16)
def _container(image: str) -> Container:
    return replace(open_(), image=image)
