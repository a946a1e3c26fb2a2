"""Takes from a process, before it runs code that nobody trusts, all that such code must not have.

Runs inside the sandbox, from its source text: nothing but the standard library may be imported here.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
from typing import Any

NEW_BOX = 0x00020000 | 0x20000000 | 0x08000000 | 0x04000000  # CLONE_NEW{NS, PID, IPC, UTS}
_NEW_USER = 0x10000000
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DIE_WITH_PARENT, DUMPABLE, _NO_NEW_PRIVILEGES, _SECCOMP, _DROP_BOUND = 1, 4, 38, 22, 24

_libc = ctypes.CDLL(None, use_errno=True)


def confine(limits: dict[str, Any], program: bytes, is_once: bool) -> None:
    """Leave every privilege and take on the limits: from here on there is no way back."""
    unshare(_NEW_USER)  # so that processes are counted for this box alone
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", "1000 1000 1")
    _write("/proc/self/gid_map", "1000 1000 1")
    _write("/proc/self/oom_score_adj", "1000")
    _drop_capabilities()
    _limit(limits, is_once)
    _filter(program)


def unshare(flags: int) -> None:
    """Enter new namespaces."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system."""
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(done, f"mount {target}")


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def _drop_capabilities() -> None:
    bound = 0
    while _libc.prctl(_DROP_BOUND, bound, 0, 0, 0) == 0:
        bound += 1
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _limit(limits: dict[str, Any], is_once: bool) -> None:
    cpu_s = math.ceil(limits["cpu_s"])
    for kind, soft, hard in (
        # an interpreter that lasts starts each call anew: the box watches its clock instead
        *([(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)] if is_once else []),
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["num_open_files"], limits["num_open_files"]),
        (resource.RLIMIT_NPROC, limits["num_processes"], limits["num_processes"]),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        had = resource.getrlimit(kind)[1]
        most = hard if had == resource.RLIM_INFINITY else min(hard, had)
        resource.setrlimit(kind, (min(soft, most), most))


def _filter(program: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    prctl(_NO_NEW_PRIVILEGES, 1)
    filled = Program(len(program) // 8, program)
    _check(_libc.prctl(_SECCOMP, 2, ctypes.byref(filled), 0, 0), "seccomp")


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
