"""The calls that code in a container may not make, in the words of an engine: podman may come without any filter."""

from __future__ import annotations

import errno
import json
import os
from functools import lru_cache
from typing import Any

from evolvent.envs.sandbox.landlock_filter import NEW_NAMESPACES, REFUSED


def profile_path() -> str:
    """Where an engine reads the filter: memory of this process, which leaves no file behind."""
    return _written(os.getpid())


@lru_cache(maxsize=1)
def _written(pid: int) -> str:
    number = os.memfd_create("filter")
    os.write(number, json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": _rules()}).encode())
    return f"/proc/{pid}/fd/{number}"


def _rules() -> list[dict[str, Any]]:
    flags = [1 << bit for bit in range(32) if NEW_NAMESPACES >> bit & 1]
    args = [{"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"} for flag in flags]
    return [
        _refusal([*REFUSED, "socket"], errno.EPERM),
        _refusal(["clone3"], errno.ENOSYS),  # its flags lie in memory; the C library then takes clone
        *({**_refusal(["clone"], errno.EPERM), "args": [arg]} for arg in args),
    ]


def _refusal(names: list[str], number: int) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number}
