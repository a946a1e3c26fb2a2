"""The work tree of one agent on one task: commits of anybody are fetched into it, its own are pushed to its fork.

What others wrote stands in the tree, and what an agent's command wrote. So git's own folder lies beside it, where no
command reaches, links are not followed, and no hook, filter or configuration from the tree is ever used. The key of the
fork goes to git through its environment: it stands in no file and no list of processes.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.paths import check_commit

PATIENCE_S = 120.0
MAX_READ = 2**20  # bytes of one file of somebody's commit
MAX_AT_ONCE = 200  # commits in one fetch
EXCLUDED = ".hive/\n__pycache__/\n*.pyc\n"
BRANCH = "main"
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.symlinks": "false",  # a link of somebody's commit is checked out as a plain file
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "commit.gpgSign": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "http.followRedirects": "false",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "transfer.fsckObjects": "true",
}


@dataclass(frozen=True)
class Fork:
    """Where an agent pushes, and the key for that, which no repr shows."""

    url: str
    agent: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class WorkTree:
    """The folders of one agent: `tree`, in which it works, and `git`, which it cannot reach (both in one if plain)."""

    folder: Path
    fork: Fork
    is_plain: bool = False
    _here: set[str] = field(default_factory=set, init=False, repr=False, compare=False)  # commits that were seen here

    @property
    def tree(self) -> Path:
        """Where the files stand."""
        return self.folder if self.is_plain else self.folder / "tree"

    @property
    def git_dir(self) -> Path:
        """Where git keeps its own."""
        return self.folder / (".git" if self.is_plain else "git")

    def stand_on(self, commit: str, source: str = "") -> None:
        """Let the tree be exactly this commit, fetched from `source` where it is not here; `.hive` stays."""
        self.fetch(commit, source)
        self.git("checkout", "--quiet", "--force", "--detach", commit)
        self.git("clean", "--quiet", "-ffdx", "-e", "/.hive")

    def fetch(self, commit: str, source: str = "") -> None:
        """Have a commit here; InfrastructureError where it cannot be had."""
        if self.has(check_commit(commit)):
            return
        # a run is fetched by its name: branches move
        self.git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", source or self.fork.url, commit)

    def fetch_all(self, commits: Sequence[str], source: str) -> None:
        """Have those of these commits that can be had at once; others are fetched when they are asked for."""
        new = [one for one in commits if one not in self._here]
        if not new:
            return
        told = self.git("cat-file", "--batch-check", stdin="".join(f"{one}\n" for one in new).encode())
        absent = [one for one, line in zip(new, told.splitlines(), strict=True) if line.endswith(b" missing")]
        self._here.update(set(new) - set(absent))
        for start in range(0, len(absent), MAX_AT_ONCE):
            some = absent[start : start + MAX_AT_ONCE]
            words = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", source, *map(check_commit, some))
            if self._run(*words)[0] == 0:
                self._here.update(some)

    def has(self, commit: str) -> bool:
        """Whether a commit is here."""
        if commit not in self._here and self._run("cat-file", "-e", f"{commit}^{{commit}}")[0] == 0:
            self._here.add(commit)
        return commit in self._here

    def read(self, commit: str, path: str) -> bytes | None:
        """A file of a commit that is here; None where it is missing, no plain file or large."""
        status, told, _ = self._run("ls-tree", "--long", commit, "--", path)
        words = told.split(b"\t", 1)[0].split()
        if status != 0 or len(words) != 4 or words[0] not in (b"100644", b"100755") or int(words[3]) > MAX_READ:
            return None
        return self.git("cat-file", "blob", words[2].decode("ascii"))

    def read_all(self, commits: Sequence[str], path: str) -> list[bytes | None]:
        """The same file of many commits; None where it, or the commit, is not here, or it is large."""
        asked = "".join(f"{check_commit(commit)}:{path}\n" for commit in commits).encode()
        blobs = []
        for line in self.git("cat-file", "--batch-check", stdin=asked).splitlines():
            words = line.split()
            is_blob = len(words) == 3 and words[1] == b"blob" and int(words[2]) <= MAX_READ
            blobs.append(words[0] if is_blob else None)
        wanted = list(dict.fromkeys(blob for blob in blobs if blob is not None))
        bodies = self.git("cat-file", "--batch", stdin=b"".join(blob + b"\n" for blob in wanted))
        found = dict(_split_batch(bodies))
        return [found.get(blob) if blob is not None else None for blob in blobs]

    def commit(self, paths: tuple[str, ...], message: str) -> str | None:
        """What stands at these paths as a commit on top of where the tree stands; None where nothing has changed."""
        known = [path for path in paths if os.path.lexists(self.tree / path)]
        if known != list(paths):  # git adds nothing where one of the paths is neither here nor was
            gone = self.git("ls-files", "-z", "--", *paths).decode("utf-8", "surrogateescape").split("\0")
            known += [path for path in gone if path and not os.path.lexists(self.tree / path)]
        if known:
            self.git("add", "--all", "--", *known)
        if self._run("diff", "--cached", "--quiet", "--no-ext-diff")[0] == 0:
            return None
        words = message.replace("\0", "").strip() or "a try"
        self.git(
            "commit", "--quiet", "--no-verify", "--cleanup=verbatim", "--file=-", stdin=words.encode("utf-8", "replace")
        )
        return self.git("rev-parse", "HEAD").decode().strip()

    def push(self, commit: str) -> None:
        """Bring a commit to the fork; the branch only carries it, what was submitted is kept by its name."""
        self.git("push", "--quiet", "--force", self.fork.url, f"{commit}:refs/heads/{BRANCH}")

    def git(self, *words: str, stdin: bytes = b"") -> bytes:
        """The output of a command; InfrastructureError in git's words where it fails."""
        status, output, said = self._run(*words, stdin=stdin)
        if status != 0:
            got = said.decode("utf-8", "replace").strip()[-500:] or f"status {status}"
            raise InfrastructureError(f"git {words[0]} failed", where=str(self.folder), got=got)
        return output

    def _run(self, *words: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        # of a session of its own: Ctrl-C ends the agent between two steps, and no push half way
        check_git()
        process = subprocess.Popen(
            ["git", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.tree,
            env=self._environment(),
            start_new_session=True,
        )
        try:
            output, said = process.communicate(stdin, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            return 1, b"", f"it took longer than {PATIENCE_S:g} s".encode()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode, output, said

    def _environment(self) -> dict[str, str]:
        login = base64.b64encode(f"{self.fork.agent}:{self.fork.key}".encode()).decode("ascii")
        home = self.fork.url.rpartition("/")[0]  # a hub that is not open wants it for what is read, too
        settings = {**_SETTINGS, f"http.{home}/.extraHeader": f"Authorization: Basic {login}"}
        numbered = {f"GIT_CONFIG_KEY_{i}": key for i, key in enumerate(settings)}
        numbered |= {f"GIT_CONFIG_VALUE_{i}": value for i, value in enumerate(settings.values())}
        who = {"NAME": self.fork.agent, "EMAIL": f"{self.fork.agent}@localhost"}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.git_dir),
            "LC_ALL": "C",
            "GIT_DIR": str(self.git_dir),
            "GIT_WORK_TREE": str(self.tree),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()},
            **numbered,
        }


def _split_batch(bodies: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each object that git gives in one stream."""
    at = 0
    while at < len(bodies):
        end = bodies.index(b"\n", at)
        name, _, size = bodies[at:end].split(b" ")
        yield name, bodies[end + 1 : end + 1 + int(size)]
        at = end + 2 + int(size)


def check_git() -> None:
    """BadInput where this machine has no git: without it nobody can take part."""
    if shutil.which("git") is None:
        path = os.environ.get("PATH", "")
        raise BadInput("git is not installed", where="PATH", got=path, wanted="git", cure="apt install git")


def open_tree(folder: Path, fork: Fork) -> WorkTree:
    """The work tree in a folder, empty where it is new."""
    tree = WorkTree(folder.absolute(), fork)
    for path in (tree.folder, tree.tree):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (tree.git_dir / "HEAD").exists():
        tree.git("init", "--quiet", f"--initial-branch={BRANCH}")
        exclude = tree.git_dir / "info" / "exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_text(EXCLUDED, "utf-8")
    for lock in ("index.lock", "HEAD.lock"):  # of a git that was killed; the folder's own lock is held
        (tree.git_dir / lock).unlink(missing_ok=True)
    return tree


def clone_plainly(clone_url: str, folder: Path) -> None:
    """An ordinary clone with its key in its configuration, for a command that runs git by itself from now on."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fork = read_fork(clone_url)
    tree = WorkTree(folder, fork, is_plain=True)
    tree.git("init", "--quiet", f"--initial-branch={BRANCH}")
    config = folder / ".git" / "config"
    config.chmod(0o600)
    fetch = "+refs/heads/*:refs/remotes/origin/*"
    with config.open("a", encoding="utf-8") as file:  # not by git: a list of processes would show the key
        file.write(f'[remote "origin"]\n\turl = {clone_url}\n\tfetch = {fetch}\n')
        file.write(f'[branch "{BRANCH}"]\n\tremote = origin\n\tmerge = refs/heads/{BRANCH}\n')
    tree.git("fetch", "--quiet", "origin")
    tree.git("checkout", "--quiet", "-B", BRANCH, f"refs/remotes/origin/{BRANCH}")


def read_fork(clone_url: str) -> Fork:
    """The address of a fork and its key, out of the one address that a hub gives."""
    at = urlsplit(clone_url)
    home = at.netloc.rpartition("@")[2]
    url = urlunsplit((at.scheme, home, at.path, "", ""))
    return Fork(url, unquote(at.username or ""), unquote(at.password or ""))
