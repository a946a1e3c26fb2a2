"""Says which paths, branches and commits may be taken from somebody whom nobody trusts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from evolvent.errors import BadInput

MAX_PART_BYTES, MAX_PATH_BYTES, MAX_DEPTH = 200, 800, 16
# what an artifact may never bring along, by the first part of the path
FORBIDDEN = ("eval", "prepare", "sealed", "holdout", "public", "program.md", "task.toml", "inputs", ".hive")
_AGENT = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){0,18}[a-z0-9]")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_GLOB = frozenset("*?[]")


def complain(path: str) -> str:
    """What is wrong with a relative path of an artifact, in words that follow its name; nothing where it is plain."""
    parts = path.split("/")
    if "\0" in path or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in path):
        return "has control or invisible characters in it"
    if "\\" in path or ":" in path:
        return "has a backslash or a colon in it"
    if path.startswith("/"):
        return "is absolute"
    if ".." in parts:
        return "leads out of its folder"
    if "" in parts or "." in parts:
        return "has an empty part"
    if unicodedata.normalize("NFKC", path) != path:
        return "is written with characters that look like others"
    if any(part != part.strip() or part.endswith(".") for part in parts):
        return "has a part that begins or ends with a blank, or ends with a dot"
    if len(path.encode()) > MAX_PATH_BYTES or max(len(part.encode()) for part in parts) > MAX_PART_BYTES:
        return "is too long"
    if len(parts) > MAX_DEPTH:
        return "is too deep"
    if any(part.lower().startswith(".git") or re.fullmatch(r"git~\d+", part.lower()) for part in parts):
        return "belongs to git"
    return ""


def check_mutable(paths: Iterable[str], where: str) -> tuple[str, ...]:
    """The paths that agents may change; BadInput where one is a trick, forbidden, or lies in another."""
    found = tuple(path.removesuffix("/") if isinstance(path, str) else path for path in paths)
    if not found:
        raise BadInput("a task without a mutable path cannot be improved", where=where, wanted='mutable = ["solve.py"]')
    for path in found:
        trouble = _complain_mutable(path)
        if trouble:
            raise BadInput(
                f"a mutable path {trouble}",
                where=where,
                got=ascii(path),
                wanted="a file or a folder of the artifact, such as solve.py or src",
                cure="name it plainly, one by one",
            )
    for path in found:
        if any(other != path and lies_in(path, [other]) for other in found) or found.count(path) > 1:
            raise BadInput("a mutable path is named twice", where=where, got=path, cure="keep the outer one")
    return found


def _complain_mutable(path: object) -> str:
    if not isinstance(path, str):
        return "is not a text"
    if _GLOB & set(path):
        return "is a pattern"
    trouble = complain(path)
    first = path.split("/")[0].lower()
    if not trouble and any(first == name or first.startswith(name + ".") for name in FORBIDDEN):
        return "is one that agents may never change"
    return trouble


def lies_in(path: str, roots: Iterable[str]) -> bool:
    """Whether a path is one of these or below one."""
    return any(path == root or path.startswith(root + "/") for root in roots)


def check_commit(commit: object) -> str:
    """The full name of a commit; BadInput where it is short, in capitals, or anything else that git might resolve."""
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or set(commit) == {"0"}:
        raise BadInput(
            "this is no name of a commit",
            where="commit",
            got=ascii(commit)[:80],
            wanted="40 hexadecimal digits in lower case",
            cure="git rev-parse HEAD",
        )
    return commit


def check_agent(agent: object) -> str:
    """An agent's name: 2 to 20 of a-z, 0-9 and single hyphens."""
    if not isinstance(agent, str) or not _AGENT.fullmatch(agent):
        raise BadInput(
            "this is no name of an agent",
            where="agent",
            got=ascii(agent)[:80],
            wanted="2 to 20 of a-z, 0-9 and single hyphens between them",
        )
    return agent


def check_branch(branch: object, agent: str) -> str:
    """A branch of this agent's own, `hive/<agent>/<rest>`; BadInput for another's, or a name that git would misread."""
    start = f"hive/{check_agent(agent)}/"
    if isinstance(branch, str) and branch.startswith(start) and re.fullmatch(r"[A-Za-z0-9._/+-]{1,200}", branch):
        parts = branch.split("/")
        if not any(part[:1] in ("", ".", "-") or part.endswith((".lock", ".")) or ".." in part for part in parts):
            return branch
    raise BadInput(
        "this branch is not yours to write",
        where="branch",
        got=ascii(branch)[:80],
        wanted=f"{start}NAME of plain letters, digits, dots, hyphens",
        cure=f"git push origin HEAD:{start}main",
    )
