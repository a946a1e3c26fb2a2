"""Graphs of agents: who speaks when, who reads whom, and what cannot be."""

import random
import re
from itertools import pairwise

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.rollouts.graph import Graph, Round, chain, debate, mixture, round_of


def none(size):
    return ((False,) * size,) * size


def spoken(graph):
    return [(step.seat, step.round, step.reads) for step in graph.script()]


def test_debaters_read_all_others_of_the_round_before():
    first = [("debater1", 0, ()), ("debater2", 0, ()), ("debater3", 0, ())]
    second = [("debater1", 1, (1, 2)), ("debater2", 1, (0, 2)), ("debater3", 1, (0, 1))]
    assert spoken(debate(3, 2)) == first + second


def test_debaters_read_the_latest_words_and_not_the_first():
    assert spoken(debate(2, 3))[4:] == [("debater1", 2, (3,)), ("debater2", 2, (2,))]


def test_a_debater_may_forget_what_it_said_itself():
    assert [step.remembers for step in debate(2, 2).script()] == [True] * 4
    forgetful = debate(2, 2, remembers=False)
    assert [step.remembers for step in forgetful.script()] == [False] * 4
    assert spoken(forgetful) == spoken(debate(2, 2))


def test_a_chain_goes_one_after_the_other_in_one_round():
    assert spoken(chain("g", "v", "r")) == [("g", 0, ()), ("v", 0, (0,)), ("r", 0, (0, 1))]


def test_an_aggregator_reads_every_proposer():
    assert spoken(mixture(3))[-1] == ("aggregator", 1, (0, 1, 2))
    assert [reads for _, _, reads in spoken(mixture(3))[:3]] == [(), (), ()]


def test_the_order_follows_who_is_read_and_not_the_place_in_the_team():
    backwards = Graph(("a", "b", "c"), (round_of("abc", active="abc", now={"a": "b", "b": "c"}),))
    assert [step.seat for step in backwards.script()] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("edges", "shown"),
    [("ab ba", "a -> b -> a|b -> a -> b"), ("ab bc ca", r"(a -> b -> c|b -> c -> a|c -> a -> b) -> .")],
)
def test_a_cycle_within_a_round_is_shown(edges, shown):
    now = {}
    for edge in edges.split():
        now.setdefault(edge[1], []).append(edge[0])
    with pytest.raises(BadInput) as refused:
        Graph(("a", "b", "c"), (round_of("abc", active="abc", now=now),))
    assert re.search(shown, str(refused.value)), f"the cycle is not shown: {refused.value}"
    assert "round 1" in str(refused.value)


@pytest.mark.parametrize(
    ("seats", "rounds", "word"),
    [
        ((), (), "seats"),
        (("a", "a"), (Round(none(2), none(2)),), "name each"),
        (("a",), (Round(none(1), none(1)),), "nobody speaks"),
        (("a", "b"), (Round(none(1), none(2)),), "another size"),
        (("a", "b"), (Round(((True, True), (False, False)), none(2)),), "a -> b"),
    ],
)
def test_other_graphs_that_cannot_be_are_refused(seats, rounds, word):
    with pytest.raises(BadInput, match=word):
        Graph(seats, rounds)


def test_an_unknown_seat_in_a_round_is_refused():
    with pytest.raises(BadInput, match="no such seat"):
        round_of("ab", active="ab", now={"a": "x"})


def test_a_graph_goes_through_json():
    assert from_json(to_json(debate(3, 2))) == debate(3, 2)


def test_many_seats_are_put_in_order_at_once():
    seats = tuple(f"s{i}" for i in range(40))
    rng = random.Random(0)
    shuffled = rng.sample(seats, len(seats))
    graph = Graph(seats, (round_of(seats, active=seats, now={b: [a] for a, b in pairwise(shuffled)}),))
    assert [step.seat for step in graph.script()] == shuffled
