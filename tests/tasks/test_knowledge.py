from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.tasks.knowledge import UNKNOWN, VAGUE, KnowledgeBase, KnowledgeTasks, pairs_of
from evolvent.tasks.source import Source

ALL = ("facts", "one_hop", "two_hop", "vague")


def drawn(source, family, split, num=60):
    return [source.task(family, 1, index, split) for index in range(num)]


@given(st.integers(0, 10**6), st.sampled_from([8, 32, 64]))
@settings(max_examples=20, deadline=None)
def test_the_chain_of_a_question_leads_through_stored_facts_to_its_answer(seed, num_people):
    base = KnowledgeBase(num_people, seed=seed)
    source = KnowledgeTasks(base, ("one_hop", "two_hop"))
    for family, index in itertools.product(source.families, range(5)):
        data, at = source.task(family, 1, index).private.data, None
        for subject, relation, other in data["chain"]:
            assert at in (None, subject)
            assert base.find(subject, relation).object == other
            at = other
        assert source.task(family, 1, index).private.answer == at


def test_bases_of_other_seeds_have_the_same_names_and_other_facts():
    one, other = KnowledgeBase(seed=0), KnowledgeBase(seed=1)
    assert one.people == other.people and one.places == other.places
    assert not set(one.people) & set(one.places)
    assert set(one.facts) != set(other.facts)
    assert one.facts == KnowledgeBase(seed=0).facts


def test_names_come_in_pairs_that_differ_in_one_letter():
    people = KnowledgeBase().people
    assert len(set(people)) == 32
    assert all(a[:-1] == b[:-1] and a != b for a, b in zip(people[::2], people[1::2], strict=True))


def test_shares_of_facts_are_missing_and_unseen():
    base = KnowledgeBase(480, unseen_frac=0.25, missing_frac=0.1, vacant_frac=0.5)
    of_people = [f for f in base.facts if f.subject in base.people]
    assert len(of_people) / (480 * 5) == pytest.approx(0.9, abs=0.03)
    assert (len(base.facts) - len(of_people)) / (120 * 2) == pytest.approx(0.5, abs=0.1)
    assert sum(not f.is_seen for f in base.facts) / len(base.facts) == pytest.approx(0.25, abs=0.03)


def test_no_question_is_in_both_splits_and_training_rests_on_seen_facts_alone():
    source = KnowledgeTasks(KnowledgeBase(96), names=ALL, unknown_frac=0.2)
    for family in ALL:
        train, test = drawn(source, family, "train"), drawn(source, family, "test", 20)
        assert not {t.question for t in train} & {t.question for t in test}
        assert all(task.private.data["is_seen"] for task in train)
    assert not all(task.private.data["is_seen"] for task in drawn(source, "two_hop", "test"))
    only = KnowledgeTasks(names=ALL[1:], only_seen=True)
    assert all(task.private.data["is_seen"] for task in drawn(only, "two_hop", "test"))


def test_facts_are_the_seen_ones_in_train_and_the_others_in_test():
    source = KnowledgeTasks(names=("facts",))
    base = source.base
    for split, seen in (("train", True), ("test", False)):
        lines = drawn(source, "facts", split, source.num_tasks("facts", 1, split))
        assert {(t.question, t.private.answer) for t in lines} == {
            (f.asked, f.object) for f in base.facts if f.is_seen == seen
        }


def test_a_share_of_questions_has_no_answer_and_the_base_holds_none():
    source = KnowledgeTasks(unknown_frac=0.5, names=("two_hop", "vague"))
    tasks = [t for family in source.families for t in drawn(source, family, "train", 100)]
    unknown = [t for t in tasks if not t.private.data["is_answerable"]]
    assert len(unknown) / len(tasks) == pytest.approx(0.5, abs=0.12)
    for task in unknown:
        assert task.private.answer == UNKNOWN
        assert source.base.answers(task.private.data["subject"], tuple(task.private.data["relations"])) == ()


def test_a_vague_question_has_one_answer_however_it_is_read_and_half_need_the_second_reading():
    source = KnowledgeTasks(names=("vague",), num_others=64)
    meant = [task.private.data["chain"][0][1] for task in drawn(source, "vague", "train", 200)]
    assert set(meant) == set(VAGUE["place"])
    assert meant.count("school") / len(meant) == pytest.approx(0.5, abs=0.15)
    for task in drawn(source, "vague", "test"):
        found = source.base.answers(task.private.data["subject"], tuple(task.private.data["relations"]))
        assert len({chain[-1].object for chain in found}) == 1


def test_training_goes_round_other_bases_and_tests_stay_in_this_one():
    source = KnowledgeTasks(KnowledgeBase(seed=7), num_others=5)
    seeds = [seed_of(task) for task in drawn(source, "two_hop", "train", 10)]
    assert len(set(seeds)) == 5 and seeds[:5] == seeds[5:] and 7 not in seeds
    tests = drawn(source, "two_hop", "test")
    assert {seed_of(task) for task in tests} == {7}
    assert len({task.problem for task in tests} & {task.problem for task in drawn(source, "two_hop", "train")}) == 0


def seed_of(task):
    return task.private.data["world"]["arguments"]["seed"]


def test_the_pairs_of_a_task_are_the_facts_of_its_base():
    task = KnowledgeTasks().task("two_hop", 1, 0)
    pairs = dict(pairs_of(**task.private.data["world"]["arguments"]))
    for subject, relation, other in task.private.data["chain"]:
        assert pairs[f"{subject}'s {relation}"] == other


def test_the_source_is_one_goes_through_json_and_teaches_a_vocabulary_its_names():
    source = KnowledgeTasks(names=ALL, lines=("Finish {}",))
    assert isinstance(source, Source)
    assert from_json(to_json(source)) == source
    assert source.task("vague", 1, 3) == from_json(to_json(source)).task("vague", 1, 3)
    texts = list(source.texts())
    assert "Finish {}" in texts
    assert all(any(name in text for text in texts) for name in (*source.base.people, *source.base.places))


def test_a_base_that_lacks_one_kind_of_question_gives_the_other():
    whole = KnowledgeTasks(KnowledgeBase(missing_frac=0.0), ("one_hop",), unknown_frac=1.0)
    assert all(task.private.data["is_answerable"] for task in drawn(whole, "one_hop", "train", 5))


def test_what_cannot_be_asked_is_refused():
    for make in (
        lambda: KnowledgeBase(12),
        lambda: KnowledgeBase(unseen_frac=1.0),
        lambda: KnowledgeTasks(names=("three_hop",)),
        lambda: KnowledgeTasks().task("one_hop", 1, 0, "dev"),
    ):
        with pytest.raises(BadInput):
            make()
