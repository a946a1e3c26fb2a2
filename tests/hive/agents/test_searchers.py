import json
from random import Random

import pytest

from evolvent.errors import MissingExtra
from evolvent.hive.agents import search_optuna
from evolvent.hive.agents.search_optuna import Optuna
from evolvent.hive.agents.searchers import Anywhere, Crossover, HillClimb, Move, Tried, best_of, lineage
from evolvent.hive.space import read_space

WORDS = {
    "x": {"kind": "float", "low": -4.0, "high": 4.0},
    "rate": {"kind": "float", "low": 1e-4, "high": 1.0, "log": True},
    "order": {"kind": "int", "low": 1, "high": 9},
    "mix": {"kind": "choice", "values": [1, True, "a"]},
    "bit": {"kind": "bool"},
}
SPACE = read_space(json.dumps({"file": "params.json", "params": WORDS}).encode())
BITS = read_space(json.dumps({"file": "p.json", "params": {f"b{i}": {"kind": "bool"} for i in range(3)}}).encode())
START = SPACE.clip({"x": -4, "rate": 1e-4, "order": 9})
SEARCHERS = {
    "hill climb": HillClimb(SPACE),
    "crossover": Crossover(SPACE),
    "tpe": Optuna(SPACE, "tpe"),
    "cma": Optuna(SPACE, "cma"),
    "random": Anywhere(SPACE),
}


def worth(point):
    """Best at x = 1, rate = 0.01, order = 3, mix = true, bit = true: 0."""
    import math

    far = abs(point["x"] - 1) + abs(math.log10(point["rate"]) + 2) + abs(point["order"] - 3) / 2
    return -far - (point["mix"] is not True) - (not point["bit"])


def tried(number, point, parent=None, **more):
    given = {"worth": worth(point), "agent": f"agent-{number % 2}", **more}
    return Tried(point, commit=f"{number:040x}", parent=parent and f"{parent:040x}", number=number, **given)


def search(searcher, seed, num):
    seen = [tried(1, START)]
    while len(seen) < num:
        move = searcher.propose(Random(f"{seed} {len(seen)}"), seen)
        seen.append(tried(len(seen) + 1, move.point, move.parent and move.parent.number))
    return seen


@pytest.mark.parametrize("name", SEARCHERS)
def test_every_proposal_is_new_lies_in_the_space_and_comes_again_with_its_seed(name):
    seen = search(SEARCHERS[name], 7, 14)
    assert len({SPACE.key(one.point) for one in seen}) == len(seen)
    assert all(SPACE.check(one.point) == one.point for one in seen)
    assert search(SEARCHERS[name], 7, 14) == seen
    assert search(SEARCHERS[name], 8, 14) != seen


@pytest.mark.parametrize("name", ["hill climb", "tpe", "cma"])
def test_searchers_find_better_points_than_blind_draws(name):
    def reached(searcher):
        return sum(max(one.worth for one in search(searcher, seed, 40)) for seed in range(3)) / 3

    assert reached(SEARCHERS[name]) > reached(SEARCHERS["random"]) + 0.3


def test_an_evolution_strategy_goes_where_the_best_tries_are():
    rng = Random(3)
    seen = [tried(number, SPACE.draw(rng)) for number in range(1, 101)]
    moves = [SEARCHERS["cma"].propose(Random(seed), seen) for seed in range(12)]
    blind = [SPACE.draw(rng) for _ in range(200)]
    assert sum(worth(move.point) for move in moves) / 12 > sum(map(worth, blind)) / 200 + 1


def test_a_climb_steps_from_the_best_official_try_and_of_equal_ones_from_the_latest():
    good = {**START, "x": 1.0}
    seen = [tried(1, START), tried(2, good), tried(3, {**good, "mix": "a"}, worth=worth(good))]
    seen += [tried(4, {**good, "bit": True}, worth=None, is_open=True)]
    move = HillClimb(SPACE).propose(Random(0), seen)
    assert move.parent.number == 3


def test_a_crossover_finds_what_two_lineages_have_together_before_a_climb_does():
    left = {**START, "x": 1.0, "rate": 0.01}
    right = {**START, "order": 3, "mix": True, "bit": True}
    seen = [tried(1, START), tried(2, left, 1), tried(3, right, 1), tried(4, {**START, "x": -3.9}, 1)]

    def has_both(searcher, seed):
        point = searcher.propose(Random(seed), seen).point
        return point["x"] == 1.0 and point["order"] == 3 and point["bit"]

    assert sum(has_both(Crossover(SPACE), seed) for seed in range(100)) >= 5
    assert not any(has_both(HillClimb(SPACE), seed) for seed in range(100))


def test_the_parents_of_a_crossover_are_runs_that_raised_what_they_build_on():
    worse = [tried(n, {**START, "x": -4 + n / 99, "rate": 1.0}, 1, worth=-99.0 - n) for n in range(3, 9)]
    seen = [tried(1, START), tried(2, {**START, "x": 1.0}, 1), *worse]
    assert {Crossover(SPACE).propose(Random(seed), seen).how for seed in range(30)} == {"a step from the best"}


def test_a_crossover_of_one_lineage_is_a_climb():
    seen = [tried(1, START), tried(2, {**START, "x": 1.0}, 1)]
    assert Crossover(SPACE).propose(Random(1), seen).how == "a step from the best"


def test_a_lineage_ends_where_a_parent_is_not_seen_or_comes_again():
    one, other = tried(1, START, 2), tried(2, START, 1)
    assert lineage(one, {one.commit: one, other.commit: other}) == {one.commit, other.commit}
    assert lineage(one, {one.commit: one}) == {one.commit}


@pytest.mark.parametrize("kind", [HillClimb, Crossover, Anywhere, Optuna])
def test_a_space_that_was_tried_whole_leaves_nothing(kind):
    points = [{f"b{i}": bool(number >> i & 1) for i in range(3)} for number in range(8)]
    seen = [Tried(p, float(sum(p.values())), "a", f"{n:040x}", number=n) for n, p in enumerate(points)]
    assert kind(BITS).propose(Random(0), seen) is None
    last = kind(BITS).propose(Random(0), seen[:-1])
    assert isinstance(last, Move)
    assert last.point == points[-1]


def test_without_any_official_number_points_are_drawn():
    waiting = [tried(1, START, worth=None, is_open=True)]
    for searcher in SEARCHERS.values():
        assert searcher.propose(Random(0), []).parent is None
        assert searcher.propose(Random(0), waiting).how == "drawn anywhere"
    assert best_of(waiting) is None


def test_a_sampler_hears_of_invalid_and_of_open_tries():
    rng = Random(5)
    seen = [tried(number, SPACE.draw(rng)) for number in range(1, 30)]
    odd = [tried(30, SPACE.draw(rng), worth=None), tried(31, SPACE.draw(rng), worth=None, is_open=True)]
    for kind in ("tpe", "cma"):
        assert Optuna(SPACE, kind).propose(Random(1), seen + odd) is not None


def test_of_very_many_tries_a_sampler_hears_the_best_and_the_newest():
    rng = Random(6)
    seen = [tried(number, SPACE.draw(rng)) for number in range(1, 1501)]
    told = search_optuna.choose_told(seen, seen)
    assert len(told) == search_optuna.MAX_TOLD
    assert best_of(seen) in told
    assert seen[-400:] == told[-400:]
    assert [one.number for one in told] == sorted(one.number for one in told)
    assert search_optuna.choose_told(seen[:900], seen[:900]) == seen[:900]


def test_without_optuna_the_cure_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"evolvent\[search\]"):
        search_optuna.Optuna(SPACE, "tpe")
