import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from evolvent.cli import main
from evolvent.cli.ticks import hearing_ctrl_c
from evolvent.envs.databases import Databases
from evolvent.envs.databases.corpus import read_corpus, worlds_in
from evolvent.envs.manufacture import Made, Parametric
from evolvent.errors import BadInput
from evolvent.synthesis.stored import StoredTasks


def digests(folder):
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A finished corpus of ten worlds."""
    folder = tmp_path_factory.mktemp("synth") / "worlds"
    assert main(["synth", "worlds", f"out={folder}", "num=10", "--seed", "3"]) == 0
    return folder


def test_a_corpus_of_worlds_is_whole_and_says_what_it_is(corpus):
    assert sorted(p.name for p in corpus.iterdir()) == [
        "DATA_CARD.md", "corpus.json", "ledger.jsonl", "settings.json", "taxonomy.svg", "worlds",
    ]  # fmt: skip
    worlds = list(read_corpus(corpus))
    data = json.loads((corpus / "corpus.json").read_text())
    assert data["counts"]["worlds"] == len(worlds) == 10
    assert data["counts"]["tools"] == data["funnel"]["tools kept"] == sum(len(w.tools) for w in worlds)
    assert data["settings"]["maker"]["seed"] == 3
    assert {w for centres in data["taxonomy"].values() for names in centres.values() for w in names} == {
        w.name for w in worlds
    }
    card = (corpus / "DATA_CARD.md").read_text()
    assert card.startswith("# 10 worlds\n")
    assert "| tools kept" in card


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_worlds(corpus, tmp_path):
    assert main(["synth", "worlds", f"out={tmp_path / 'a'}", "num=10", "seed=3"]) == 0
    assert digests(tmp_path / "a") == digests(corpus)
    assert main(["synth", "worlds", f"out={tmp_path / 'b'}", "num=2", "seed=4"]) == 0
    assert not {w.tables for w in read_corpus(tmp_path / "b")} & {w.tables for w in read_corpus(corpus)}


def test_a_finished_corpus_is_left_as_it_is_and_a_larger_num_goes_on(corpus, tmp_path, capsys):
    folder = tmp_path / "a"
    for num in (4, 4, 10):
        assert main(["synth", "worlds", f"out={folder}", f"num={num}", "--seed", "3"]) == 0
    assert digests(folder) == digests(corpus)


def started(folder, *words):
    command = [sys.executable, "-c", "import sys; from evolvent.cli import main; sys.exit(main())", "synth", *words]
    return subprocess.Popen([*command, f"out={folder}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for(folder, num):
    until = time.monotonic() + 60
    ledger = folder / "ledger.jsonl"
    while not ledger.exists() or len(ledger.read_bytes().splitlines()) < num:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_killed_at_any_instant_it_goes_on_to_the_same_bytes(corpus, tmp_path):
    folder = tmp_path / "a"
    for num in (1, 4):
        process = started(folder, "worlds", "num=10", "--seed", "3")
        wait_for(folder, num)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    assert not (folder / "corpus.json").exists(), "it was not finished"
    (folder / "worlds" / ".half.0-0.tmp").mkdir()
    with (folder / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b'{"number": 9')
    assert main(["synth", "worlds", f"out={folder}", "num=10", "--seed", "3"]) == 0
    assert digests(folder) == digests(corpus)


def test_ctrl_c_stops_it_and_keeps_what_is_there(tmp_path):
    folder = tmp_path / "a"
    process = started(folder, "worlds", "num=500", "level=2")
    wait_for(folder, 2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.decode().strip().endswith("stopped")
    assert len(worlds_in(folder)) >= 2


def test_two_at_once_are_refused(tmp_path, told):
    folder = tmp_path / "a"
    process = started(folder, "worlds", "num=500", "level=2")
    try:
        wait_for(folder, 1)
        status, _, words = told("synth", "worlds", f"out={folder}", "num=500", "level=2")
        assert status == 1
        assert f"process {process.pid}" in words
    finally:
        process.kill()
        process.communicate()


def test_json_is_one_object_on_stdout(tmp_path, told):
    status, out, words = told("synth", "worlds", f"out={tmp_path / 'a'}", "num=2", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["counts"]["worlds"] == 2
    assert found["folder"] == str(tmp_path / "a")
    assert "DATA_CARD.md" in words


# ------------------------------------------------------------ tasks


@pytest.mark.parametrize("kind", ["structure", "graph", "program"])
def test_tasks_about_worlds_move_with_their_folder(corpus, tmp_path, kind):
    folder, moved, before = tmp_path / "tasks", tmp_path / "moved", digests(corpus)
    assert main(["synth", "tasks", f"from={corpus}", f"out={folder}", f"kind={kind}", "num=8"]) == 0
    assert digests(corpus) == before, "the corpus on disk is never touched"
    assert digests(folder / "worlds") == digests(corpus / "worlds")
    folder.rename(moved)
    source = StoredTasks(str(moved))
    found = [source.task(f, n, i, split) for split in ("train", "test") for f in source.families
             for n in source.levels(f) for i in range(source.num_tasks(f, n, split))]  # fmt: skip
    worlds = {split: {t.private.data["world"]["arguments"]["folder"] for t in found if t.split == split}
              for split in ("train", "test")}  # fmt: skip
    assert not worlds["train"] & worlds["test"], "every fifth world is for tests alone"
    assert len(found) == len({task.task_id for task in found}) == len({task.problem for task in found}) == 8
    for task in found:
        world = Databases().open(task, 0)
        for message in task.private.solution:
            for call in message.calls:
                world.run(call.name, call.arguments)
        if "state" in task.private.data:
            assert world.state_digest() == task.private.data["state"]
        world.close()
    assert digests(moved / "worlds") == digests(corpus / "worlds")


def test_tasks_that_were_begun_go_on_to_the_same_bytes(corpus, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["synth", "tasks", f"from={corpus}", "kind=structure", "num=12"]
    assert main([*words, f"out={whole}"]) == 0
    assert main([*words, f"out={cut}"]) == 0
    lines = (cut / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (cut / "ledger.jsonl").write_bytes(b"".join(lines[:5]))  # the tasks of the sixth piece are there, its line is not
    for name in ("corpus.json", "DATA_CARD.md", "taxonomy.svg"):
        (cut / name).unlink()
    assert main([*words, f"out={cut}"]) == 0
    assert digests(cut) == digests(whole)


def test_task_folders_of_templates_go_on_and_are_the_same_again(tmp_path):
    words = ["synth", "tasks", "source=terminal", "--seed", "2"]
    for name, nums in (("a", (1, 2)), ("b", (2,))):
        for num in nums:
            assert main([*words, f"num={num}", f"out={tmp_path / name}"]) == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(list((tmp_path / "a" / "tasks").glob("*/task.toml"))) == 2


def test_a_stored_task_that_is_not_there_is_said(corpus, tmp_path):
    with pytest.raises(BadInput, match="no tasks here"):
        _ = StoredTasks(str(corpus)).families
    (tmp_path / "tasks.jsonl").write_text('{"is": "os:system"}\n')
    with pytest.raises(BadInput, match="no task"):
        _ = StoredTasks(str(tmp_path)).families


# ------------------------------------------------------------ makers of one's own, and models


@dataclass(frozen=True)
class Barren:
    """Makes nothing."""

    why: str = "the mine is empty; nothing there"

    def make(self, number):
        return Made(None, (), {"worlds begun": 1}, self.why)

    def describe(self):
        return {"maker": "barren"}


@dataclass(frozen=True)
class Stubborn:
    """Makes the same world under other names."""

    def make(self, number):
        from dataclasses import replace

        made = Parametric(5).make(number // 3)
        return replace(made, database=replace(made.database, name=f"w{number}"))

    def describe(self):
        return {"maker": "stubborn"}


MINE = "cli.test_synth"


def test_a_maker_that_makes_nothing_ends_and_says_so(tmp_path, told):
    status, said, _ = told("synth", "worlds", f"out={tmp_path / 'a'}", "num=3", f"maker={MINE}:Barren")
    assert status == 1
    data = json.loads((tmp_path / "a" / "corpus.json").read_text())
    assert data["dropped"] == {"the mine is empty": 64}
    assert data["counts"]["worlds"] == 0
    assert "0 of 3" in said


def test_worlds_that_are_alike_are_kept_once_and_counted(tmp_path, told):
    status, out, _ = told("synth", "worlds", f"out={tmp_path / 'a'}", "num=3", f"maker={MINE}:Stubborn", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["counts"]["worlds"] == 3
    assert found["dropped"] == {"exact duplicate": 4}
    assert found["funnel"]["worlds dropped, exact duplicate"] == 4
    assert found["funnel"]["worlds kept"] == 3
    assert found["funnel"]["worlds begun"] == 7


def test_worlds_by_a_model_with_its_answers_kept(tmp_path, told):
    themes = tmp_path / "themes.txt"
    themes.write_text("a lending library\n\n")
    words = ("synth", "worlds", f"out={tmp_path / 'a'}", "num=1", "model=envs.manufacture.clerk:Clerk",
             f"themes={themes}", "num_rounds=0", "num_tools=2", "--json")  # fmt: skip
    status, out, _ = told(*words)
    assert status == 0
    found = json.loads(out)
    assert found["counts"]["tools"] == 2
    assert found["settings"]["maker"]["policy"] == "clerk"
    assert len((tmp_path / "a" / "answers" / "000000.jsonl").read_text().splitlines()) == found["funnel"]["requests"]


# ------------------------------------------------------------ wrong words


@pytest.mark.parametrize(("words", "wanted"), [
    ([], "worlds | tasks"),
    (["wrlds", "out=x"], "did you mean worlds"),
    (["worlds"], "out=FOLDER"),
    (["worlds", "out=x", "num=none"], "not a whole number"),
    (["worlds", "out=x", "num=0"], "nothing to write"),
    (["worlds", "out=x", "numb=3"], "did you mean num"),
    (["worlds", "out=x", "level=9"], "no such level"),
    (["worlds", "out=x", "maker=parametrc"], "no such maker"),
    (["worlds", "out=x", "maker=json:loads"], "makes no worlds"),
    (["worlds", "out=x", "themes=t"], "a model writes"),
    (["worlds", "out=x", "model=evolvent.policies.scripted:Fixed('a')"], "needs themes"),
    (["worlds", "out=x", "model=http://127.0.0.1:1/v1#m", "themes=/nowhere"], "no such file"),
    (["worlds", "out=x", "max_alike=2"], "not a share"),
    (["tasks", "out=x"], "tasks are about worlds"),
    (["tasks", "out=x", "from=nowhere"], "no corpus of worlds"),
    (["tasks", "out=x", "from=nowhere", "kind=grph"], "did you mean graph"),
    (["tasks", "out=x", "source=terminal", "kind=graph"], "has no effect"),
    (["tasks", "out=x", "source=shell"], "no such source"),
])  # fmt: skip
def test_wrong_words_are_said_with_a_cure_and_nothing_is_written(words, wanted, tmp_path, monkeypatch, told):
    monkeypatch.chdir(tmp_path)
    status, _, said = told("synth", *words)
    assert status == 2
    assert wanted in said
    assert list(tmp_path.iterdir()) == []


def test_another_corpus_in_the_folder_is_never_overwritten(corpus, tmp_path, told):
    before = digests(corpus)
    status, _, said = told("synth", "worlds", f"out={corpus}", "num=10", "--seed", "4")
    assert status == 2
    assert "holds another corpus" in said
    (tmp_path / "mine.txt").write_text("x")
    status, _, said = told("synth", "worlds", f"out={tmp_path}", "num=1")
    assert status == 1
    assert "not empty" in said
    assert digests(corpus) == before


def test_a_world_that_was_changed_on_disk_stops_the_work(tmp_path, told):
    folder = tmp_path / "a"
    assert told("synth", "worlds", f"out={folder}", "num=2")[0] == 0
    path = next((folder / "worlds").glob("*/world.json"))
    path.write_text(path.read_text() + " ")
    status, _, said = told("synth", "worlds", f"out={folder}", "num=3")
    assert status == 2
    assert str(path) in said


def test_ctrl_c_that_a_callback_of_sqlite_swallows_is_heard_at_the_next_step():
    connection = sqlite3.connect(":memory:")

    def pressed(*_):
        signal.raise_signal(signal.SIGINT)
        return sqlite3.SQLITE_OK

    with hearing_ctrl_c() as heard:
        heard()
        connection.set_authorizer(pressed)
        with pytest.raises(sqlite3.DatabaseError):  # where it should have been KeyboardInterrupt
            connection.execute("create table t (x)")
        with pytest.raises(KeyboardInterrupt):
            heard()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
