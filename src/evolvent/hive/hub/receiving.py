"""Lets git take a push into a fork: whole, within the room that the fork has, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from evolvent.hive.hub.push_request import PushRequest, complain, read_request
from evolvent.hive.hub.refs import list_objects, read_refs, restore_refs, sweep
from evolvent.hive.hub.repositories import Repositories

MAX_ANSWER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Received:
    """What the agent's git is told, the refs that moved, and the commits that came with them."""

    answer: bytes
    heads: Mapping[str, str] = field(default_factory=dict)
    commits: tuple[str, ...] = ()


def receive(repositories: Repositories, name: str, body: IO[bytes], num_bytes: int) -> Received:
    """Give the body of a push to git; Refused where it is none."""
    request = read_request(body)
    if not request.commands:  # git asks so whether it may push, before it sends much
        return Received(b"")
    with repositories.alone(name) as lock:
        path = repositories.path(name)
        sweep(path)
        before, limits = read_refs(path), repositories.limits
        if num_bytes > limits.push_bytes:
            return Received(request.refuse(f"a push has at most {limits.push_bytes} bytes"))
        if trouble := complain(request, before, limits.num_refs):
            return Received(request.refuse(trouble))
        if num_bytes > repositories.room(name):
            return Received(request.refuse(_full(repositories)))
        return _take_in(repositories, name, request, body, lock)


def _take_in(repositories: Repositories, name: str, request: PushRequest, body: IO[bytes], lock: int) -> Received:
    path = repositories.path(name)
    before, objects = read_refs(path), list_objects(path)
    # the child holds the lock too: should this process die, nobody writes until git is done
    words = ("receive-pack", "--stateless-rpc", str(path))
    status, answer = repositories.git.run(*words, stdin=body, most=MAX_ANSWER_BYTES, keep=[lock])
    after = read_refs(path)
    if repositories.room(name) < 0:
        _undo(path, before, objects)
        return Received(request.refuse(_full(repositories)))
    if status != 0 and after == before:
        _undo(path, before, objects)
        return Received(request.refuse("git cannot read this push, or not within its time and memory"))
    heads = {ref: commit for ref, commit in after.items() if before.get(ref) != commit}
    commits = repositories.new_commits(name, heads.values(), before.values()) if heads else []
    return Received(answer, heads, tuple(commits))


def _undo(path: Path, refs: dict[str, str], objects: set[Path]) -> None:
    """Take back what a push brought: first the refs, so that none ever names what is gone."""
    restore_refs(path, refs)
    sweep(path)
    for brought in list_objects(path) - objects:
        brought.unlink(missing_ok=True)


def _full(repositories: Repositories) -> str:
    return f"the fork is full: it may take {repositories.limits.fork_bytes} bytes beyond its task"
