"""Builds the filter of system calls that code in a sandbox may not make, once, as a program for the kernel."""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from typing import Any

from evolvent.errors import MissingExtra

_NEW_NAMESPACES = [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)]  # CLONE_NEW{NS, CGROUP, UTS, IPC, USER, PID, NET}
_PUSH_INTO_TERMINAL, _TERMINAL_OF_LINUX = 0x5412, 0x541C  # TIOCSTI, TIOCLINUX

# what reaches the kernel's own state, other processes, memory that no limit counts, or the network
_REFUSED = (
    *("acct", "add_key", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init"),
    *("finit_module", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl"),
    *("kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie", "mbind", "memfd_secret", "migrate_pages"),
    *("mount", "mount_setattr", "move_mount", "move_pages", "fsconfig", "fsmount", "fsopen", "fspick", "open_tree"),
    *("mq_open", "msgget", "semget", "shmget", "shmat", "name_to_handle_at", "open_by_handle_at", "nfsservctl"),
    *("perf_event_open", "personality", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv"),
    *("process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname"),
    *("sethostname", "setns", "settimeofday", "stime", "swapoff", "swapon", "syslog", "umount", "umount2", "unshare"),
    *("uselib", "userfaultfd", "ustat", "vhangup", "vmsplice", "vserver", "modify_ldt", "socket", "socketcall"),
)
# programs that meet these as missing fall back to what is counted; clone3 hides its flags from a filter
_MISSING = ("clone3", "memfd_create")

# these change another process: which argument names it, where 0 is the caller
_ONLY_ITSELF = {
    **dict.fromkeys(("prlimit64", "sched_setscheduler", "sched_setparam", "sched_setattr", "sched_setaffinity"), 0),
    **dict.fromkeys(("setpriority", "ioprio_set"), 1),
}


@lru_cache(maxsize=1)
def build_filter() -> bytes:
    """The filter as a BPF program: everything but a list of calls is allowed, no process may undo it."""
    seccomp = _load()
    rules = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    for action, names in ((seccomp.ERRNO(errno.EPERM), _REFUSED), (seccomp.ERRNO(errno.ENOSYS), _MISSING)):
        for name in names:
            if _is_known(seccomp, name):
                rules.add_rule(action, name)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name, place in _ONLY_ITSELF.items():
        rules.add_rule(refuse, name, seccomp.Arg(place, seccomp.NE, 0))
    rules.add_rule(refuse, "setpriority", seccomp.Arg(0, seccomp.NE, 0))  # not a group, not all of a user
    for flag in _NEW_NAMESPACES:
        rules.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    for request in (_PUSH_INTO_TERMINAL, _TERMINAL_OF_LINUX):
        rules.add_rule(refuse, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    return _export(rules)


def _export(rules: Any) -> bytes:
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _is_known(seccomp: Any, name: str) -> bool:
    try:
        return bool(seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) >= 0)
    except OSError:
        return False


def _load() -> Any:
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtra(
            "the filter of system calls needs libseccomp",
            got=str(error),
            cure="apt install libseccomp2 && pip install pyseccomp",
        ) from error
    return pyseccomp
