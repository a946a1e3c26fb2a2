from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox
from evolvent.envs.corpus import Corpus, Document
from evolvent.errors import BadInput
from evolvent.policies.scripted import Script
from evolvent.records import Origin, Private, Reference, Sampling, Task, said
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.refine import AtRandom, ByMeanVector, Refine, ask_in_words, by_words, enlarge
from evolvent.rollouts.seat import Budgets

pytest.importorskip("bm25s")

DOCUMENTS = (
    *(Document(f"bee{i}", f"bee hive honey{i}") for i in range(20)),
    *(Document(f"ant{i}", f"ant hill leaf{i}") for i in range(20)),
    Document("bridge", "insect bee"),
)


@dataclass
class Writer:
    """Writes "bee" whatever it is asked, and remembers the prompts."""

    words: str = "bee"
    asked: list = field(default_factory=list)

    async def sample(self, prompts, how):
        self.asked += [prompt.messages for prompt in prompts]
        return await Script(lambda prompt, rng: said("assistant", self.words)).sample(prompts, how)


def task(question="insect"):
    judge = Reference("evolvent.rewards.retrieval:check")
    return Task("t", "f", 1, (said("user", question),), Private("", {"relevant": {}}), judge, Origin(""))


def played(workflow, writer=None, num_seats=3, question="insect", world=None):
    writer = writer or Writer()
    stage = Stage(
        workflow=workflow,
        world=world or Corpus(DOCUMENTS),
        policies={"agent": writer},
        seats={f"agent/{i}": "agent" for i in range(num_seats)},
        how=Sampling(64),
        budgets=Budgets(10**6, 10**6, 10**6),
    )
    [episode] = play([Attempt(task(question), 0)], stage)
    return episode, writer


def test_the_enlarged_query_holds_the_question_once_for_each_passage():
    assert enlarge("q", ["a b", "c"]) == "q q a b c"
    assert enlarge("q", ["a b", "", ""]) == "q q q a b  ", "a passage that came to nothing counts"
    assert enlarge("q", []) == "q"
    for h in range(1, 11):
        assert enlarge("two words", ["x"] * h).split().count("two") == h


def test_without_a_round_it_is_plain_retrieval():
    episode, writer = played(Refine(rounds=0))
    assert writer.asked == []
    shelf = Corpus(DOCUMENTS).shelf
    assert episode.info["ranking"] == [d.doc_id for d, _ in shelf.search("insect", 1000)] == ["bridge"]


def test_every_seat_writes_once_a_round_and_no_more():
    for rounds, seats in ((1, 3), (2, 3), (3, 5)):
        _, writer = played(Refine(rounds=rounds), num_seats=seats)
        assert len(writer.asked) == rounds * seats


def test_the_second_round_reads_the_first_documents_that_the_first_passages_found():
    episode, writer = played(Refine(rounds=2, shown=5))
    hits = Corpus(DOCUMENTS).shelf.search(enlarge("insect", ["bee"] * 3), 5)
    assert episode.info["rounds"][1]["shown"] == [d.doc_id for d, _ in hits]
    assert [m[-1].text for m in writer.asked[:3]] == [ask_in_words("insect", [])] * 3
    assert [m[-1].text for m in writer.asked[3:]] == [ask_in_words("insect", [d.text for d, _ in hits])] * 3
    assert [len(m) for m in writer.asked] == [1] * 6, "each passage is written in a context of its own"


def test_another_retriever_between_the_rounds_changes_what_is_read():
    _, plain = played(Refine(rounds=2, shown=5))
    _, other = played(Refine(rounds=2, shown=5, find=AtRandom(1)))
    assert plain.asked[:3] == other.asked[:3]
    assert plain.asked[3:] != other.asked[3:]


def test_passages_find_what_the_question_does_not():
    alone, _ = played(Refine(rounds=0))
    refined, _ = played(Refine(rounds=1))
    assert alone.info["ranking"] == ["bridge"]
    assert len(refined.info["ranking"]) == 21 and refined.info["ranking"][0] == "bridge"


def test_a_generation_that_comes_to_nothing_keeps_its_place():
    episode, _ = played(Refine(rounds=1), Writer(words=""), num_seats=4)
    assert episode.info["rounds"][0]["passages"] == [""] * 4
    assert episode.answer.split().count("insect") == 4


def counts(texts):
    return [[text.count("bee"), text.count("ant"), 1.0] for text in texts]


def test_the_mean_vector_is_that_of_the_question_and_all_passages():
    passages = ["bee", "bee bee", "ant", "zebra"]
    vector = ByMeanVector(counts).vector("insect", passages)
    expected = np.mean([[0, 0, 1], [1, 0, 1], [2, 0, 1], [0, 1, 1], [0, 0, 1]], axis=0)
    assert vector == pytest.approx(expected), "all four count, not the first three"


def test_documents_can_be_found_by_the_mean_vector():
    episode, _ = played(Refine(rounds=2, shown=5, find=ByMeanVector(counts)), Writer(words="ant ant"))
    assert all(doc.startswith("ant") for doc in episode.info["rounds"][1]["shown"])


def test_the_final_ranking_is_cut_and_lexical():
    episode, _ = played(Refine(rounds=1, depth=4))
    hits = Corpus(DOCUMENTS).shelf.search(episode.answer, 4)
    assert episode.info["ranking"] == [d.doc_id for d, _ in hits] and len(hits) == 4


def test_documents_at_random_depend_on_the_question_alone():
    shelf = Corpus(DOCUMENTS).shelf
    assert AtRandom()(shelf, "q", ["a"], 5) == AtRandom()(shelf, "q", ["a"], 5) != AtRandom()(shelf, "p", ["a"], 5)
    assert len(AtRandom()(shelf, "q", [], 999)) == len(DOCUMENTS)


def test_a_plan_goes_through_json_and_odd_ones_are_refused():
    plan = Refine(rounds=3, find=AtRandom(3), passage_tokens=9)
    assert from_json(to_json(plan)) == plan
    assert replace(plan, find=by_words) != plan
    for fields in ({"rounds": -1}, {"shown": 0}, {"depth": 0}):
        with pytest.raises(BadInput):
            Refine(**fields)


def test_a_world_without_documents_is_told_so():
    with pytest.raises(BadInput, match="nothing to search"):
        played(Refine(), world=Toolbox(()))
