"""Starts a warm interpreter inside bubblewrap and asks it for boxes."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from evolvent.errors import InfrastructureError

START_S, STOP_S = 30.0, 5.0
INSIDE = ("wire", "confine", "python_inside", "folder", "follow", "box", "zygote")

# the inside gets its program as text: no file of the project is there to be seen
_BOOT = """
import base64, json, os, sys, types
with open(int(sys.argv[1]), encoding="utf-8") as file:
    told = json.load(file)
for name, text in told["modules"].items():
    module = types.ModuleType(name)
    module.__file__ = name
    sys.modules[name] = module
    exec(compile(text, name, "exec"), module.__dict__)
module.main(int(sys.argv[2]), base64.b64decode(told["filter"]), told["preload"])
"""


class Zygote:
    """One warm interpreter and its keeper; they end when this process does, however it ends."""

    def __init__(self, program: bytes, preload: Sequence[str], groups: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        caller = os.pidfd_open(os.getpid())
        try:
            self._keeper = subprocess.Popen(
                [_interpreter(), "-I", "-S", "-B", "-c", _source("keeper")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                pass_fds=(theirs.fileno(), caller),
                start_new_session=True,
            )
            told = {
                "command": _command(theirs.fileno()),
                "sources": [] if _is_of_the_system(sys.base_prefix) else [sys.base_prefix],
                "texts": _texts(program, preload),
                "passed": [theirs.fileno()],
                "caller": caller,
                "groups": list(groups),
            }
            assert self._keeper.stdin is not None
            with self._keeper.stdin as stdin, suppress(BrokenPipeError):
                stdin.write(json.dumps(told).encode())
        finally:
            theirs.close()
            os.close(caller)
        self._wait_until_ready()

    def ask(self, asked: dict[str, Any], groups: Sequence[int]) -> socket.socket:
        """Our end of a new box; OSError where nobody is there to make one."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [json.dumps(asked).encode()], [theirs.fileno(), *groups])
            except BaseException:
                ours.close()
                raise
        return ours

    def is_over(self) -> bool:
        """Whether it has ended, for whatever cause."""
        return self._keeper.poll() is not None

    def close(self) -> None:
        """End it, and wait for that."""
        with self._lock:
            self._control.close()
            with suppress(OSError):
                self._keeper.terminate()
            try:
                self._keeper.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.wait(STOP_S)

    def _wait_until_ready(self) -> None:
        self._control.settimeout(START_S)
        try:
            said = self._control.recv(16)
        except OSError:
            said = b""
        if said == b"ready":
            if self._keeper.stderr:
                self._keeper.stderr.close()
            return
        self.close()
        words = self._keeper.stderr.read().decode(errors="replace").strip() if self._keeper.stderr else ""
        raise InfrastructureError(
            "bubblewrap cannot start here", where="bubblewrap", got=words or "no answer", cure=_cure(words)
        )


def _command(control: int) -> list[str]:
    """What the keeper starts: bubblewrap, and in it the warm interpreter."""
    bwrap = shutil.which("bwrap")
    if not bwrap:
        raise InfrastructureError("bwrap is not installed", where="bubblewrap", cure="apt install bubblewrap")
    python = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    return [
        *(bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--uid", "1000", "--gid", "1000"),
        *("--cap-drop", "ALL", "--cap-add", "CAP_SYS_ADMIN", "--hostname", "sandbox", "--clearenv"),
        *_system_folders(),
        *_hidden_packages(),
        *("--proc", "/proc", "--dir", "/box", "--symlink", "box/tmp", "/tmp"),
        # where task folders of Harbor's format expect their own; they lead into the working folder and nowhere else
        *(
            word
            for name in ("app", "tests", "logs", "solution")
            for word in ("--symlink", f"box/work/{name}", f"/{name}")
        ),
        *_devices(),
        *("--ro-bind-data", "%passwd", "/etc/passwd", "--ro-bind-data", "%group", "/etc/group"),
        *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
        *("--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--remount-ro", "/"),
        *_environment(),
        *("--chdir", "/", python, "-s", "-S", "-P", "-B", "-c", _BOOT, "%boot", str(control)),
    ]


def _system_folders() -> list[str]:
    words = ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            words += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    if not _is_of_the_system(sys.base_prefix):
        words += ["--ro-bind", f"@{sys.base_prefix}", sys.base_prefix]
    return words


def _is_of_the_system(folder: str) -> bool:
    return Path("/usr") in (Path(folder), *Path(folder).parents)


def _hidden_packages() -> list[str]:
    """Empty folders over the packages of this interpreter: the project may be one of them."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    words = []
    packages = (f"lib/{version}/site-packages", f"lib/{version}/dist-packages", "lib/python3/dist-packages")
    for home in sorted({sys.base_prefix, "/usr", "/usr/local"}):
        for inner in (*packages, "envs", "pkgs"):  # the last two are those of conda
            path = Path(home, inner)
            if path.is_dir() and not path.is_symlink():
                words += ["--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path)]
    return words


def _devices() -> list[str]:
    words = ["--size", "65536", "--tmpfs", "/dev"]
    for name in ("null", "zero", "full", "random", "urandom"):
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        words += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    return [*words, "--symlink", "/box/shm", "/dev/shm", "--remount-ro", "/dev"]


def _environment() -> list[str]:
    values = {
        "PATH": f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/box/work",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",  # a session that is played again must say the same
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return [word for name, value in values.items() for word in ("--setenv", name, value)]


def _texts(program: bytes, preload: Sequence[str]) -> dict[str, str]:
    package = __package__ or ""
    modules = {f"{package}.{name}": _source(name) for name in INSIDE}
    boot = {"modules": modules, "filter": base64.b64encode(program).decode(), "preload": list(preload)}
    return {
        "boot": json.dumps(boot),
        "passwd": "user:x:1000:1000::/box/work:/bin/sh\n",
        "group": "user:x:1000:\n",
    }


def _source(name: str) -> str:
    found = importlib.util.find_spec(f"{__package__}.{name}")
    assert found is not None and found.origin is not None
    return Path(found.origin).read_text("utf-8")


def _interpreter() -> str:
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _cure(words: str) -> str:
    if "uid map" in words or "RTM_NEWADDR" in words or "namespace" in words or "unshare" in words:
        return (
            "let bwrap make user namespaces; on Ubuntu 24.04: "
            "printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile bwrap /usr/bin/bwrap "
            "flags=(unconfined) {\\n  userns,\\n}\\n' | sudo tee /etc/apparmor.d/bwrap "
            "&& sudo systemctl reload apparmor; elsewhere: sudo sysctl kernel.unprivileged_userns_clone=1; "
            "in a container: allow user namespaces (docker run --security-opt seccomp=unconfined)"
        )
    return "run `bwrap --unshare-all --ro-bind / / true` to see more"
