# ruff: noqa: PTH100, PTH112, PTH113, PTH114, PTH116, PTH118, PTH120, PTH123, PTH202 - pathlib is slow to import
"""Checks the facts of facts.json in the current folder and writes how many hold; runs where the tests run.

It reads files and runs nothing that it finds; nothing but the standard library may be imported here.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

TYPE_CHECKING = False  # typing is slow to import, too
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 1 << 26


def main() -> None:
    """Every fact is a test; the reward is 1 where all hold."""
    facts = json.loads(_bytes(os.path.join(os.path.dirname(os.path.abspath(__file__)), "facts.json")))
    passed = 0
    for fact in facts:
        try:
            why = CHECKS[fact["kind"]](fact)
        except Exception as error:  # whatever lies at a path, the other facts are still looked at
            why = type(error).__name__
        passed += not why
        if why:
            print(f"failed: {fact['kind']} {fact['path']}: {why} ({fact['says'].splitlines()[0][:120]})")
    print(f"{passed} of {len(facts)} hold")
    told = {"reward": float(passed == len(facts)), "passed": passed, "num_tests": len(facts)}
    with open(os.path.join(sys.argv[1], "reward.json"), "w", encoding="utf-8") as file:
        json.dump(told, file)


def _bytes(path: str) -> bytes:
    if not os.path.isfile(path) or os.path.getsize(path) > MAX_BYTES:
        raise FileNotFoundError(path)
    with open(path, "rb") as file:
        return file.read()


def _lines(path: str) -> list[str]:
    return [line.rstrip() for line in _bytes(path).decode("utf-8").rstrip().split("\n")]


def _text(fact: dict[str, Any]) -> str:
    wanted = [line.rstrip() for line in fact["want"].rstrip().split("\n")]
    return "" if _lines(fact["path"]) == wanted else "other text"


def _any_order(fact: dict[str, Any]) -> str:
    return "" if sorted(_lines(fact["path"])) == sorted(fact["want"]) else "other lines"


def _same_bytes(fact: dict[str, Any]) -> str:
    found = hashlib.sha256(_bytes(fact["path"])).hexdigest()
    return "" if found == fact["sha256"] else "other bytes"


def _absent(fact: dict[str, Any]) -> str:
    return "it is there" if os.path.lexists(fact["path"]) else ""


def _folder(fact: dict[str, Any]) -> str:
    return "" if os.path.isdir(fact["path"]) and not os.path.islink(fact["path"]) else "no folder"


def _executable(fact: dict[str, Any]) -> str:
    may = bool(os.stat(fact["path"]).st_mode & 0o100)
    return "" if may == fact["want"] else f"executable: {may}"


def _archive(fact: dict[str, Any]) -> str:
    import tarfile

    with tarfile.open(fact["path"], "r:gz") as tar:
        found = {}
        for member in tar:
            if member.isfile() and member.size < MAX_BYTES:
                content = tar.extractfile(member)
                data = content.read() if content else b""
                found[os.path.normpath(member.name)] = hashlib.sha256(data).hexdigest()
            elif not member.isdir():
                return f"{member.name} is no file"
    return "" if found == fact["members"] else f"holds {', '.join(sorted(found))[:80]}"


CHECKS = {
    "text": _text, "lines": _any_order, "bytes": _same_bytes, "absent": _absent, "folder": _folder,
    "executable": _executable, "archive": _archive,
}  # fmt: skip

if __name__ == "__main__":
    main()
