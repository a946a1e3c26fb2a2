"""Attacks on a score that need no server: whatever is pushed, an official number is earned or is not there."""

import os
import socket
import subprocess
import time
import zlib

import pytest

from evolvent.envs.sandbox import best, probe_all
from evolvent.errors import BadInput
from evolvent.hive.board import read_claim
from evolvent.hive.commits import take
from evolvent.hive.paths import check_branch
from evolvent.hive.sealed import Bench, Outcome
from evolvent.hive.task import Budget
from evolvent.hive.task_folder import Shelf
from hive.forge import (
    HONEST,
    HONEST_VALUE,
    MARK,
    SCORE,
    TASK,
    blob,
    commit_files,
    commit_tree,
    git,
    make_repository,
    store,
    tree,
)  # fmt: skip
from hive.forgeries import ENDLESS, HONEST_AT_BEST, INVALID, WINS

BUDGET = Budget(evaluations=1, seconds=1.0, artifact_bytes=200_000, num_files=20)


def test_the_answers_that_the_forgers_are_after_would_score_one(stand):
    assert stand.run(WINS).value == 1.0, "the attacks below prove nothing if their prize is none"


@pytest.mark.parametrize("name", INVALID)
def test_nothing_official_comes_of_it_when(stand, name):
    solve, why = INVALID[name]
    result = stand.hurry(solve) if name in ENDLESS else stand.run(solve)
    assert result.outcome is Outcome.INVALID, f"{name}: {result.value}"
    assert result.value is None and result.values == ()
    assert any(part in result.why for part in why.split("|")), result.why


@pytest.mark.parametrize("name", HONEST_AT_BEST)
def test_an_honest_number_and_no_more_comes_of_it_when(stand, name):
    result = stand.run(HONEST_AT_BEST[name])
    assert result.value == HONEST_VALUE, f"{name}: {result.value} {result.why} {result.seeds}"
    log = result.seeds[0].log
    assert "found" not in log or "found []" in log, log


@pytest.mark.slow
def test_the_suite_holds_in_every_sandbox_that_runs_commands(stand):
    for tier in ("bubblewrap", "landlock"):
        if probe_all()[tier]:
            continue
        bench = Bench(stand.shelf, best(tier))
        for name, (solve, _) in INVALID.items():
            digest = stand.hurried if name in ENDLESS else stand.digest
            assert bench.measure_files(digest, {"solve.py": solve.encode()}).value is None, (tier, name)
        for name, solve in HONEST_AT_BEST.items():
            value = bench.measure_files(stand.digest, {"solve.py": solve.encode()}).value
            assert value in (None, HONEST_VALUE), (tier, name)


def test_the_spy_finds_a_mark_that_lies_in_the_open(stand):
    spied = HONEST_AT_BEST["it reads the whole file system"]
    result = stand.run(spied, files={"lib/open.txt": MARK})
    assert result.value == 1.0, f"the attack that reads everything reads nothing: {result.seeds}"


def test_an_edited_evaluation_counts_for_nothing(stand):
    wins = SCORE.replace("return [float", "return [1.0] or [float")
    edited = {
        "sealed/score.py": wins, "score.py": wins, "eval/eval.sh": "echo accuracy: 1.0", "prepare.sh": "exit 1",
        "public/solve.py": WINS, "task.toml": TASK.replace("[0.0, 1.0]", "[0.0, 9.0]"), "data.txt": "changed",
        "sealed/labels.json": '{"labels": [1,1,1,1,1,1,1,1,1,1]}', "program.md": "new rules",
        "json.py": "raise SystemExit", "sitecustomize.py": "raise SystemExit",
    }  # fmt: skip
    result = stand.run(HONEST, files=edited)
    assert (result.value, result.task_digest) == (HONEST_VALUE, stand.digest)
    assert result.tree_digest == stand.run(HONEST).tree_digest, "what was taken is the artifact alone"


def test_modules_that_shadow_the_library_reach_the_artifact_at_most(stand):
    shadow = {f"lib/{name}.py": "raise SystemExit(0)" for name in ("json", "statistics", "scoring", "sitecustomize")}
    assert stand.run("import sys\nsys.path.append('lib')\n" + HONEST, files=shadow).value == HONEST_VALUE
    assert stand.run("import sys\nsys.path.insert(0, 'lib')\n" + HONEST, files=shadow).value is None


def test_writing_where_the_scorer_works_changes_nothing(stand):
    places = [str(stand.shelf.folder(stand.digest) / "sealed" / "score.py"), "/tmp/evolvent-scorer-x/score.py"]
    tries = f"""
import os, glob
for place in {places} + glob.glob('/tmp/evolvent-*/*'):
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        open(place, 'w').write('def pose(s, d): return {{}}\\ndef score(s, d, p): return 1.0')
    except OSError:
        pass
"""
    assert stand.run(tries + HONEST).value == HONEST_VALUE
    assert stand.shelf.take(stand.digest).digest == stand.digest
    assert not os.path.exists(places[1])  # noqa: PTH110
    assert stand.run(HONEST).value == HONEST_VALUE


def test_a_server_on_this_machine_hears_nothing_from_an_artifact(stand):
    with socket.create_server(("127.0.0.1", 0)) as hub:
        hub.settimeout(0.01)
        port = hub.getsockname()[1]
        call = f"import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 1).send(b'accuracy: 1.0')\n"
        assert stand.run(call + "except OSError: pass\n" + HONEST).value == HONEST_VALUE
        with pytest.raises(TimeoutError):
            hub.accept()


def test_a_changed_scorer_on_the_shelf_is_found_before_it_scores(fresh):
    commit = commit_files(fresh.repository, {"solve.py": HONEST})
    scorer = fresh.shelf.folder(fresh.digest) / "sealed" / "score.py"
    scorer.write_text(SCORE.replace("return [float", "return [1.0] or [float"))
    with pytest.raises(BadInput, match="a kept task was changed"):
        fresh.measure(commit)


@pytest.mark.parametrize("place", ["/usr/share/hive", "/usr"])
def test_sealed_tasks_are_not_kept_where_the_sandbox_can_read(place):
    with pytest.raises(BadInput, match="where code in the sandbox may read"):
        Shelf(place)


# what a repository may try


def refused(stand, commit):
    result = stand.measure(commit)
    assert result.outcome is Outcome.INVALID and result.value is None and result.seeds == ()
    return result.why


@pytest.mark.parametrize(
    ("mode", "why"), [("120000", "is a link"), ("160000", "submodule"), ("100000", "not a plain"), ("40755", "plain")]
)
def test_what_is_no_plain_file_is_not_taken(stand, mode, why):
    repository = stand.repository
    target = str(stand.shelf.folder(stand.digest) / "sealed" / "labels.json")
    assert why in refused(
        stand, commit_tree(repository, tree(repository, [(mode, "solve.py", blob(repository, target))]))
    )


def test_a_folder_on_the_way_that_is_a_link_is_not_followed(stand):
    repository = stand.repository
    link = blob(repository, "/etc")
    assert "is a link" in refused(stand, commit_tree(repository, tree(repository, [("120000", "lib", link)])))


NAMES = [
    "..", ".", ".git", ".GIT", ".gitmodules", ".gitattributes", "git~1", ".g\u200cit", "a\\b", "c:x", "a\nb", "a\x01b",
    "\u202egpj.py", "\uff0e\uff0e", "x ", "x.", "a\u0301.py", "n" * 300, b"\xff\xfe", "a/b", "../x", "/etc", "",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_is_a_trick_is_not_taken(stand, name):
    repository = stand.repository
    inner = tree(repository, [("100644", name, blob(repository, "x"))])
    root = tree(repository, [("40000", "lib", inner), ("100644", "solve.py", blob(repository, HONEST))])
    assert "path" in (why := refused(stand, commit_tree(repository, root))) or "slash" in why


def test_a_name_that_holds_a_path_is_no_way_into_a_mutable_folder(stand):
    repository = stand.repository
    for name in ("lib/x.py", "lib/../eval/eval.sh", "./solve.py"):
        root = tree(repository, [("100644", name, blob(repository, HONEST))])
        assert "slash" in refused(stand, commit_tree(repository, root))


def test_a_name_that_is_there_twice_is_not_taken(stand):
    repository = stand.repository
    good, bad = blob(repository, HONEST), blob(repository, WINS)
    twice = tree(repository, [("100644", "solve.py", good), ("100644", "solve.py", bad)])
    assert "there twice" in refused(stand, commit_tree(repository, twice))
    inner = tree(repository, [("100644", "a.py", good), ("100644", "A.py", bad)])
    either = tree(repository, [("40000", "lib", inner), ("100644", "solve.py", good)])
    assert "there twice" in refused(stand, commit_tree(repository, either))


def test_neither_many_files_nor_large_ones_nor_deep_folders_are_taken(stand):
    repository = stand.repository
    assert "more than 20 files" in refused(
        stand, commit_files(repository, {"solve.py": HONEST, **{f"lib/{i}.py": "" for i in range(25)}})
    )
    assert "too large" in refused(stand, commit_files(repository, {"solve.py": "#" * 200_001}))
    each = {f"lib/{i}.bin": "x" * 50_000 for i in range(5)}
    assert "too large" in refused(stand, commit_files(repository, {"solve.py": HONEST, **each}))
    assert "too deep" in refused(stand, commit_files(repository, {"lib/" + "d/" * 20 + "x": "1"}))
    empty = blob(repository, "")
    wide = tree(repository, [("100644", f"f{i:06d}", empty) for i in range(9000)])
    assert "a tree is more than" in refused(stand, commit_tree(repository, tree(repository, [("40000", "lib", wide)])))


def test_a_bomb_of_zlib_is_not_unpacked(stand):
    repository = stand.repository
    size = 100 * 2**20
    squeeze, name = zlib.compressobj(9), "ab" * 20
    data = [squeeze.compress(b"blob %d\0" % size)] + [squeeze.compress(bytes(2**20)) for _ in range(100)]
    path = repository / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join([*data, squeeze.flush()]))
    assert path.stat().st_size < 2**20
    start = time.process_time()
    why = refused(stand, commit_tree(repository, tree(repository, [("100644", "solve.py", name)])))
    assert "too large" in why and time.process_time() - start < 1.0, "its size is known before it is unpacked"


def test_an_object_under_anothers_name_is_not_taken(fresh):
    repository = fresh.repository
    good = commit_files(repository, {"solve.py": HONEST})
    assert fresh.measure(good).value == HONEST_VALUE
    store(repository, "blob", WINS.encode(), name=blob(repository, HONEST))
    assert "not what its name says" in refused(fresh, good)


def test_a_replacement_a_graft_a_filter_and_a_hook_are_never_looked_at(fresh, tmp_path):
    repository = fresh.repository
    good, better = (commit_files(repository, {"solve.py": text}) for text in (HONEST, WINS))
    (repository / "refs" / "replace").mkdir()
    (repository / "refs" / "replace" / good).write_text(better + "\n")
    (repository / "info").mkdir()
    (repository / "info" / "grafts").write_text(f"{good} {better}\n")
    (repository / "info" / "attributes").write_text("* filter=evil\n")
    marker = tmp_path / "ran"
    (repository / "hooks").mkdir()
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change"):
        (repository / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (repository / "hooks" / hook).chmod(0o755)
    (repository / "config").write_text(
        f"""[core]
    bare = true
    fsmonitor = "touch {marker}"
    pager = "touch {marker}"
    sshCommand = "touch {marker}"
    hooksPath = hooks
[filter "evil"]
    smudge = "touch {marker}; cat"
    process = touch {marker}
[alias]
    cat-file = "!touch {marker}"
[extensions]
    partialClone = evil
[remote "evil"]
    url = "ext::touch {marker}"
    promisor = true
"""
    )
    assert git(tmp_path, "--git-dir", str(repository), "rev-parse", f"{good}^{{tree}}") == git(
        tmp_path, "--git-dir", str(repository), "rev-parse", f"{better}^{{tree}}"
    ), "git itself takes the replacement"
    marker.unlink(missing_ok=True)
    attributes = {"lib/x.txt": "$Id$\r\n"}
    assert fresh.measure(good).value == HONEST_VALUE
    taken = take(repository, commit_files(repository, {"solve.py": HONEST, **attributes}), ("solve.py", "lib"), BUDGET)
    assert taken.files["lib/x.txt"] == b"$Id$\r\n", "bytes are taken as they are"
    assert not marker.exists()
    with pytest.raises(BadInput, match="no such commit"):  # one that only the remote would have
        fresh.measure("12" * 20)
    assert not marker.exists()


def test_objects_that_are_borrowed_from_elsewhere_are_not_taken(fresh, tmp_path):
    other = make_repository(tmp_path / "other.git")
    commit = commit_files(other, {"solve.py": WINS})
    with pytest.raises(BadInput, match="no such commit"):
        fresh.measure(commit)
    (fresh.repository / "objects" / "info").mkdir()
    (fresh.repository / "objects" / "info" / "alternates").write_text(f"{other}/objects\n")
    with pytest.raises(BadInput, match="borrows its objects"):
        fresh.measure(commit)


def test_a_folder_of_objects_that_is_a_link_is_not_read(fresh, tmp_path):
    other = make_repository(tmp_path / "other.git")
    commit = commit_files(other, {"solve.py": WINS})
    fake = tmp_path / "fake.git"
    fake.mkdir()
    (fake / "objects").symlink_to(other / "objects")
    with pytest.raises(BadInput, match="borrows"):
        fresh.bench.measure(fresh.digest, fake, commit)
    with pytest.raises(BadInput, match="no git repository"):
        fresh.bench.measure(fresh.digest, tmp_path / "nowhere", commit)


def test_a_pointer_of_lfs_is_no_content(stand):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    assert "git-lfs" in refused(stand, commit_files(stand.repository, {"solve.py": pointer}))


def test_a_commit_without_an_artifact_is_invalid(stand):
    assert "nothing lies at solve.py, lib" in refused(stand, commit_files(stand.repository, {"other.py": HONEST}))


@pytest.mark.parametrize(
    "name",
    ["HEAD", "main", "--all", "-h", "0" * 40, "ab" * 19, "AB" * 20, "ab" * 20 + "\n" + "cd" * 20, "ab" * 20 + "^{}",
     "\uff11" * 40, "../../" + "a" * 34, None, 7, "ab" * 32, "", "ab" * 19 + "a\0"],
    ids=ascii,
)  # fmt: skip
def test_only_the_full_name_of_a_commit_names_one(stand, name):
    with pytest.raises(BadInput, match="no name of a commit"):
        stand.measure(name)


def test_an_object_that_is_no_commit_is_not_measured(stand):
    repository = stand.repository
    root = tree(repository, [("100644", "solve.py", blob(repository, WINS))])
    commit = commit_files(repository, {"solve.py": HONEST})
    tag = store(repository, "tag", f"object {commit}\ntype commit\ntag v\ntagger A <a@b> 1 +0000\n\nx\n".encode())
    for name in (root, blob(repository, WINS), tag, "77" * 20):
        with pytest.raises(BadInput, match="no such commit"):
            stand.measure(name)
    assert "names no tree" in refused(stand, store(repository, "commit", b"parent x\n\nx"))
    with pytest.raises(BadInput, match="no such tree"):
        stand.measure(commit_tree(repository, blob(repository, "x")))


@pytest.mark.parametrize(
    "branch",
    ["main", "hive/bob/x", "hive/alice", "hive/alice/", "hive/alice/../bob/x", "hive/alice/-x", "hive/alice/.x",
     "hive/alice/x.lock", "hive/alice//x", "hive/alice/x y", "hive/alice/x~1", "hive/alice/@{u}", "hive/alice/x\0",
     "hive/alice/x\n", "Hive/alice/x", "hive/al\u0456ce/x", "hive/alice/a..b", "refs/heads/hive/alice/x", None,
     "hive/alice/\u202ex", "hive/alice/x:refs/heads/main", "hive/alice/" + "x" * 300],
    ids=ascii,
)  # fmt: skip
def test_a_branch_that_is_another_agents_or_a_trick_is_refused(branch):
    with pytest.raises(BadInput, match="not yours"):
        check_branch(branch, "alice")
    assert check_branch("hive/alice/idea-1.2/x_y", "alice")


@pytest.mark.parametrize("claim", [float("nan"), float("inf"), -float("inf"), "1.0", "nan", True, [1.0], 10**400, {}])
def test_a_claim_that_is_no_finite_number_is_refused(claim):
    with pytest.raises(BadInput, match="finite number"):
        read_claim(claim)


def test_a_claim_is_a_number_or_none_for_a_crash():
    assert read_claim(None) is None and read_claim(3) == 3.0


def test_no_process_of_an_attack_is_left(stand, tmp_path):
    token = f"left-{tmp_path.parent.name}-{os.getpid()}"
    start = f"""
import os, subprocess
if os.fork() == 0:
    os.setsid()
    os.execvp("python3", ["python3", "-c", "import time; time.sleep(60)", "{token}"])
"""
    stand.run(start + HONEST)
    time.sleep(0.1)
    assert token not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
