"""What a challenger and its solver earn, by hand."""

from dataclasses import replace

import pytest

from evolvent.recipes.r_zero import Challenge, smaller, tent, vote
from evolvent.records import Episode, Trace
from evolvent.rewards.repetition import Repetition, characters
from evolvent.synthesis.exercises import DrawnExercises

TASK = DrawnExercises().task("exercise", 1, 0)
JUDGE = Challenge(repetition=Repetition(characters, max_order=2))


def episode(sample, problem, answers, reference="7", refused=""):
    attempts = {f"solver/{i}": words for i, words in enumerate(answers, start=1)}
    info = {"problem": problem, "reference": reference, "refused": refused, "attempts": attempts}
    return Episode(f"t/{sample}", TASK, sample, (Trace(TASK.task_id, sample, "setter", "setter", ()),), info=info)


@pytest.mark.parametrize(
    ("share", "paid", "in_code"), [(0, 0, 0), (0.25, 0.5, 0.25), (0.5, 1, 0.5), (0.9, 0.2, 0.1), (1, 0, 0)]
)
def test_uncertainty_pays_most_where_half_agree(share, paid, in_code):
    assert tent(share) == pytest.approx(paid)
    assert smaller(share) == pytest.approx(in_code)
    assert tent(share) == pytest.approx(2 * smaller(share))


def test_a_vote_counts_numbers_and_words_count_against_it():
    assert vote(episode(0, "3+4", ["7", "7", "8", "seven"])) == ("7", 0.5)
    assert vote(episode(0, "3+4", ["", "?", "", ""])) == (None, 0.0)


def test_a_group_of_questions_by_hand():
    """Half agree on 7 for 3+4, all on 9 for 50*6; the third asks 3+4 again, and the fourth asks nothing."""
    group = [
        episode(0, "3+4", ["7", "7", "8", "9"]),
        episode(1, "50*6", ["9", "9", "9", "9"], reference="300"),
        episode(2, "3+4", ["7", "7", "7", "6"]),
        episode(3, "", ["1", "2", "3", "4"], refused="unreadable"),
    ]
    judged = JUDGE(group)
    # two of three questions are one cluster: 2/3 and 1/3
    paid = [scores["setter"].value for scores in judged]
    assert paid == pytest.approx([1 - 2 / 3, 0 - 1 / 3, 0.5 - 2 / 3, -1])
    solved = [[scores[f"solver/{i}"].value for i in range(1, 5)] for scores in judged]
    # 1/2 and 3/4 lie within 0.3 to 0.8; what all agree on teaches nothing, and neither does 1/4
    assert solved == [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    told = judged[0]["setter"].components
    assert (told["unique"], told["agreement"], told["label_right"]) == (0.5, 0.5, 1.0)
    assert "label_right" not in judged[1]["setter"].components
    assert judged[3]["setter"].components["readable"] == 0.0


def test_without_a_penalty_equal_questions_cost_nothing():
    group = [episode(i, "3+4", ["7", "7", "8", "9"]) for i in range(3)]
    assert [s["setter"].value for s in JUDGE(group)] == [0.0] * 3
    assert [s["setter"].value for s in replace(JUDGE, penalty=0.0)(group)] == [1.0] * 3


def test_the_truth_is_in_no_reward():
    group = [episode(0, "3+4", ["7", "7", "8", "9"], reference=r) for r in ("7", "8")]
    right, wrong = (JUDGE([one])[0] for one in group)
    assert {seat: s.value for seat, s in right.items()} == {seat: s.value for seat, s in wrong.items()}
    assert (right["setter"].components["label_right"], wrong["setter"].components["label_right"]) == (1.0, 0.0)
