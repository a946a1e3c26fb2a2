from __future__ import annotations

from collections import Counter

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.tasks.source import Source
from evolvent.tasks.topics import Topics, TopicTasks, documents_of, is_known

SMALL = Topics(num_topics=24, num_distractions=60, pool_technical=200, pool_everyday=60)
SOURCE = TopicTasks(SMALL, num_shown=8)


def test_only_the_bridges_of_a_topic_hold_words_of_its_questions():
    written = SMALL.written
    for topic in range(24):
        easy, hard = set(written.everyday[topic]), set(written.technical[topic])
        own = [set(d.text.split()) for d, t in zip(written.documents, written.topics, strict=True) if t == topic]
        assert len(own) == 8
        assert sum(bool(words & easy) for words in own) == 2
        assert all(words <= easy | hard and len(words) == 10 for words in own)


def test_everyday_words_mean_several_topics_and_technical_words_are_none_of_them():
    written = SMALL.written
    shared = Counter(word for some in written.everyday for word in some)
    assert sum(num > 1 for num in shared.values()) / len(shared) > 0.3
    assert not {w for some in written.technical for w in some} & set(shared)


def test_the_documents_have_ids_of_their_own_and_can_be_named():
    documents = SMALL.written.documents
    assert len({d.doc_id for d in documents}) == len(documents) == 24 * 8 + 60
    named = documents_of(num_topics=24, num_distractions=60, pool_technical=200, pool_everyday=60)
    assert named == documents
    assert documents_of(num_topics=24, seed=1) != documents_of(num_topics=24)


def test_a_question_is_in_words_that_its_topics_documents_hardly_use():
    for index in range(48):
        task = SOURCE.task("topics", 1, index, "test")
        asked = set(task.question.split()[1:])
        texts = {d.doc_id: set(d.text.split()) for d in SMALL.written.documents}
        relevant = task.private.data["relevant"]
        assert len(asked) == 3 and len(relevant) == 8
        assert sum(bool(asked & texts[doc]) for doc in relevant) == 2


def test_what_is_taught_from_memory_is_every_second_topic_of_this_world():
    tasks = [SOURCE.task("topics", 1, i) for i in range(200)]
    alone = [t for t in tasks if "\n" not in t.question]
    assert 30 < len(alone) < 90
    assert all(t.private.data["is_known"] and is_known(t.private.data["topic"]) for t in alone)
    texts = {d.text for d in SMALL.written.documents}
    assert all(any(text.endswith(t.private.answer.removeprefix(": ")) for text in texts) for t in alone)


def test_what_is_taught_to_be_read_stands_among_the_passages_and_is_of_another_world():
    texts = {d.text for d in SMALL.written.documents}
    read = [t for i in range(100) if "\n" in (t := SOURCE.task("topics", 1, i)).question]
    for task in read:
        asked, *lines = task.question.split("\n")
        shown = [line.partition(" ")[2] for line in lines]
        assert 1 <= len(shown) <= 8 and not set(shown) & texts
        reply = task.private.answer.removeprefix(": ")
        [source] = [text for text in shown if text.endswith(reply)]
        assert set(source.split()) & set(asked.split()) and not set(reply.split()) & set(asked.split())
    places = Counter(t.question.count("\n", 0, t.question.index(t.private.answer[2:])) for t in read)
    assert len(places) >= 5, "the passage to copy stands anywhere"


def test_no_question_is_in_both_splits():
    train = {SOURCE.task("topics", 1, i).question for i in range(600)}
    assert not train & {SOURCE.task("topics", 1, i, "test").question for i in range(200)}


def test_the_source_is_one_and_goes_through_json():
    assert isinstance(SOURCE, Source)
    assert from_json(to_json(SOURCE)) == SOURCE
    assert SOURCE.task("topics", 1, 5) == from_json(to_json(SOURCE)).task("topics", 1, 5)


def test_odd_topics_are_refused():
    for fields in ({"num_topics": 3}, {"num_everyday": 2}, {"num_bridges": 9}, {"pool_technical": 5}):
        with pytest.raises(BadInput):
            Topics(**fields)
    with pytest.raises(BadInput, match="split"):
        SOURCE.task("topics", 1, 0, "dev")
