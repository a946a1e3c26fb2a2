from __future__ import annotations

from dataclasses import replace
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import BadInput
from evolvent.records import Episode, Origin, Private, Reference, Task, Trace, said
from evolvent.rewards import by_task
from evolvent.rewards.retrieval import (
    average_precision,
    ndcg,
    ordered,
    read_relevance,
    read_run,
    recall,
    write_run,
)

FOUND = ["a", "x", "b", "y", "c"]
RELEVANT = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "z": 0.0}  # fewer than ten; d is never found


def test_ndcg_with_fewer_than_ten_relevant_documents_is_the_one_worked_by_hand():
    # found at places 1, 3, 5; the best would be at 1, 2, 3, 4
    gained = 1 + 1 / log2(4) + 1 / log2(6)
    most = 1 + 1 / log2(3) + 1 / log2(4) + 1 / log2(5)
    assert ndcg(FOUND, RELEVANT) == pytest.approx(gained / most)
    assert ndcg(FOUND, RELEVANT, k=2) == pytest.approx(1 / (1 + 1 / log2(3)))


def test_ndcg_with_grades_weighs_them():
    # 3 at place 2, 1 at place 1; the best is 3 first
    assert ndcg(["p", "q"], {"p": 1, "q": 3}) == pytest.approx((1 + 3 / log2(3)) / (3 + 1 / log2(3)))


def test_average_precision_and_recall_are_the_ones_worked_by_hand():
    assert average_precision(FOUND, RELEVANT) == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 4)
    assert recall(FOUND, RELEVANT) == 3 / 4
    assert recall(FOUND, RELEVANT, k=3) == 2 / 4
    assert ndcg([], RELEVANT) == average_precision([], RELEVANT) == recall([], RELEVANT) == 0
    assert ndcg(FOUND, {}) == average_precision(FOUND, {}) == recall(FOUND, {}) == 0


def test_more_than_ten_relevant_documents_can_reach_one():
    many = {str(i): 1.0 for i in range(15)}
    assert ndcg([str(i) for i in range(10)], many) == pytest.approx(1.0)
    assert recall([str(i) for i in range(15)], many, k=10) == pytest.approx(10 / 15)


def test_a_document_that_is_named_twice_gains_once():
    assert ndcg(["a", "a", "b"], RELEVANT) == ndcg(["a", "b"], RELEVANT)
    assert average_precision(["a", "a"], RELEVANT) == 1 / 4
    assert recall(["a"] * 9, RELEVANT) == 1 / 4


def test_equal_scores_are_ordered_by_id_from_the_last():
    assert ordered({"a": 1.0, "c": 1.0, "b": 2.0}) == ["b", "c", "a"]


@given(st.permutations(FOUND), st.sets(st.sampled_from("abcxy"), min_size=1))
def test_every_measure_lies_between_nothing_and_one_and_is_one_where_the_relevant_come_first(order, wanted):
    grades = dict.fromkeys(wanted, 1.0)
    first = sorted(order, key=lambda doc: doc not in wanted)
    for measured in (ndcg, average_precision, recall):
        assert 0 <= measured(order, grades) <= measured(first, grades) == pytest.approx(1.0)


def test_a_run_file_has_six_columns_and_comes_back(tmp_path):
    path = tmp_path / "run.txt"
    write_run({"q1": [("d2", 2.5), ("d1", 1.0)], "q2": []}, path, tag="t")
    assert path.read_text() == "q1 Q0 d2 1 2.500000 t\nq1 Q0 d1 2 1.000000 t\n"
    assert read_run(path) == {"q1": [("d2", 2.5), ("d1", 1.0)]}
    (tmp_path / "q").write_text("q1 0 d1 2\n")
    assert read_relevance(tmp_path / "q") == {"q1": {"d1": 2.0}}


def test_broken_run_files_are_refused(tmp_path):
    path = tmp_path / "run.txt"
    for text in ("q1 Q0 d2 1 2.5\n", "q1 Q0 d2 1 high t\n", "q Q0 d 1 1 t\nq Q0 d 2 1 t\n"):
        path.write_text(text)
        with pytest.raises(BadInput):
            read_run(path)
    with pytest.raises(BadInput, match="spaces"):
        write_run({"two words": [("d", 1.0)]}, path)


def test_the_ranking_that_an_episode_ended_with_is_judged():
    judge = Reference("evolvent.rewards.retrieval:check")
    private = Private("", {"relevant": RELEVANT})
    task = Task("t", "f", 1, (said("user", "q"),), private, judge, Origin(""))
    episode = Episode("t/0", task, 0, (Trace("t", 0, "agent", "agent", ()),), "found", {"ranking": FOUND})
    [score] = by_task([episode])
    assert score.value == ndcg(FOUND, RELEVANT)
    assert score.components["map"] == average_precision(FOUND, RELEVANT)
    [none] = by_task([replace(episode, info={})])
    assert none.value == 0
    with pytest.raises(BadInput, match="no relevant documents"):
        by_task([replace(episode, task=replace(task, private=Private("")))])
