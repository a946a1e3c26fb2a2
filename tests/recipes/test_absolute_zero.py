"""What proposers and solvers earn, by hand, and whom they are compared with."""

import pytest

from evolvent.recipes.absolute_zero import Learnable, by_mode_and_role, learnability
from evolvent.records import Episode, Origin, Trace, Turn, said
from evolvent.rewards.programs import DEDUCTION
from evolvent.rollouts.selfplay import UNREADABLE
from evolvent.synthesis.programs import USELESS, Triplets, pose

SEED = Triplets().task(DEDUCTION, 1, 0)
POSED = pose(DEDUCTION, "x*2+1", [3], "t", Origin("by hand"))


def episode(answers=(), refused=""):
    attempts = {f"solver/{i}": words for i, words in enumerate(answers, start=1)}
    info = {"refused": refused, "posed": None if refused else POSED, "attempts": attempts}
    seats = ("setter", *attempts)
    turns = {seat: (Turn(seat, None, seat, 0, said("assistant", "x"), call_id=seat),) for seat in seats}
    return Episode("t/0", SEED, 0, tuple(Trace("t", 0, s, "agent", turns[s]) for s in seats), info=info)


@pytest.mark.parametrize(("solved", "paid"), [(0, 0), (0.25, 0.75), (0.5, 0.5), (1, 0)])
def test_what_nobody_and_what_everybody_solves_pays_nothing(solved, paid):
    assert learnability(solved) == paid


def test_an_episode_by_hand():
    [scores] = Learnable()([episode(["7", "7", "8", "seven"])])
    assert scores["setter"].value == 0.5  # 1 - 2/4
    assert [scores[f"solver/{i}"].value for i in range(1, 5)] == [1.0, 1.0, -0.5, -1.0]
    assert [s["setter"].value for s in Learnable()([episode(["8", "9"])])] == [0.0]


@pytest.mark.parametrize(("refused", "paid"), [(USELESS, -0.5), (UNREADABLE, -1.0)])
def test_what_is_refused_costs_by_how_bad_it_is(refused, paid):
    [scores] = Learnable()([episode(refused=refused)])
    assert {seat: score.value for seat, score in scores.items()} == {"setter": paid}


def test_by_lot_only_the_named_role_is_paid_by_chance():
    [true], [lot] = Learnable()([episode(["7", "8"])]), Learnable(by_lot=("solver",))([episode(["7", "8"])])
    assert lot["setter"] == true["setter"]
    assert {lot[seat].value for seat in ("solver/1", "solver/2")} <= {1.0, -1.0}
    assert lot["solver/1"].components == true["solver/1"].components


def test_each_mode_has_a_baseline_for_each_role():
    assert by_mode_and_role(("deduction-train-0-5", "setter")) == "deduction setter"
    assert by_mode_and_role(("induction-train-0-5", "solver", 3)) == "induction solver"
