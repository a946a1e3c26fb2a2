import asyncio
import itertools
from dataclasses import replace

import pytest

from evolvent.envs.games import FIRST, SECOND, Nim
from evolvent.errors import BadInput
from evolvent.records import ToolCall, said
from evolvent.tasks.positions import NimGames


def game(heaps, most_taken=3):
    task = replace(NimGames().task("nim", 1, 0), prompt=(said("user", f"{heaps} (train 0)"),))
    return Nim(most_taken).open(task, seed=5)


def say(world, move):
    (seat,) = world.to_move
    return asyncio.run(world.step({seat: said("assistant", move)}))


def test_a_game_by_hand():
    world = game("5 1")
    assert (world.to_move, world.observe(FIRST)[0].text) == ((FIRST,), "5 1")
    assert world.moves == ("a1", "a2", "a3", "b1")
    assert say(world, "a3")[SECOND].observation[0].text == "2 1"
    assert world.to_move == (SECOND,)
    say(world, "a2")
    ended = say(world, "b1")
    assert world.to_move == ()
    assert (world.winner, world.broke_rules) == (FIRST, False)
    assert {seat: step.reward_components["return"] for seat, step in ended.items()} == {FIRST: 1.0, SECOND: -1.0}


@pytest.mark.parametrize("move", ["a4", "b1", "a0", "", "a", "three", "a1 a1", "A1"])
def test_who_says_something_else_loses(move):
    world = game("5")
    say(world, move)
    assert (world.winner, world.broke_rules) == (SECOND, True)


def wins(heaps, most):
    """Whether the side to move wins, by trying everything."""
    after = [(*heaps[:i], h - n, *heaps[i + 1 :]) for i, h in enumerate(heaps) for n in range(1, min(h, most) + 1)]
    return any(not wins(left, most) for left in after)


@pytest.mark.parametrize("most", [2, 3, 7])
def test_best_moves_are_those_that_win_when_everything_is_tried(most):
    for heaps in itertools.product(range(5), repeat=2):
        if any(heaps):
            world = game(" ".join(map(str, heaps)), most)
            lost = {m for m in world.moves if not wins(tuple(left(heaps, m)), most)}
            assert set(world.best_moves) == (lost or set(world.moves))


def left(heaps, move):
    return [h - int(move[1:]) * (i == ord(move[0]) - ord("a")) for i, h in enumerate(heaps)]


def test_a_snapshot_brings_the_state_back():
    world = game("5")
    before, digest = world.snapshot(), world.state_digest()
    say(world, "a9")
    assert world.winner and world.state_digest() != digest
    world.restore(before)
    assert (world.winner, world.broke_rules, world.to_move) == ("", False, (FIRST,))
    assert world.state_digest() == digest


def test_nobody_moves_out_of_turn_and_there_is_nothing_to_call():
    world = game("5")
    with pytest.raises(BadInput, match="not their turn"):
        asyncio.run(world.step({SECOND: said("assistant", "a1")}))
    assert asyncio.run(world.call(FIRST, ToolCall("calc", {}))).is_error
    assert world.tools(FIRST) == ()


def test_what_is_no_position_is_refused():
    for heaps in ("", "x", "0", "-3", "0 0"):
        with pytest.raises(BadInput, match="no position"):
            game(heaps)
    with pytest.raises(BadInput, match="no such heaps"):
        NimGames(most=0)


def test_games_of_the_two_splits_share_no_question():
    source = NimGames(num_heaps=2, most=9)
    asked = {split: {source.task("nim", 1, i, split).question for i in range(200)} for split in ("train", "test")}
    assert len(asked["train"]) == len(asked["test"]) == 200
    assert not asked["train"] & asked["test"]
    assert source.task("nim", 1, 7) == source.task("nim", 1, 7)
