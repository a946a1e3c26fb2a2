import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.commits import take
from evolvent.hive.hub.receiving import receive
from evolvent.hive.hub.refs import list_objects, read_refs
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.repositories import GitLimits, Repositories, Spot, check_name, name_fork
from hive.forge import blob, commit_files, commit_tree, git, make_task, tree
from hive.hub.git_door import NOTHING, ask_to_move, make_commit, make_pack, make_tree, name_object


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return make_task(tmp_path_factory.mktemp("task"), more={'public/a "b" é.sh': "echo"})


@pytest.fixture
def home(tmp_path, task):
    made = Repositories(tmp_path / "git")
    made.publish(task)
    return made


def test_the_same_task_makes_the_same_commit_on_every_hub(tmp_path, task):
    one, other = (Repositories(tmp_path / name).publish(task) for name in "ab")
    assert one == other
    assert Repositories(tmp_path / "a").publish(task) == one


def test_a_published_task_is_what_is_public_and_a_list_of_what_git_is_to_leave_alone(home, task):
    path = home.path("task--labels")
    rows = [line.split(None, 3) for line in git(path, "-c", "core.quotePath=off", "ls-tree", "-r", "main").splitlines()]
    names = {name.strip('"').replace('\\"', '"'): mode for mode, _, _, name in rows}
    assert set(names) == {*task.below("public"), ".gitignore"}
    assert [name for name, mode in names.items() if mode == "100755"] == ['a "b" é.sh', "eval/eval.sh"]
    assert ".hive/" in git(path, "show", "main:.gitignore").splitlines()
    assert git(path, "fsck", "--strict") == ""
    assert "sealed" not in git(path, "log", "-p", "--format=")


def test_a_new_version_stands_on_the_one_before_and_an_old_one_is_found_again(home, task):
    old = home.publish(task)
    new = home.publish(replace(task, files={**task.files, "public/data.txt": b"more"}))
    path = home.path("task--labels")
    assert git(path, "rev-list", "main").split() == [new, old]
    assert git(path, "show", "main:data.txt") == "more"
    assert home.publish(task) == old
    assert git(path, "rev-parse", "main") == new
    assert home.fork("labels", "early") == new


def test_a_version_that_only_seals_other_seeds_is_a_version_too(home, task):
    old = home.publish(task)
    new = home.publish(replace(task, files={**task.files, "sealed/labels.json": b"{}"}))
    assert new != old
    assert len(set(git(home.path("task--labels"), "log", "--format=%T", "main").split())) == 1, "and looks the same"


def test_a_fork_is_an_own_copy_that_borrows_nothing_and_is_made_once(home, task):
    base = home.publish(task)
    assert home.fork("labels", "amy") == base
    path = home.path(name_fork("labels", "amy"))
    own = {file.stat().st_ino for file in path.rglob("*")}
    assert not own & {file.stat().st_ino for file in home.path("task--labels").rglob("*")}
    assert take(path, base, task.mutable, task.budget).files == {"solve.py": task.baseline["solve.py"]}
    mine = commit_files(path, {"solve.py": "print(1)"})
    (path / "refs/heads").mkdir(exist_ok=True)
    (path / "refs/heads/main").write_text(mine + "\n")
    assert home.fork("labels", "amy") == base
    assert read_refs(path) == {"refs/heads/main": mine}


def test_many_at_once_make_one_fork(home):
    made = []
    threads = [threading.Thread(target=lambda: made.append(home.fork("labels", "amy"))) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(made) == 8
    assert len(set(made)) == 1
    assert sorted(path.name for path in home.home.glob("[!.]*")) == ["fork--labels--amy.git", "task--labels.git"]


FORK_WITHOUT_END = """
import sys
from evolvent.hive.hub.repositories import Repositories
home = Repositories(sys.argv[1])
for i in range(10**6):
    home.fork("labels", f"agent-{i}")
"""


def test_a_fork_is_whole_or_not_there_whatever_kills_the_hub(home, task):
    child = subprocess.Popen([sys.executable, "-c", FORK_WITHOUT_END, str(home.home)])
    while not (home.home / "fork--labels--agent-5.git").exists():
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    half = home.home / f".fork--labels--amy.git.{child.pid}-00000000-abcdef.tmp"
    (half / "objects").mkdir(parents=True)
    again = Repositories(home.home)
    forks = sorted(home.home.glob("fork--*"), key=lambda path: path.stat().st_mtime)
    assert {again.fork("labels", path.stem.split("--")[2]) for path in forks} == {home.publish(task)}
    assert git(forks[-1], "fsck", "--strict") == ""
    assert {path.name for path in home.home.glob(".*")} == {".empty", ".locks"}, "what was begun is cleared away"


def test_a_fork_of_no_task_and_a_path_of_no_repository_are_missing(home):
    for ask in (lambda: home.fork("other", "amy"), lambda: home.path("fork--labels--nobody")):
        with pytest.raises(Refused) as caught:
            ask()
        assert caught.value.status == 404


@given(
    st.one_of(st.text(max_size=30), st.from_regex(r"(task|fork)--[a-z.\-/]{0,12}(--[a-z./-]{0,12})?", fullmatch=True))
)
def test_no_name_leads_out_of_the_folder(name):
    try:
        check_name(name)
    except BadInput:
        return
    path = Path("/home/git") / f"{name}.git"
    assert path == Path(os.path.normpath(path))
    assert path.parent == Path("/home/git")
    assert name.split("--")[0] in ("task", "fork")


@pytest.mark.parametrize(
    "name", ["", "task", "task--", "task--a/b", "task--..", "fork--labels", "fork--a--b--c", "x--ab"]
)
def test_what_is_no_name_of_a_repository_is_refused(home, name):
    with pytest.raises(BadInput):
        home.path(name)


def test_a_link_in_the_folder_is_no_repository(home):
    (home.home / "task--linked.git").symlink_to(home.path("task--labels"))
    with pytest.raises(Refused):
        home.path("task--linked")


def test_a_commit_is_known_where_it_lies_and_nowhere_else(home, task):
    base = home.publish(task)
    home.fork("labels", "amy"), home.fork("labels", "bob")
    path = home.path("fork--labels--amy")
    mine = commit_files(path, {"solve.py": "print(1)"})
    assert home.knows("labels", "amy", mine)
    assert not home.knows("labels", "bob", mine)
    assert all(home.knows("labels", who, base) for who in ("amy", "bob", None))
    assert not home.knows("labels", "amy", blob(path, "no commit"))
    for name in ("main", "HEAD", mine[:12], mine.upper(), "0" * 40, f"{mine}^"):
        with pytest.raises(BadInput):
            home.knows("labels", "amy", name)


def test_a_commit_is_pinned_where_it_is_and_only_there(home):
    home.fork("labels", "amy")
    path = home.path("fork--labels--amy")
    mine = commit_files(path, {"solve.py": "print(1)"})
    home.pin("labels", "amy", mine)
    home.pin("labels", "amy", mine)
    assert git(path, "for-each-ref", "--format=%(refname)", "refs/runs") == f"refs/runs/{mine}"
    with pytest.raises(Refused):
        home.pin("labels", "amy", "12" * 20)


def test_the_commits_of_a_push_are_told_newest_first_and_not_without_end(tmp_path, task):
    home = Repositories(tmp_path / "git", limits=GitLimits(num_commits=3))
    base = home.publish(task)
    home.fork("labels", "amy")
    path, row = home.path("fork--labels--amy"), [base]
    for i in range(5):
        row.append(commit_files(path, {"solve.py": f"{i}"}, parents=[row[-1]]))
    assert home.new_commits("fork--labels--amy", [row[2]], [base]) == [row[2], row[1]]
    assert home.new_commits("fork--labels--amy", [row[5]], [base]) == [row[5], row[4], row[3]]
    assert home.new_commits("fork--labels--amy", [base], [row[5]]) == []
    assert home.new_commits("fork--labels--amy", [blob(path, "a tag may name anything")], [base]) == []


def test_a_diff_shows_what_changed_at_the_mutable_paths_across_forks(home, task):
    home.fork("labels", "amy"), home.fork("labels", "bob")
    one = commit_files(home.path("fork--labels--amy"), {"solve.py": "a\nb\n", "data.txt": "x"})
    two = commit_files(home.path("fork--labels--bob"), {"solve.py": "a\nc\n", "lib/x.py": "new\n", "data.txt": "y"})
    text = home.diff(task, Spot(name_fork("labels", "bob"), two), Spot(name_fork("labels", "amy"), one))
    assert "data.txt" not in text
    assert [line for line in text.splitlines() if line[:1] in "+-"] == [
        "--- /dev/null",
        "+++ b/lib/x.py",
        "+new",
        "--- a/solve.py",
        "+++ b/solve.py",
        "-b",
        "+c",
    ]
    same = Spot(name_fork("labels", "amy"), one)
    assert home.diff(task, same, same) == ""


def test_a_diff_is_bounded_and_says_what_it_cannot_show(tmp_path, task):
    home = Repositories(tmp_path / "git", limits=GitLimits(diff_bytes=500))
    base = Spot("task--labels", home.publish(task))
    home.fork("labels", "amy")
    path = home.path("fork--labels--amy")
    long = commit_files(path, {"solve.py": "x\n" * 5000})
    text = home.diff(task, Spot("fork--labels--amy", long), base)
    assert len(text) < 600
    assert text.endswith("... cut here\n")
    binary = commit_files(path, {"solve.py": os.urandom(100) + b"\0"})
    assert "Binary files" in home.diff(task, Spot("fork--labels--amy", binary), base)
    link = commit_tree(path, tree(path, [("120000", "solve.py", blob(path, "/etc/passwd"))]))
    assert home.diff(task, Spot("fork--labels--amy", link), base).endswith("is a link\n")
    with pytest.raises(BadInput):
        home.diff(task, Spot("fork--labels--amy", "12" * 20), base)


def test_a_diff_asks_no_attribute_no_driver_and_no_filter(home, task, tmp_path):
    """Nothing that an agent pushes, or has in its own configuration, is run or read when two commits are compared."""
    home.fork("labels", "amy")
    path = home.path("fork--labels--amy")
    mark = tmp_path / "ran"
    (path / "config").write_text(
        f'[core]\n\tbare = true\n[diff]\n\texternal = touch {mark}\n[diff "x"]\n\ttextconv = touch {mark}\n'
        f"\tcommand = touch {mark}\n[core]\n\tfsmonitor = touch {mark}\n\tpager = touch {mark}\n"
    )
    (path / "info").mkdir(exist_ok=True)
    (path / "info/attributes").write_text("* diff=x filter=x\n")
    mine = commit_files(path, {"solve.py": "print(1)\n", ".gitattributes": "* diff=x\n", "lib/a.py": "x\n"})
    text = home.diff(task, Spot("fork--labels--amy", mine), Spot("task--labels", home.publish(task)))
    assert "+print(1)" in text
    assert not mark.exists()


def test_a_push_that_grows_beyond_its_fork_when_git_unpacks_it_is_taken_back(tmp_path, task):
    """90 commits are 11 kB on the way, and 90 files on the disk."""
    home = Repositories(tmp_path / "git", limits=GitLimits(fork_bytes=200_000))
    base = home.publish(task)
    home.fork("labels", "amy")
    path, empty = home.path("fork--labels--amy"), make_tree()
    before, kept, objects, parent = read_refs(path), list_objects(path), [("tree", empty)], base
    for _ in range(90):
        objects.append(("commit", make_commit(name_object("tree", empty), parent)))
        parent = name_object(*objects[-1])
    moves = [(NOTHING, parent, "refs/heads/many"), (base, parent, "refs/heads/main"), (NOTHING, parent, "refs/tags/t")]
    body = ask_to_move(moves) + make_pack(objects)
    assert len(body) < 20_000
    with (tmp_path / "body").open("w+b") as file:
        file.write(body)
        file.seek(0)
        received = receive(home, "fork--labels--amy", file, len(body))
    assert received.answer.count(b"the fork is full") == 3
    assert (received.heads, received.commits) == ({}, ())
    assert (read_refs(path), list_objects(path)) == (before, kept)
    assert not home.knows("labels", "amy", parent)
    assert git(path, "fsck", "--strict") == ""


def test_whoever_writes_is_alone_until_the_last_of_its_children_is_done(home):
    with home.alone("task--labels") as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock])
    try:
        with pytest.raises(InfrastructureError, match="busy"), home.alone("task--labels", wait_s=0.05):
            raise AssertionError("the child of one that died still writes")
    finally:
        child.kill()
        child.wait()
    with home.alone("task--labels", wait_s=5):
        pass


def test_a_machine_without_git_is_told_the_cure(tmp_path):
    with pytest.raises(InfrastructureError, match="apt install git"):
        Repositories(tmp_path / "git", search=str(tmp_path))


def test_nothing_that_the_hubs_own_user_configured_reaches_its_git(tmp_path, task, monkeypatch):
    """Hooks, templates and settings of the one who started the hub are not those of the repositories."""
    mark = tmp_path / "ran"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-receive", "update", "post-receive", "reference-transaction", "post-update"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.hooksPath={hooks}'")
    home = Repositories(tmp_path / "git")
    base = home.publish(task)
    home.fork("labels", "amy")
    path = home.path("fork--labels--amy")
    (path / "config").write_text(f"[core]\n\tbare = true\n\thooksPath = {hooks}\n")
    commit = make_commit(name_object("tree", make_tree()), base)
    body = ask_to_move([(base, name_object("commit", commit), "refs/heads/main")])
    body += make_pack([("tree", make_tree()), ("commit", commit)])
    with (tmp_path / "body").open("w+b") as file:
        file.write(body)
        file.seek(0)
        assert b"ok refs/heads/main" in receive(home, "fork--labels--amy", file, len(body)).answer
    assert not mark.exists()
