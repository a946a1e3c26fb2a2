from __future__ import annotations

import asyncio
import json
import os

import pytest

from evolvent.cli import main
from evolvent.codec import from_json, to_json
from evolvent.envs.corpus import Corpus, Document
from evolvent.errors import BadInput, EvolventError
from evolvent.records import Origin, Reference, Task, ToolCall, said
from evolvent.tasks.documents import read_documents

pytest.importorskip("bm25s")

TASK = Task("t", "look", 1, (said("user", "?"),), None, Reference("evolvent.rewards.verify:exact"), Origin(""))
BEES = (
    Document("a1", "Bees make honey in a hive.", "Bees"),
    Document("a2", "Honey never spoils; jars of honey were found."),
    Document("a3", "A hive of many agents."),
)


def give() -> tuple[Document, ...]:
    return BEES


def tell(world, name, **arguments):
    result = asyncio.run(world.call("agent", ToolCall(name, arguments)))
    return result.text, result.is_error


def opened(corpus):
    return corpus.open(TASK, 0)


def test_an_agent_searches_and_fetches():
    world = opened(Corpus(BEES))
    assert tell(world, "search", query="honey jars") == (
        "[a2] Honey never spoils; jars of honey were found.\n[a1] Bees: Bees make honey in a hive.",
        False,
    )
    assert tell(world, "search", query="hive", k=1) == ("[a3] A hive of many agents.", False)
    assert tell(world, "fetch", id="a1") == ("Bees\nBees make honey in a hive.", False)
    assert tell(world, "search", query="zebra") == ("nothing found", False)


def test_mistakes_are_observations_that_say_the_cure():
    world = opened(Corpus(BEES))
    assert tell(world, "fetch", id="a9") == ("error: there is no document 'a9'; did you mean a3 or a2 or a1?", True)
    assert tell(world, "search", query="hive", k=99) == ("error: search: 'k' is 99 (wanted 1 to 10)", True)
    assert tell(world, "search")[1] and tell(world, "find", query="x")[1] and tell(world, "search", query=3)[1]


def test_calls_are_capped_and_a_snapshot_keeps_their_number():
    world = opened(Corpus(BEES, max_calls=2))
    before = world.snapshot()
    assert [tell(world, "fetch", id="a3")[1] for _ in range(3)] == [False, False, True]
    spent = world.state_digest()
    world.restore(before)
    assert world.state_digest() != spent
    assert tell(world, "fetch", id="a3") == ("A hive of many agents.", False)


def test_long_documents_are_cut_in_a_list_and_when_fetched():
    documents = (Document("long", "word " * 4000), Document("other", "word"))
    world = opened(Corpus(documents, snippet_bytes=60, max_bytes=100))
    found, _ = tell(world, "search", query="word", k=2)
    assert [len(line) <= 60 + len("[other] ") for line in found.splitlines()] == [True, True]
    assert "bytes left out" in found
    assert len(tell(world, "fetch", id="long")[0].encode()) <= 100


def test_the_most_documents_that_may_be_shown_all_are():
    documents = tuple(Document(f"doc-{i}", f"word {'x' * 300} {i}") for i in range(12))
    found, _ = tell(opened(Corpus(documents)), "search", query="word", k=10)
    assert len(found.splitlines()) == 10


@pytest.mark.parametrize("documents", [BEES, Reference(f"{__name__}:give")])
def test_a_plan_goes_through_json_and_finds_the_same(documents):
    plan = Corpus(documents)
    assert from_json(to_json(plan)) == plan
    if isinstance(documents, tuple):
        assert opened(plan).shelf is opened(from_json(to_json(plan))).shelf, "one index for equal documents"


def test_a_file_that_changes_is_indexed_anew(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"_id": "x", "text": "old"}\n\n{"id": 7, "contents": "older"}\n')
    assert tell(opened(Corpus(str(path))), "search", query="old")[0] == "[x] old"
    path.write_text('{"_id": "y", "text": "old"}\n')
    os.utime(path, ns=(1, 1))
    assert tell(opened(Corpus(str(path))), "search", query="old")[0] == "[y] old"


def test_a_folder_of_texts_is_a_corpus(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.md").write_text("about bees")
    (tmp_path / "a.txt").write_text("about agents")
    (tmp_path / "c.bin").write_bytes(b"\xff")
    assert [d.doc_id for d in read_documents(tmp_path)] == ["a.txt", "sub/b.md"]
    assert tell(opened(Corpus(str(tmp_path))), "fetch", id="sub/b.md")[0] == "about bees"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no documents"),
        ("{", "no JSON"),
        ("[1]", "no object"),
        ('{"id": "x"}', "lacks a field"),
        ('{"id": "x", "text": "a"}\n{"id": "x", "text": "b"}', "two documents have one id"),
    ],
)
def test_a_broken_file_says_what_is_wrong_with_it(tmp_path, text, words):
    path = tmp_path / "d.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=words):
        opened(Corpus(str(path)))


def test_odd_corpora_are_refused():
    for make in (lambda: Corpus(BEES, max_calls=0), lambda: Corpus(()).shelf, lambda: Corpus("/nowhere").shelf):
        with pytest.raises(EvolventError):
            make()
    with pytest.raises(BadInput, match="one id"):
        _ = Corpus((BEES[0], BEES[0])).shelf


async def test_over_mcp_a_client_searches_as_an_agent_does():
    pytest.importorskip("mcp")
    from mcp import Client

    from evolvent.envs.mcp import as_server

    async with Corpus(BEES).open(TASK, 0) as world, Client(as_server(world, name="bees")) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "fetch"}
        reply = await client.call_tool("search", {"query": "hive", "k": 1})
        assert reply.content[0].text == "[a3] A hive of many agents."


def test_a_person_may_play_it(tmp_path, capsys, monkeypatch):
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(json.dumps({"id": d.doc_id, "text": d.text}) for d in BEES))
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO('search {"query": "spoils"}\n'))
    assert main(["world", "play", f'evolvent.envs.corpus:Corpus("{path}")']) == 0
    assert "[a2] Honey never spoils" in capsys.readouterr().out
