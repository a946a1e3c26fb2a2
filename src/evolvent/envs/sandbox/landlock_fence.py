"""Turns a process into one that can touch its working folder and nothing else; imported by a fresh `python -I -S` only.

Landlock says which files, seccomp which calls of the kernel, rlimits how much; as root the process becomes, besides,
a user that nobody else is.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_SUBREAPER = 4, 8, 22, 24, 36
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, AMBIENT_RAISE, AMBIENT_CLEAR = 38, 47, 2, 4
CAP_DAC_READ_SEARCH, NUM_CAPS = 2, 64

EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
MAKE_DEVICES = 1 << 6 | 1 << 11
TRUNCATE, DEVICE_CONTROL = 1 << 14, 1 << 15
FILE_RIGHTS = EXECUTE | WRITE | READ | TRUNCATE | DEVICE_CONTROL
FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}  # rights that a kernel knows, by its ABI; later ones: 16
TCP, ABSTRACT_SOCKETS, SIGNALS = 1 | 2, 1, 2

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
FIRST_UID = 1 << 30  # above it no system hands out users

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Which Landlock the kernel has; 0 where none."""
    found = int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    return max(found, 0)


def become_subreaper() -> None:
    """Daemons that left their parents become children of this process."""
    _prctl(PR_SET_SUBREAPER, 1)


def scope_signals() -> None:
    """From here on this process and its children can signal nobody but each other (from ABI 6 on)."""
    if abi() >= 6:
        _restrict(_ruleset(0, 0, SIGNALS))


def own_user() -> int | None:
    """A user for one call, when there is root to become it; None where the caller's own must do."""
    return FIRST_UID + os.getpid() if os.geteuid() == 0 else None


def enter(folders: Sequence[str], limits: Mapping[str, float], user: int | None, program: bytes) -> None:
    """Give up everything but these folders, in an order in which each step is still allowed."""
    version = abi()
    rules = _ruleset(_known(version), TCP if version >= 4 else 0, (ABSTRACT_SOCKETS | SIGNALS) if version >= 6 else 0)
    _allow(rules, [*SYSTEM, sys.base_prefix, sys.base_exec_prefix], EXECUTE | READ | LIST, version)
    _allow(rules, DEVICES, READ | WRITE | TRUNCATE, version)
    _allow(rules, folders, _known(version) & ~MAKE_DEVICES & ~DEVICE_CONTROL, version)
    _limit(limits)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    if user is not None:
        _become(user)
    _restrict(rules)
    _filter(program)


def _become(user: int) -> None:
    """Another user, without any right of root's but, where the interpreter lies in a closed folder, to pass through it.

    What may be opened then is for Landlock to say.
    """
    keeps = 0 if _is_open(sys.base_prefix) else 1 << CAP_DAC_READ_SEARCH
    for cap in range(NUM_CAPS):
        if not keeps >> cap & 1 and _libc.prctl(PR_CAPBSET_DROP, cap, 0, 0, 0):
            break  # the kernel knows no more of them
    _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    header = struct.pack("Ii", 0x20080522, 0)
    sets = struct.pack("6I", keeps, keeps, keeps, 0, 0, 0)  # effective, permitted, inheritable; then the high halves
    _must(_libc.capset(header, sets), "capset")
    _prctl(PR_CAP_AMBIENT, AMBIENT_CLEAR)
    if keeps:
        _prctl(PR_CAP_AMBIENT, AMBIENT_RAISE, CAP_DAC_READ_SEARCH)


def _is_open(folder: str) -> bool:
    path = Path(folder)
    return all(p.stat().st_mode & 1 for p in (path, *path.parents))


def _limit(limits: Mapping[str, float]) -> None:
    """Soft and hard alike, so that nothing raises them again."""
    wanted = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: limits["num_open_files"],
        resource.RLIMIT_NPROC: limits["num_tasks"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if limits.get("cpu_s"):
        wanted[resource.RLIMIT_CPU] = math.ceil(limits["cpu_s"])
    for kind, most in wanted.items():
        hard = resource.getrlimit(kind)[1]
        bound = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
        above = (
            1 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
        )  # first SIGXCPU, then SIGKILL
        resource.setrlimit(kind, (bound, bound + above))


def _known(version: int) -> int:
    return (1 << FS_BITS.get(version, 16)) - 1


def _ruleset(files: int, ports: int, scopes: int) -> int:
    attributes = struct.pack("QQQ", files, ports, scopes)
    size = 8 if not ports and not scopes else 16 if not scopes else 24  # older kernels know a shorter struct
    return _must(_libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)), "landlock")


def _allow(rules: int, paths: Iterable[str], rights: int, version: int) -> None:
    for path in paths:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not every system has every folder
        mask = rights & _known(version)
        mask &= ~0 if Path(path).is_dir() else FILE_RIGHTS
        _must(_libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", mask, place), ctypes.c_uint32(0)), f"rule {path}")
        os.close(place)


def _restrict(rules: int) -> None:
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _must(_libc.syscall(RESTRICT_SELF, rules, ctypes.c_uint32(0)), "landlock")
    os.close(rules)


def _filter(program: bytes) -> None:
    """Hand the kernel a compiled seccomp program."""
    lines = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(lines))
    _must(_libc.prctl(PR_SET_SECCOMP, 2, header, 0, 0), "seccomp")


def _prctl(option: int, *values: int) -> None:
    padded: list[Any] = [ctypes.c_ulong(v) for v in (*values, 0, 0, 0, 0)[:4]]
    _must(_libc.prctl(option, *padded), f"prctl {option}")


def _must(outcome: int, what: str) -> int:
    if outcome < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return int(outcome)
