"""Reads what a push asks for before git sees it, and says no in the words that the git of the agent shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from evolvent.hive.hub.refusals import Refused

MAX_COMMANDS, MAX_SHALLOW = 64, 1000
NOTHING = "0" * 40
_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([!-~]{1,300})")
_SHALLOW = re.compile(rb"shallow [0-9a-f]{40}\n?")
_PLAIN = re.compile(r"refs/(heads|tags)/[A-Za-z0-9._/+-]{1,200}")


@dataclass(frozen=True, slots=True)
class Command:
    """One ref that a push wants to move."""

    old: str
    new: str
    ref: str


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The refs that a push wants to move, and how its answer is to be written."""

    commands: tuple[Command, ...]
    words: frozenset[str]

    def refuse(self, why: str) -> bytes:
        """The answer that leaves every ref where it is."""
        if not self.words & {"report-status", "report-status-v2"}:
            raise Refused(403, why)
        said = why.replace("\n", " ")[:200]
        lines = [b"unpack ok\n", *(f"ng {one.ref} {said}\n".encode() for one in self.commands)]
        report = b"".join(map(_packet, lines)) + b"0000"
        return _packet(b"\x01" + report) + b"0000" if "side-band-64k" in self.words else report


def read_request(body: IO[bytes]) -> PushRequest:
    """The commands at the start of a push; Refused where they are none."""
    commands, words, num_shallow = list[Command](), frozenset[str](), 0
    while line := _read_packet(body):
        told, _, said = line.partition(b"\0")
        if _SHALLOW.fullmatch(told) and num_shallow < MAX_SHALLOW:
            num_shallow += 1
            continue
        found = _COMMAND.fullmatch(told.rstrip(b"\n"))
        if found is None:
            raise Refused(400, "this push asks for something that is not known here", got=ascii(told[:80]))
        if not commands:
            words = frozenset(said.decode("ascii", "replace").split())
        commands.append(Command(*(part.decode("ascii") for part in found.groups())))
        if len(commands) > MAX_COMMANDS:
            raise Refused(413, "too many branches at once", wanted=f"at most {MAX_COMMANDS}")
    return PushRequest(tuple(commands), words)


def complain(request: PushRequest, refs: Mapping[str, str], num_refs: int) -> str:
    """Why these refs may not be moved; nothing where they may."""
    for one in request.commands:
        if trouble := complain_ref(one.ref):
            return trouble
    names = [one.ref for one in request.commands]
    if len(set(names)) < len(names):
        return "a branch is named twice"
    gone = {one.ref for one in request.commands if one.new == NOTHING}
    if len((refs.keys() | set(names)) - gone) > num_refs:
        return f"a fork has at most {num_refs} branches and tags; delete some"
    return ""


def complain_ref(ref: str) -> str:
    """Why this is no plain name of a branch or a tag; nothing where it is one."""
    if not ref.startswith(("refs/heads/", "refs/tags/")):
        return "only branches and tags may be pushed"
    parts = ref.split("/")
    odd = any(part[:1] in ("", ".", "-") or part.endswith((".lock", ".")) or ".." in part for part in parts)
    if odd or not _PLAIN.fullmatch(ref):
        return "a branch is named by at most 200 letters, digits, dots, hyphens and slashes"
    return ""


def _read_packet(body: IO[bytes]) -> bytes:
    head = body.read(4)
    if head in (b"", b"0000"):
        return b""
    num = int(head, 16) if re.fullmatch(rb"[0-9a-fA-F]{4}", head) else 0
    line = body.read(num - 4) if 4 < num <= 65520 else b""
    if len(line) != num - 4:
        raise Refused(400, "this is no push", got=ascii(head))
    return line


def _packet(line: bytes) -> bytes:
    return b"%04x" % (len(line) + 4) + line
