"""Compiles the calls of the kernel that code behind Landlock may not make into a seccomp program.

Landlock guards opening files; what it does not guard and no namespace hides here is refused by number: sockets,
tracing, keys, namespaces, other processes' limits and priorities, and rights of files that belong to the caller.
"""

from __future__ import annotations

import errno
import tempfile
from functools import lru_cache

from evolvent.errors import MissingExtra

REFUSED = (  # noqa: SIM905 -- as a list it is a page long
    "acct add_key bpf chroot clock_adjtime clock_settime delete_module fanotify_init fanotify_mark "
    "finit_module fsconfig fsmount fsopen fspick get_mempolicy init_module inotify_add_watch inotify_init "
    "inotify_init1 io_uring_enter io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load "
    "keyctl landlock_add_rule landlock_create_ruleset landlock_restrict_self lookup_dcookie mbind memfd_secret "
    "modify_ldt migrate_pages mount mount_setattr move_mount move_pages mq_getsetattr mq_notify mq_open "
    "mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd name_to_handle_at nfsservctl "
    "open_by_handle_at open_tree perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal "
    "pivot_root process_madvise process_mrelease process_vm_readv process_vm_writev ptrace quotactl "
    "quotactl_fd reboot request_key seccomp semctl semget semop semtimedop set_mempolicy "
    "set_mempolicy_home_node setdomainname sethostname setns settimeofday shmat shmctl shmdt shmget swapoff "
    "swapon sync syncfs syslog umount umount2 unshare uselib userfaultfd ustat vhangup vmsplice "
).split()

ONLY_ITSELF = {  # which argument names the process; 0 is the caller
    "prlimit64": 0, "sched_setaffinity": 0, "sched_setattr": 0, "sched_setparam": 0, "sched_setscheduler": 0,
    "setpriority": 1, "ioprio_set": 1, "get_robust_list": 0, "sched_getaffinity": 0,
}  # fmt: skip

PRETENDED = (  # noqa: SIM905
    "chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown utime utimes utimensat futimesat setxattr "
    "lsetxattr fsetxattr removexattr lremovexattr fremovexattr "
).split()
"""They would reach files of the caller's that lie outside, as their owner; a program that copies a file goes on."""

LATER = {"fchmodat2": 452}  # by number, where the system's library is older than its kernel
FIRST_UNKNOWN, LAST_UNKNOWN = 457, 512  # younger than this list: nobody has looked at what they open

NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW* flag
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
AF_UNIX = 1


@lru_cache(maxsize=4)
def compiled(is_own_user: bool, version: int) -> bytes:
    """The program for code that is a user of its own, or the caller; and for the Landlock that the kernel has."""
    try:
        import pyseccomp as seccomp
    except ImportError as error:
        raise MissingExtra("the sandbox needs pyseccomp", cure='pip install "evolvent[worlds]"') from error
    except RuntimeError as error:  # the package is there, the system's library is not
        raise MissingExtra("the sandbox needs libseccomp", cure="apt-get install libseccomp2") from error

    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    for name in REFUSED:
        _add(rules, refuse, name)
    for name, place in ONLY_ITSELF.items():
        _add(rules, refuse, name, seccomp.Arg(place, seccomp.NE, 0))
    _add(rules, refuse, "socket")
    _add(rules, refuse, "socketpair", seccomp.Arg(0, seccomp.NE, AF_UNIX))
    for flag in (1 << bit for bit in range(32) if NEW_NAMESPACES >> bit & 1):
        _add(rules, refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    for name in ("clone3", "memfd_create"):  # flags that lie in memory, memory that no process has: both have stand-ins
        _add(rules, seccomp.ERRNO(errno.ENOSYS), name)
    for request in (TIOCSTI, TIOCLINUX):
        _add(rules, refuse, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    _add(rules, refuse, "prctl", seccomp.Arg(0, seccomp.EQ, 4))  # PR_SET_DUMPABLE would hide it from the watchdog
    for number in range(FIRST_UNKNOWN, LAST_UNKNOWN):
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), number)
    if not is_own_user:
        _guard_the_caller(seccomp, rules, version)
    return _exported(rules)


def _guard_the_caller(seccomp: object, rules: object, version: int) -> None:
    """What the kernel would allow because the code has the caller's own user id."""
    from pyseccomp import ERRNO

    for name in PRETENDED:
        _add(rules, ERRNO(0), name)
    if version < 3:
        _add(rules, ERRNO(errno.EPERM), "truncate")
    if version < 6:
        for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
            _add(rules, ERRNO(errno.EPERM), name)


def _add(rules: object, action: object, name: str, *conditions: object) -> None:
    """One rule, where this processor has such a call."""
    from pyseccomp import Arch, resolve_syscall

    number = resolve_syscall(Arch.NATIVE, name)
    if number < 0 and name not in LATER:
        return
    rules.add_rule(action, number if number >= 0 else LATER[name], *conditions)  # type: ignore[attr-defined]


def _exported(rules: object) -> bytes:
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)  # type: ignore[attr-defined]
        file.seek(0)
        return file.read()
