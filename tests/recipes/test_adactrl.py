import pytest
import torch

from evolvent import build_policy
from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox
from evolvent.models import ModelSpec
from evolvent.recipes import adactrl
from evolvent.recipes.adactrl import EASY, HARD, Budgeted, Forced, Tagged, by_label, short_if_right, tag_of
from evolvent.records import Episode, Message, Origin, Private, Reference, Sampling, Task, Trace, Turn, said
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets

torch.set_num_threads(1)


def attempts(replies):
    """Attempts at a question whose answer is 7, each as (reply, tokens written)."""
    judge = Reference("evolvent.tasks.procedural.follow:check")
    task = Task("t", "f", 1, (said("user", "?"),), Private("7"), judge, Origin("hand"))
    return [Episode(f"t/{i}", task, i, (trace(i, num),), reply) for i, (reply, num) in enumerate(replies)]


def trace(sample, num):
    turn = Turn("t", None, "agent", 0, Message("assistant", ()), tokens=(1,) * num, mask=(True,) * num)
    return Trace("t", sample, "agent", "p", (turn,))


def test_length_rewards_of_both_managers():
    shares = (0, 0.25, 0.5, 0.75, 1)
    easy, hard = [1, 0.8536, 0.5, 0.1464, 0], [0, 0.1464, 0.5, 0.8536, 1]
    assert [short_if_right(EASY, HARD, True, s) for s in shares] == pytest.approx(easy, abs=1e-4)
    assert [by_label(EASY, EASY, False, s) for s in shares] == pytest.approx(easy, abs=1e-4)
    assert [by_label(HARD, HARD, False, s) for s in shares] == pytest.approx(hard, abs=1e-4)
    assert (
        short_if_right(EASY, EASY, False, 0)
        == short_if_right(HARD, HARD, True, 1)
        == by_label(EASY, HARD, True, 0)
        == 0
    )


def test_a_correct_easy_reply_of_half_the_length():
    # 1 + 0.5 * (1 + cos(pi / 2)) / 2 + 0.5 * 1 = 1.75; its sibling has l = L: 1 + 0 + 0.5
    first, second = Budgeted()(attempts([(f"{EASY} 7", 4), (f"{EASY} 7", 8)]))
    assert (first.value, second.value) == pytest.approx((1.75, 1.5))


@pytest.mark.parametrize(("num_right", "is_easy"), [(10, 0.0), (11, 1.0)])
def test_ten_of_sixteen_are_hard_and_eleven_easy(num_right, is_easy):
    replies = [(f"{EASY} 7", 4)] * num_right + [(f"{EASY} 1", 4)] * (16 - num_right)
    scores = Budgeted()(attempts(replies))
    assert {s.components["is_easy"] for s in scores} == {is_easy}
    assert {s.components["difficulty"] for s in scores} == {is_easy}


def test_a_wrong_tag_is_worth_nothing_and_none_is_punished():
    # nobody is right, so the question is hard: -1 + 0.5, -1 + 0, -1 - 0.5
    scores = Budgeted()(attempts([(f"{HARD} 1", 4), (f"{EASY} 1", 4), ("1", 4)]))
    assert [s.value for s in scores] == [-0.5, -1.0, -1.5]
    assert [tag_of(r) for r in (" [Easy] 7", "[easy] 7", "[Hard]7", "")] == ["", "", HARD, ""]


def test_parts_survive_json():
    for part in (Budgeted(length=by_label), Forced(EASY), Tagged(0.8)):
        assert from_json(to_json(part)) == part


def played(workflow, num=24, level=1):
    policy = build_policy(ModelSpec(depth=1, max_context=128), name="agent", seed=0)
    how = Sampling(24, seed=1)
    stage = Stage(workflow, Toolbox(()), {"agent": policy}, {"agent": "agent"}, how, Budgets(24, 96, 24))
    return play([Attempt(adactrl.arrows().task("follow", level, i), 0) for i in range(num)], stage), policy


def test_demonstrations_are_right_and_have_either_tag_at_either_length():
    episodes, _ = played(Tagged(0.8), num=200, level=3)
    assert all(e.task.judge.load()(e.task, e.answer).value == 1.0 for e in episodes)
    kinds = [(tag_of(e.answer), int(len(e.answer) > 9)) for e in episodes]
    assert {kind: kinds.count(kind) > 10 for kind in kinds} == {(t, n): True for t in (EASY, HARD) for n in (0, 1)}
    assert kinds.count((EASY, 0)) > 2 * kinds.count((EASY, 1))


def test_a_forced_tag_stands_in_the_context_and_is_not_trained_on():
    episodes, policy = played(Forced(HARD))
    words = policy.renderer.plain(HARD)
    for episode in episodes:
        heard, *spoken = episode.traces[0].turns
        assert heard.tokens[-len(words) :] == words and not any(heard.mask)
        assert all(turn.message.text.startswith(HARD) for turn in spoken)
        assert all(turn.tokens[: len(words)] != words for turn in spoken)
