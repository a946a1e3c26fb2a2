"""Reads from a Harbor task what its agent finds in the working folder, or why no sandbox can give it that.

A sandbox gives the base system and files: a task is at home there if its image is a plain Debian, Ubuntu or Python one
to which the Dockerfile only adds files and folders below /app. Others need a container of their image (shell_image.py),
and none of them may need a network.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from evolvent.envs.sandbox.tier import Sandbox
from evolvent.errors import BadInput
from evolvent.tasks.formats.harbor import NO_NETWORK, HarborTask

HOME = "/app"  # where the tasks of this format work
APP, TESTS, LOGS, SOLUTION = "app", "tests", "logs/verifier", "solution"  # as they lie in a sandbox
PLAIN = re.compile(r"(?:docker\.io/)?(?:library/)?(debian|ubuntu|python)(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")
IDLE = ("CMD", "ENTRYPOINT", "LABEL", "MAINTAINER", "EXPOSE", "STOPSIGNAL", "SHELL")  # nothing to a folder of files
ABSOLUTE = re.compile(r"(?<![\w./}\-])/(?:app|tests|logs|solution)\b")


@dataclass(frozen=True)
class Room:
    """What the agent finds: files by path in its working folder, folders that may be empty, links, and variables.

    `image` names the image that stands around the folder, where that is not the base system.
    """

    files: Mapping[str, bytes]
    folders: tuple[str, ...] = ()
    variables: Mapping[str, str] | None = None
    executables: frozenset[str] = frozenset()
    links: Mapping[str, str] | None = None
    image: str = ""


class NeedsImage(BadInput):
    """The base system and files are not enough for a task."""


def has_paths(sandbox: Sandbox) -> bool:
    """Whether /app, /tests, /logs and /solution lead into the working folder, as scripts of this format expect."""
    script = f"mkdir -p {APP} && : >{APP}/seen && test -e {HOME}/seen && test -L /tests -a -L /logs -a -L /solution"
    return sandbox.run(["/bin/sh", "-c", script]).exit == 0


def check_needs(task: HarborTask) -> None:
    """BadInput where a task asks for what no sandbox here gives."""
    for part, mode in task.network_modes.items():
        if mode != NO_NETWORK:
            raise _refused("our sandbox has no network", f'[{part}] network_mode = "{mode}"')
    environment, verifier = task.table("environment"), task.table("verifier")
    for name in ("gpus", "gpu_types", "tpu", "mcp_servers", "healthcheck"):
        if environment.get(name):
            raise _refused(f"our sandbox has no {name}", f"[environment] {name}")
    if environment.get("os", "linux") != "linux":
        raise _refused("our sandbox is Linux", f'[environment] os = "{environment["os"]}"')
    if verifier.get("environment"):
        raise _refused("the tests want an image of their own", "[verifier.environment]")
    for part in ("agent", "verifier"):
        if (user := task.table(part).get("user")) not in (None, "root", 0):
            raise _refused("our sandbox has one user", f"[{part}] user = {user!r}")
    if odd := [path for path in task.below("environment") if "compose" in path]:
        raise _refused("our sandbox runs no services", f"environment/{odd[0]}")


def plain_room(task: HarborTask) -> Room:
    """What the agent finds; NeedsImage with the reason where the base system and files are not enough."""
    context = task.below("environment")
    image = task.table("environment").get("docker_image")
    if image:
        _check_image(str(image))
    may_run = frozenset(path.removeprefix("environment/") for path in task.executables)
    text = context["Dockerfile"].decode("utf-8", "replace") if "Dockerfile" in context else None
    room = None if text is None else _Build(context, may_run).read(text)
    if room is None and not image:
        raise _refused("the task has no image", "neither environment/Dockerfile nor docker_image")
    return (
        replace(room, variables={**(room.variables or {}), **own_variables(task)})
        if room
        else (Room({}, (), own_variables(task)))
    )


def own_variables(task: HarborTask) -> dict[str, str]:
    """The variables that task.toml sets."""
    own = task.table("environment").get("env")
    return {str(k): str(v) for k, v in own.items()} if isinstance(own, Mapping) else {}


class _Build:
    """Follows a Dockerfile that only adds files and folders."""

    def __init__(self, context: Mapping[str, bytes], may_run: frozenset[str]) -> None:
        self.may_run, self.executables = may_run, set[str]()
        self.context = {path: data for path, data in context.items() if path != "Dockerfile"}
        self.files: dict[str, bytes] = {}
        self.folders: list[str] = []
        self.variables: dict[str, str] = {}
        self.work = "/"

    def read(self, text: str) -> Room:
        """The room that it makes."""
        begun = False
        for line in _instructions(text):
            word, _, rest = line.partition(" ")
            word, rest = word.upper(), rest.strip()
            if word == "FROM":
                if begun:
                    raise _more("the image is built in several stages", line)
                begun = True
                _check_image(rest)
            elif word == "WORKDIR":
                self.work = posixpath.normpath(posixpath.join(self.work, rest.strip("\"'")))
                if self.work != HOME:
                    raise _more(f"the working folder is not {HOME}", line)
            elif word in ("COPY", "ADD"):
                self._copy(word, rest, line)
            elif word == "RUN":
                self._run(rest, line)
            elif word == "ENV":
                self._set(rest, line)
            elif word not in IDLE and not (word == "USER" and rest == "root"):
                raise _more("the image is more than files on a base system", line)
        if self.work != HOME:
            raise _more(f"the working folder is not {HOME}", f"WORKDIR {self.work}")
        return Room(self.files, tuple(self.folders), self.variables, frozenset(self.executables))

    def _copy(self, word: str, rest: str, line: str) -> None:
        words = [str(w) for w in json.loads(rest)] if rest.startswith("[") else shlex.split(rest)
        if len(words) < 2 or any(w.startswith("--") or "*" in w or "://" in w for w in words) or word == "ADD":
            raise _more("the image copies more than plain files", line)
        *sources, target = words
        for source in (posixpath.normpath(s) for s in sources):
            found = self._found(source, target, len(sources) > 1)
            if not found:
                raise _more("the image copies what is not there", line)
            for path, origin in found.items():
                place = self._below(path, line)
                self.files[place] = self.context[origin]
                self.executables |= {place} if origin in self.may_run else set()

    def _found(self, source: str, target: str, is_many: bool) -> dict[str, str]:
        """Where each file of one source goes."""
        into = posixpath.join(self.work, target)
        if source in self.context:
            is_folder = target.endswith(("/", ".")) or is_many
            return {posixpath.join(into, posixpath.basename(source)) if is_folder else into: source}
        start = "" if source == "." else source + "/"
        return {posixpath.join(into, path.removeprefix(start)): path for path in self.context if path.startswith(start)}

    def _run(self, rest: str, line: str) -> None:
        for step in re.split(r"&&|;", rest):
            words = shlex.split(step)
            if not words or words[0] not in ("mkdir", "true") or re.search(r"[|<>$`&*{}]", step):
                raise _more("the image is more than files on a base system", line)
            named = [w for w in words[1:] if not w.startswith("-")]
            self.folders += [self._below(posixpath.join(self.work, w), line) for w in named]

    def _set(self, rest: str, line: str) -> None:
        pairs = shlex.split(rest)
        if not all("=" in pair and "$" not in pair for pair in pairs):
            raise _more("this variable cannot be read", line)
        for pair in pairs:
            name, _, value = pair.partition("=")
            self.variables[name] = value

    def _below(self, path: str, line: str) -> str:
        whole = posixpath.normpath(path)
        if whole == HOME:
            return "."
        if not whole.startswith(HOME + "/"):
            raise _more(f"the image has files outside {HOME}", line)
        return whole.removeprefix(HOME + "/")


def _instructions(text: str) -> Iterable[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def _check_image(name: str) -> None:
    if not PLAIN.fullmatch(name.split(" ", maxsplit=1)[0]) or " " in name.strip():
        raise _more("the image is none of debian, ubuntu, python", name)


def code_of(text: str) -> str:
    """A script without its comments, and without the defaults of variables."""
    return re.sub(r"(?m)^\s*#.*$|\$\{\w+:-[^}]*\}", "", text)


def _more(why: str, got: str) -> NeedsImage:
    return NeedsImage(why, where="the task's environment", got=got, cure="it needs a container of its image")


def _refused(why: str, got: str) -> BadInput:
    return BadInput(why, where="the task's environment", got=got, cure="play it with Harbor itself, in a container")
