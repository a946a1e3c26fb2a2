from collections import Counter
from random import Random

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.rollouts.search import ABMCTS, Beam, BestOf
from evolvent.rollouts.tree import Node, Refine
from evolvent.seeds import stream
from evolvent.tasks.lookups import run_tests

GROWTH = Refine(run_tests)


def node(number, parent, score, seat="agent", depth=1, is_end=False):
    return Node(number, parent, seat, depth, str(number), score, "", 0, 1, is_whole=True, is_end=is_end)


def simulate(search, worth, rng):
    """Let a search choose; `worth(seat, depth, rng)` is what a new node earns."""
    nodes = []
    for _ in range(search.max_num_nodes):
        parent, seat = search.choose(nodes, rng)
        depth = 1 if parent is None else parent.depth + 1
        number = None if parent is None else parent.number
        nodes.append(node(len(nodes), number, worth(seat, depth, rng), seat, depth))
    return nodes


def test_the_first_node_is_made_from_the_problem():
    parent, seat = ABMCTS(8, GROWTH, ("a", "b")).choose([], Random(0))
    assert parent is None and seat in ("a", "b")


def test_a_seat_whose_nodes_earn_more_makes_more_of_them():
    search = ABMCTS(40, GROWTH, ("good", "bad"))
    made = Counter(
        n.seat for i in range(20) for n in simulate(search, lambda s, d, r: 0.8 if s == "good" else 0.2, Random(i))
    )
    assert made["good"] > 2 * made["bad"] > 0, "and the other one is still tried"


def test_trees_grow_deep_where_refining_helps_and_wide_where_it_does_not():
    search = ABMCTS(24, GROWTH)

    def mean_depth(worth):
        return sum(n.depth for i in range(20) for n in simulate(search, worth, Random(i))) / (20 * 24)

    helps, hurts = mean_depth(lambda s, d, r: min(0.9, 0.2 * d)), mean_depth(lambda s, d, r: 0.6 / d)
    assert helps > 1.5 * hurts


def test_what_has_ended_is_never_gone_to():
    ended = [node(0, None, 1.0, is_end=True), node(1, None, 0.9, is_end=True)]
    assert all(ABMCTS(8, GROWTH).choose(ended, Random(i))[0] is None for i in range(50))
    with_one_open = [*ended, node(2, None, 0.1)]
    gone_to = {p.number for i in range(200) if (p := ABMCTS(8, GROWTH).choose(with_one_open, Random(i))[0])}
    assert gone_to == {2}


def test_going_on_is_judged_by_what_came_of_it_and_not_by_the_child_itself():
    """Ten children of the problem earned 1 and nothing below them did: chance makes new ones nearly always."""
    nodes = [node(i, None, 0.9) for i in range(10)]
    nodes += [node(10 + i, i, 0.0, depth=2) for i in range(10)]
    chosen = [ABMCTS(99, GROWTH).choose(nodes, Random(i))[0] for i in range(100)]
    assert sum(parent is None for parent in chosen) > 95


def test_a_weight_on_new_children_makes_trees_wide_or_deep():
    def widths(weight):
        search = ABMCTS(16, GROWTH, depth_weight=weight)
        made = [simulate(search, lambda s, d, r: r.random(), Random(i)) for i in range(30)]
        return sum(n.depth for nodes in made for n in nodes)

    assert widths(0.5) > widths(1.0) > widths(3.0), (
        "the deeper the place, the less (or more) a new child is worth there"
    )


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_every_choice_is_a_node_that_exists_and_a_seat_that_plays(seed, num_seats):
    seats = tuple("abc"[:num_seats])
    nodes = simulate(ABMCTS(12, GROWTH, seats), lambda s, d, r: r.random(), Random(seed))
    assert all(n.parent is None or n.parent < n.number for n in nodes)
    assert {n.seat for n in nodes} <= set(seats)


def test_the_same_stream_makes_the_same_tree():
    def tree():
        return simulate(ABMCTS(20, GROWTH, ("a", "b")), lambda s, d, r: r.random(), stream(5, "x"))

    assert tree() == tree()


@pytest.mark.parametrize("search", [BestOf(4, GROWTH), Beam(2, 2, 3, GROWTH), ABMCTS(8, GROWTH, ("a", "b"))])
def test_searches_go_through_json(search):
    assert from_json(to_json(search)) == search


@pytest.mark.parametrize(
    "make",
    [
        lambda: BestOf(0, GROWTH),
        lambda: Beam(0, 1, 1, GROWTH),
        lambda: ABMCTS(8, GROWTH, ()),
        lambda: ABMCTS(8, GROWTH, ("a", "a")),
        lambda: ABMCTS(8, GROWTH, prior=(0.0, 1.0)),
    ],
)
def test_a_search_that_cannot_be_is_refused(make):
    with pytest.raises(BadInput):
        make()


# ---------------------------------------------------------------- beside another implementation


SHAPES = {
    "refining helps": lambda depth, rng: min(0.9, 0.3 * depth) * rng.random(),
    "refining hurts": lambda depth, rng: rng.random() / depth,
    "nothing matters": lambda depth, rng: rng.random(),
}


@pytest.mark.parametrize("name", SHAPES)
def test_trees_have_the_shape_that_treequest_gives_them(name):
    """The same posteriors, another program: mean depth and number of root children agree within noise."""
    treequest = pytest.importorskip("treequest")
    numpy.random.seed(0)  # scipy, which it draws with, takes no stream
    worth, num_runs, num_nodes = SHAPES[name], 300, 16
    ours, theirs = [], []
    for seed in range(num_runs):
        rng = Random(seed)
        ours.append([n.depth for n in simulate(ABMCTS(num_nodes, GROWTH), lambda s, d, r: worth(d, r), rng)])
        algorithm = treequest.ABMCTSA(dist_type="beta")
        state = algorithm.init_tree()

        def make(parent, rng=rng):
            depth = 1 if parent is None else parent + 1
            return depth, worth(depth, rng)

        for _ in range(num_nodes):
            state = algorithm.step(state, {"agent": make}, inplace=True)
        theirs.append([depth for depth, _ in algorithm.get_state_score_pairs(state)])
    for what in (lambda depths: sum(depths) / num_nodes, lambda depths: depths.count(1)):
        a, b = [what(d) for d in ours], [what(d) for d in theirs]
        mean_a, mean_b = sum(a) / num_runs, sum(b) / num_runs
        spread = sum((x - mean_a) ** 2 for x in a) + sum((x - mean_b) ** 2 for x in b)
        assert abs(mean_a - mean_b) < 4 * (spread / num_runs**2) ** 0.5, (mean_a, mean_b)
