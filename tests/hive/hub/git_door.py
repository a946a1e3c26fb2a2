"""A real server of repositories on a free port, real clients, and pushes written by hand, tricks included."""

import hashlib
import http.client
import os
import socket
import struct
import subprocess
import threading
import time
import zlib
from base64 import b64encode

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from evolvent.hive.hub.repositories import GitLimits, Repositories, name_fork
from evolvent.hive.hub.smart_http import GitDoor, Verdict
from hive.forge import make_task

KINDS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
NOTHING = "0" * 40
ABLE = b"report-status side-band-64k agent=git/2"
LIMITS = GitLimits(push_bytes=2**20, fork_bytes=3 * 2**19, num_refs=6, seconds=10, memory_mb=512)
CLEAN = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "LC_ALL": "C",
    **{f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Hall:
    """A hub's repositories behind their door, with one task and as many agents as are asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.repositories = Repositories(folder / "git", limits=LIMITS)
        self.task = make_task(folder / "task")
        self.base = self.repositories.publish(self.task)
        self.told, self._num = [], 0
        app = Starlette(routes=[Mount("/git", GitDoor(self.repositories, self.authorize, self.pushed))])
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        self.port = taken.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([taken],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def close(self):
        self._server.should_exit = True
        self._thread.join(10)

    def authorize(self, name, user, password, wants_write):
        if user is None:
            return Verdict(401, words="a key is wanted") if wants_write else Verdict()
        if user == "hasty":
            return Verdict(429, words="too many pushes", retry_after_s=7)
        return Verdict(agent=user) if password == f"key-of-{user}" else Verdict(401, words="this key opens nothing")

    def pushed(self, *told):
        self.told.append(told)

    def join(self, agent=None):
        """A new agent with a fork and a clone of it."""
        self._num += 1
        return Guest(self, agent or f"guest-{self._num}")


class Guest:
    """An agent with a work tree, as it would have on any machine."""

    def __init__(self, hall, name):
        self.hall, self.name, self.fork = hall, name, name_fork("labels", name)
        hall.repositories.fork("labels", name)
        self.path = hall.repositories.path(self.fork)
        self.tree = hall.folder / "trees" / name
        self.url = self.url_of(self.fork)
        self.git("clone", "-q", self.url, str(self.tree), at=hall.folder)

    def url_of(self, fork, password=None):
        key = password or f"key-of-{self.name}"
        return f"http://{self.name}:{key}@127.0.0.1:{self.hall.port}/git/{fork}.git"

    def try_git(self, *words, at=None):
        done = subprocess.run(
            ["git", *words],
            cwd=at or self.tree,
            env=CLEAN | {"HOME": str(self.hall.folder)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")

    def git(self, *words, at=None):
        status, said = self.try_git(*words, at=at)
        assert status == 0, said
        return said.strip()

    def commit(self, text, path="solve.py"):
        (self.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (self.tree / path).write_bytes(text if isinstance(text, bytes) else text.encode())
        self.git("add", "-f", path)
        self.git("commit", "-q", "-m", "try")
        return self.git("rev-parse", "HEAD")

    def push(self, *words):
        return self.try_git("push", self.url, *words)

    def refs(self):
        said = self.git("ls-remote", self.url)
        return {line.split()[1]: line.split()[0] for line in said.splitlines() if not line.endswith("HEAD")}

    def is_sound(self):
        status, said = self.try_git("fsck", "--strict", at=self.path)
        left = [path.name for path in (self.path / "objects").glob("tmp_*")]
        return (status, left) == (0, []) or (said, left)

    def post(self, body, *, service="git-receive-pack", headers=None, method="POST", path=None):
        """A request by hand: status and body."""
        key = b64encode(f"{self.name}:key-of-{self.name}".encode()).decode()
        told = {"Authorization": f"Basic {key}", "Content-Type": f"application/x-{service}-request", **(headers or {})}
        line = http.client.HTTPConnection("127.0.0.1", self.hall.port, timeout=30)
        try:
            line.request(method, path or f"/git/{self.fork}/{service}", body, told)
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def push_by_hand(self, moves, data=b"", able=ABLE):
        """A push of (old, new, ref) with a pack."""
        return self.post(ask_to_move(moves, able) + data)


def ask_to_move(moves, able=ABLE):
    lines = [b" ".join(part if isinstance(part, bytes) else part.encode() for part in move) for move in moves]
    lines[0] += b"\0" + able
    return b"".join(packet(line) for line in lines) + b"0000"


def packet(line):
    return b"%04x" % (len(line) + 4) + line


def name_object(kind, data):
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest()


def make_pack(objects, num=None):
    """Objects as (kind, data), or as (base, delta) for one that is made from another."""
    body = b"PACK" + struct.pack(">II", 2, len(objects) if num is None else num)
    for kind, data in objects:
        is_delta = kind not in KINDS
        body += _head(7 if is_delta else KINDS[kind], len(data))
        body += (bytes.fromhex(kind) if is_delta else b"") + zlib.compress(data, 9)
    return body + hashlib.sha1(body).digest()


def make_commit(tree, parent=None):
    lines = [
        f"tree {tree}",
        *([f"parent {parent}"] if parent else []),
        "author a <a@b> 1 +0000",
        "committer a <a@b> 1 +0000",
    ]
    return ("\n".join(lines) + "\n\nby hand\n").encode()


def make_tree(*entries):
    return b"".join(mode.encode() + b" " + name.encode() + b"\0" + bytes.fromhex(sha) for mode, name, sha in entries)


def zeros_bomb(parent, size=2**26):
    """A commit of a file of zeros, a thousandth of its size."""
    blob = bytes(size)
    tree = make_tree(("100644", "solve.py", name_object("blob", blob)))
    commit = make_commit(name_object("tree", tree), parent)
    return name_object("commit", commit), make_pack([("blob", blob), ("tree", tree), ("commit", commit)])


def deltas_bomb(parent):
    """A commit beside a chain of files of which each is the one before, 200 times over: 8 GB at its end."""
    one = bytes(1000)
    sizes = (1000, 200_000, 40_000_000)
    deltas = [(name_object("blob", bytes(size)), _repeat(size, 200)) for size in sizes]
    tree = make_tree(("100644", "solve.py", name_object("blob", one)))
    commit = make_commit(name_object("tree", tree), parent)
    return name_object("commit", commit), make_pack([("blob", one), *deltas, ("tree", tree), ("commit", commit)])


def _repeat(base_size, times):
    """A delta that copies its base so many times, in steps as large as one copy may be."""
    step = min(base_size, 10_000_000)
    copies = (b"\xff" + at.to_bytes(4, "little") + step.to_bytes(3, "little") for at in range(0, base_size, step))
    return _number(base_size) + _number(base_size * times) + b"".join(copies) * times


def _head(kind, size):
    byte, size = (kind << 4) | (size & 15), size >> 4
    head = b""
    while size:
        head += bytes([byte | 0x80])
        byte, size = size & 127, size >> 7
    return head + bytes([byte])


def _number(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 0x80])
        value >>= 7
    return out + bytes([value])
