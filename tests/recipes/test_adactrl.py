import random
from statistics import fmean

import pytest
import torch

from evolvent import build_policy
from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox, calc
from evolvent.models import ModelSpec
from evolvent.recipes.adactrl import (
    EASY,
    HARD,
    Budgeted,
    Glances,
    Shown,
    Tagged,
    by_label,
    glance,
    opening,
    short_if_right,
    tag_of,
)
from evolvent.records import (
    Episode,
    Message,
    Origin,
    Private,
    Reference,
    Sampling,
    Task,
    Text,
    ToolCall,
    Trace,
    Turn,
    said,
)
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets

torch.set_num_threads(1)


def attempts(replies):
    """Attempts at a question whose answer is 7, each as (tag, answer, tokens written)."""
    judge = Reference("evolvent.rewards:numeric")
    task = Task("t", "f", 1, (said("user", "?"),), Private("7"), judge, Origin("hand"))
    return [Episode(f"t/{i}", task, i, (trace(i, tag, num),), answer) for i, (tag, answer, num) in enumerate(replies)]


def trace(sample, tag, num):
    """A call behind a tag, and the answer without one."""
    first, last = Message("assistant", (Text(tag), ToolCall("calc", {"expression": "7"}))), said("assistant", "7")
    turns = [
        Turn(f"t/{rank}", None, "agent", rank, message, tokens=(1,) * length, mask=(True,) * length)
        for rank, (message, length) in enumerate([(first, num - 1), (last, 1)])
    ]
    return Trace("t", sample, "agent", "p", tuple(turns))


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
    first, second = Budgeted()(attempts([(EASY, "7", 4), (EASY, "7", 8)]))
    assert (first.value, second.value) == pytest.approx((1.75, 1.5))


@pytest.mark.parametrize(("num_right", "is_easy"), [(10, 0.0), (11, 1.0)])
def test_ten_of_sixteen_are_hard_and_eleven_easy(num_right, is_easy):
    replies = [(EASY, "7", 4)] * num_right + [(EASY, "1", 4)] * (16 - num_right)
    scores = Budgeted()(attempts(replies))
    assert {s.components["is_easy"] for s in scores} == {is_easy}
    assert {s.components["difficulty"] for s in scores} == {is_easy}


def test_a_wrong_tag_is_worth_nothing_and_none_is_punished():
    # nobody is right, so the question is hard: -1 + 0.5, -1 + 0, -1 - 0.5
    scores = Budgeted()(attempts([(HARD, "1", 4), (EASY, "1", 4), ("", "1", 4)]))
    assert [s.value for s in scores] == [-0.5, -1.0, -1.5]
    assert [tag_of(r) for r in (" [Easy] 7", "[easy] 7", "[Hard]7", "")] == ["", "", HARD, ""]


def test_parts_survive_json():
    for part in (Budgeted(length=by_label), Tagged(EASY), Shown(0.75, 0.9), Glances(7)):
        assert from_json(to_json(part)) == part


def test_a_product_with_nothing_falls_away():
    for i in range(50):
        draft = glance(random.Random(i))
        assert calc(draft.question[:-1]) == draft.answer and len(draft.answer) == 1


def played(workflow, num=24, level=1):
    policy = build_policy(ModelSpec(depth=1, max_context=128), name="agent", seed=0)
    how = Sampling(24, seed=1)
    stage = Stage(workflow, Toolbox((calc,)), {"agent": policy}, {"agent": "agent"}, how, Budgets(40, 128, 64))
    return play([Attempt(Glances().task("glances", level, i), 0) for i in range(num)], stage), policy


@pytest.mark.parametrize("level", [1, 2])
def test_demonstrations_are_right_and_have_either_tag_at_either_length(level):
    episodes, _ = played(Shown(0.7, 0.8), num=200, level=level)
    assert all(e.task.judge.load()(e.task, e.answer[len(tag_of(e.answer)) :]).value == 1.0 for e in episodes)
    uses = {tag: [e.used_tool for e in episodes if tag_of(opening(e)) == tag] for tag in (EASY, HARD)}
    fitting, other = uses[(EASY, HARD)[level - 1]], uses[(HARD, EASY)[level - 1]]
    assert len(fitting) + len(other) == 200 and len(fitting) == pytest.approx(140, abs=20)
    assert 0 < fmean(uses[EASY]) < 0.4 and 0.6 < fmean(uses[HARD]) < 1


def test_a_forced_tag_stands_in_the_context_and_is_not_trained_on():
    episodes, policy = played(Tagged(HARD))
    words = policy.renderer.plain(HARD)
    for episode in episodes:
        heard, *spoken = episode.traces[0].turns
        assert heard.tokens[-len(words) :] == words and not any(heard.mask)
        assert all(turn.message.text.startswith(HARD) for turn in spoken[:1])
        assert all(turn.tokens[: len(words)] != words for turn in spoken)
