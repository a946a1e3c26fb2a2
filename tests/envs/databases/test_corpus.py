import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent import BadInput
from evolvent.envs.databases import Column, Database, Parameter, PythonTool, SqlTool, Statement, Table, world_of
from evolvent.envs.databases.corpus import (
    digest_of,
    read_corpus,
    read_world,
    reference_to,
    worlds_in,
    write_world,
)
from evolvent.envs.databases.named import name_world
from evolvent.envs.manufacture.parametric import STRUCTURES, manufacture
from evolvent.records import Origin, Private, Reference, Task, said

TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
ROWS = st.lists(st.tuples(TEXTS, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), st.floats(allow_nan=False,
                allow_infinity=False)), max_size=6, unique_by=lambda row: row[0])  # fmt: skip
COLUMNS = (Column("id"), Column("num", "integer"), Column("part", "real"))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_world_is_read_as_it_was_written_and_equal_worlds_give_equal_bytes(tmp_path, structure):
    world = manufacture(7, structure, 2)
    assert write_world(tmp_path / "a", world) == write_world(tmp_path / "b", manufacture(7, structure, 2))
    assert read_world(tmp_path / "a") == world
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    assert read_world(tmp_path / "a").open(TASK, 0).state_digest() == world.open(TASK, 0).state_digest()


@settings(max_examples=40, deadline=None)
@given(ROWS, TEXTS)
def test_every_value_survives(tmp_path_factory, rows, words):
    folder = tmp_path_factory.mktemp("world") / "w"
    tool = PythonTool("look", words, (Parameter("a", "real", words),), f"def look(db, a):\n    return {words!r}\n")
    world = Database("w", (Table("t", COLUMNS, tuple(rows)),), (tool,), (words,), (words, "x"), words)
    write_world(folder, world)
    assert read_world(folder) == world


def test_a_world_written_over_another_leaves_nothing_of_it(tmp_path):
    write_world(tmp_path / "w", manufacture(1, "two_hop", 3))
    small = Database("small", (Table("t", COLUMNS),), ())
    write_world(tmp_path / "w", small)
    assert read_world(tmp_path / "w") == small
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w"]


TASK = Task("t", "f", 1, (said("user", "?"),), Private(""), Reference("evolvent.rewards:exact"), Origin("x"))


def test_a_task_names_a_world_on_disk(tmp_path):
    world = manufacture(3, "lookup", 1)
    write_world(tmp_path / "w", world)
    task = Task(
        "t", "f", 1, TASK.prompt, Private("", name_world(reference_to(tmp_path / "w"))), TASK.judge, TASK.origin
    )
    assert world_of(task) == world


def test_a_corpus_gives_its_worlds_in_order(tmp_path):
    made = [manufacture(i, "lookup", 1) for i in (3, 1, 2)]
    for world in made:
        write_world(tmp_path / "worlds" / world.name, world)
    assert [w.name for w in read_corpus(tmp_path)] == sorted(w.name for w in made)
    with pytest.raises(BadInput, match="no corpus of worlds") as told:
        worlds_in(tmp_path / "nowhere")
    assert "evolvent synth worlds" in told.value.cure


def test_the_schema_for_others_is_that_of_the_parameters(tmp_path):
    tool = SqlTool("f", "finds", (Parameter("a", "integer", "how many"),), (Statement("SELECT :a"),))
    write_world(tmp_path / "w", Database("w", (Table("t", COLUMNS),), (tool,)))
    data = json.loads((tmp_path / "w" / "world.json").read_text())
    assert data["tools"][0]["schema"] == {
        "type": "object",
        "properties": {"a": {"type": "integer", "description": "how many"}},
        "required": ["a"],
    }


# ------------------------------------------------------------ broken and tampered files


@pytest.fixture
def folder(tmp_path):
    write_world(tmp_path / "w", manufacture(5, "create_read", 1))
    return tmp_path / "w"


def resign(folder):
    """What somebody does who changes a file and the manifest with it."""
    import hashlib

    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def table_file(folder):
    return sorted((folder / "tables").iterdir())[0]


def test_a_changed_row_is_noticed_and_named(folder):
    path = table_file(folder)
    path.write_text(path.read_text().replace('"', "'", 1))
    with pytest.raises(BadInput, match="has been changed") as told:
        read_world(folder)
    assert told.value.where == str(path)


def test_a_missing_file_and_a_new_file_are_noticed(folder):
    (folder / "note.txt").write_text("hello")
    with pytest.raises(BadInput, match="not in the manifest"):
        read_world(folder)
    (folder / "note.txt").unlink()
    table_file(folder).unlink()
    with pytest.raises(BadInput, match="missing"):
        read_world(folder)
    shutil.rmtree(folder)
    with pytest.raises(BadInput, match="no world here"):
        read_world(folder)


def test_a_manifest_cannot_reach_out_of_its_folder(folder, tmp_path):
    (tmp_path / "outside").write_text("x")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../outside"] = "0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="missing"):
        read_world(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "other"}', "\x00", "nul"])
def test_a_broken_manifest_is_said(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BadInput) as told:
        read_world(folder)
    assert "manifest.json" in told.value.where


def breakages():
    yield "a row too short", lambda f: table_file(f).write_text("[1]\n"), "does not fit its table"
    yield "a row too few", lambda f: table_file(f).write_text(""), "rows are missing"
    yield "no JSON", lambda f: table_file(f).write_text("nope\n"), "cannot be read"
    yield "a field that is gone", lambda f: edit(f, lambda d: d.pop("rules")), "cannot be read"
    yield "another kind of tool", lambda f: edit(f, lambda d: d["tools"][0].update(kind="bash")), "no such kind"
    yield "a schema of its own", lambda f: edit(f, lambda d: d["tools"][0].update(schema={})), "not that of"
    yield (
        "a class of no record",
        lambda f: edit(f, lambda d: d.update(rules={"is": "os:system", "value": "id"})),
        "record",
    )
    yield "a name with quotes", lambda f: edit(f, lambda d: d["tools"][0].update(name='a"b')), "no name for a tool"


def edit(folder, change):
    data = json.loads((folder / "world.json").read_text())
    change(data)
    (folder / "world.json").write_text(json.dumps(data))


@pytest.mark.parametrize(("breakage", "words"), [b[1:] for b in breakages()], ids=[b[0] for b in breakages()])
def test_a_broken_world_says_what_is_wrong_even_when_signed_anew(folder, breakage, words):
    breakage(folder)
    resign(folder)
    with pytest.raises(BadInput, match=words) as told:
        read_world(folder)
    assert told.value.where
