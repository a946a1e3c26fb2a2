import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch

from evolvent.credit.batch import assign, rows_of
from evolvent.envs import Toolbox, calc
from evolvent.errors import BadInput
from evolvent.models import ModelSpec, build, build_tokenizer
from evolvent.policies import LocalPolicy
from evolvent.records import Message, Outcome, ToolCall, said
from evolvent.rewards import by_task, judge_episodes
from evolvent.rollouts.play import play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer, Demonstrate, ToolLoop, single
from evolvent.training.losses import Likelihood, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.update import update


def say(puppet, text):
    return lambda prompt: puppet.renderer.reply(said("assistant", text), prompt.tools)


async def talk(task, team, world):
    await team["agent"].say(*task.prompt)
    for _ in range(20):
        await team["agent"].say(said("user", "more"))
    return Answer("never")


@pytest.mark.parametrize(
    ("budgets", "words", "reason"),
    [
        (Budgets(6, 200, 200), "1234567", "turn"),
        (Budgets(30, 60, 200), "12345", "context"),
        (Budgets(30, 250, 20), "12345", "episode"),
        (Budgets(6, 8, 200), "1234567", "context"),
    ],
)
def test_each_budget_cuts_and_says_so(budgets, words, reason, puppet, stage, attempts):
    puppet.speak = say(puppet, words)
    asked = [replace(a, task=replace(a.task, prompt=(said("user", "1"),))) for a in attempts(3)]
    episodes = judge_episodes(by_task, play(asked, stage(puppet, workflow=talk, budgets=budgets, world=Toolbox(()))))
    for episode in episodes:
        (trace,) = episode.traces
        assert (episode.outcome, trace.truncation, episode.answer) == (Outcome.AGENT_FAILED, reason, "")
        assert trace.score.value == 0.0
        assert sum(trace.mask) <= budgets.episode_tokens
        assert len(trace.tokens) <= budgets.context_tokens + 20  # a message heard at the end may lie beyond it
        assert all(sum(t.mask) <= budgets.turn_tokens for t in trace.turns)


def test_a_turn_that_just_fits_is_not_cut(puppet, stage, attempts):
    puppet.speak = say(puppet, "12345")  # and its end mark: six tokens
    (episode,) = play(attempts(1), stage(puppet, workflow=single, budgets=Budgets(6, 250, 6)))
    assert (episode.outcome, episode.answer, episode.traces[0].truncation) == (Outcome.OK, "12345", "")


def test_a_prompt_longer_than_the_context_is_refused_by_name(puppet, stage, attempts):
    (long,) = (replace(a, task=replace(a.task, prompt=(said("user", "1" * 300),))) for a in attempts(1))
    with pytest.raises(BadInput, match="longer than the context") as error:
        play([long], stage(puppet))
    assert long.task.task_id in error.value.where
    assert "budgets.context_tokens" in error.value.cure


def test_a_long_answer_of_a_tool_ends_the_episode_at_its_context(puppet, stage, attempts):
    def long(expression: str) -> str:
        """A long answer."""
        return "9" * 400

    (episode,) = play(attempts(1), stage(puppet, world=Toolbox((long,))))
    assert (episode.outcome, episode.traces[0].truncation) == (Outcome.AGENT_FAILED, "context")


def test_an_error_of_a_tool_is_an_observation(puppet, stage, attempts):
    tools = Toolbox((calc,)).open(attempts(1)[0].task, 0).tools("agent")
    wrong = puppet.renderer.reply(Message("assistant", (ToolCall("calc", {"expression": "1/0"}),)), tools)
    puppet.speak = lambda p: say(puppet, "sorry")(p) if p.messages[-1].role == "tool" else wrong
    (episode,) = play(attempts(1), stage(puppet))
    result = episode.traces[0].turns[2].message.blocks[0]
    assert (result.is_error, episode.outcome, episode.answer) == (True, Outcome.OK, "sorry")
    assert "division by zero" in result.text


def test_a_call_that_cannot_be_read_is_answered(puppet, stage, attempts):
    def other(a: int, b: int) -> int:
        """Another tool."""
        return a + b

    ids = puppet.renderer.added
    bad = (ids["<|call|>"], *b"nonsense", ids["<|end_call|>"])
    puppet.speak = lambda p: say(puppet, "sorry")(p) if p.messages[-1].role == "tool" else bad
    (episode,) = play(attempts(1), stage(puppet, world=Toolbox((calc, other))))
    assert "cannot read the call" in episode.traces[0].turns[2].message.text
    assert episode.answer == "sorry"


def test_calls_without_end_are_cut_at_the_last_turn(puppet, stage, attempts):
    call = Message("assistant", (ToolCall("calc", {"expression": "1"}),))
    puppet.speak = lambda p: puppet.renderer.reply(call, p.tools)
    (episode,) = play(attempts(1), stage(puppet, workflow=ToolLoop(max_turns=3)))
    assert (episode.outcome, episode.answer) == (Outcome.AGENT_FAILED, "")
    assert [t.message.role for t in episode.traces[0].turns].count("assistant") == 3


def test_several_calls_in_one_turn_are_all_carried_out(puppet, stage, attempts):
    both = Message("assistant", tuple(ToolCall("calc", {"expression": e}) for e in ("1+1", "2+2")))
    puppet.speak = lambda p: (
        say(puppet, "ok")(p) if p.messages[-1].role == "tool" else puppet.renderer.reply(both, p.tools)
    )
    (episode,) = play(attempts(1), stage(puppet))
    turns = episode.traces[0].turns
    assert [t.message.text for t in turns if t.message.role == "tool"] == ["2", "4"]
    assert "<|tool|>2<|tool|>4<|assistant|>" in puppet.renderer.text(episode.traces[0].tokens)


def test_a_seat_must_hear_before_it_speaks(puppet, stage, attempts):
    async def silent(task, team, world):
        await team["agent"].say(*task.prompt)
        return Answer((await team["agent"].say()).text)

    puppet.speak = say(puppet, "a")
    with pytest.raises(BadInput, match="must hear something"):
        play(attempts(1), stage(puppet, workflow=silent))


def test_a_demonstration_records_masks_and_the_tools_own_results(nano, stage, attempts):
    asked = attempts(4, level=2)
    for attempt, episode in zip(asked, play(asked, stage(nano, workflow=Demonstrate())), strict=True):
        (trace,) = episode.traces
        call = attempt.task.private.solution[0].calls[0]
        assert [t.message.role for t in trace.turns] == ["user", "assistant", "tool", "assistant"]
        assert trace.turns[2].message.text == calc(**call.arguments) == attempt.task.private.answer == episode.answer
        for turn in trace.turns:
            assert set(turn.mask) == {turn.message.role == "assistant"}
            assert (turn.sampled_logprobs, turn.version, turn.sampling) == ((), -1, None)
            if turn.message.role == "assistant":
                said_again = nano.renderer.parse(turn.tokens, Toolbox((calc,)).open(attempt.task, 0).tools("agent"))
                assert [c.arguments for c in said_again.calls] == [c.arguments for c in turn.message.calls]
                assert said_again.text == turn.message.text


def test_a_share_of_the_demonstrations_answers_at_once(nano, stage, attempts):
    asked = attempts(200)
    direct = [not e.used_tool for e in play(asked, stage(nano, workflow=Demonstrate(0.5)))]
    assert 70 < sum(direct) < 130
    assert direct == [not e.used_tool for e in play(asked, stage(nano, workflow=Demonstrate(0.5)))]
    for share, num in ((0.0, 0), (1.0, 20)):
        assert sum(not e.used_tool for e in play(asked[:20], stage(nano, workflow=Demonstrate(share)))) == num


def test_a_task_without_a_worked_solution_is_shown_its_answer(nano, stage, attempts):
    (one,) = attempts(1)
    bare = replace(one, task=replace(one.task, private=replace(one.task.private, solution=())))
    (episode,) = play([bare], stage(nano, workflow=Demonstrate()))
    assert episode.answer == one.task.private.answer
    assert not episode.used_tool


def test_what_cannot_be_demonstrated_is_refused(nano, stage, attempts):
    from evolvent.policies import Fixed

    (one,) = attempts(1)
    bare = replace(one, task=replace(one.task, private=None))
    with pytest.raises(BadInput, match="cannot be demonstrated"):
        play([bare], stage(nano, workflow=Demonstrate()))
    with pytest.raises(BadInput, match="needs a local policy"):
        play([one], stage(Fixed("a"), workflow=Demonstrate()))


def test_demonstrations_respect_the_budgets(nano, stage, attempts):
    budgets = Budgets(40, 250, 5)
    (episode,) = play(attempts(1, level=3), stage(nano, workflow=Demonstrate(), budgets=budgets))
    assert (episode.outcome, episode.traces[0].truncation) == (Outcome.AGENT_FAILED, "episode")


def test_the_gradient_at_words_of_others_is_exactly_zero(stage, attempts):
    tokenizer = build_tokenizer()
    policy = LocalPolicy(build(ModelSpec(depth=1, max_context=256), tokenizer, 0), tokenizer, engine="generic")
    episodes = judge_episodes(by_task, play(attempts(3), stage(policy, workflow=Demonstrate())))
    batch = assign(episodes, "agent", lambda scores: [1.0] * len(scores))
    seen = {}

    def watch(_, __, logits_BTV):
        logits_BTV.register_hook(lambda gradient: seen.update(gradient_BTV=gradient))

    policy.model.lm_head.register_forward_hook(watch)
    begun = AdamW(lr=1e-3).begin(policy.named_parameters())
    update(policy, begun, batch, Likelihood(token_mean), micro_tokens=4096, max_logprob_gap=1.0)
    rows = sorted(batch.rows, key=lambda r: (-len(r.tokens), r.trace))
    longest = len(rows[0].tokens)
    mask_BT = torch.tensor([[*r.mask.tolist(), *[False] * (longest - len(r.mask))] for r in rows])
    touched_BT = seen["gradient_BTV"].abs().sum(-1) > 0
    assert torch.equal(touched_BT, mask_BT[:, 1:])
    assert not touched_BT.all()


def test_a_seat_can_be_used_by_hand(puppet, stage, attempts):
    from evolvent.rollouts.seat import Seat

    async def sampler(name, prompt, how):
        return (await puppet.sample([prompt], how))[0]

    made = stage(puppet)
    puppet.speak = say(puppet, "hi")
    task = attempts(1)[0].task
    seat = Seat(task, 0, name="me", policy="agent", renderer=puppet.renderer, sampler=sampler, how=made.how,
                budgets=made.budgets)  # fmt: skip
    assert asyncio.run(seat.say(*task.prompt)).text == "hi"
    assert [t.parent for t in seat.turns] == [None, f"{task.task_id}/0/me/0"]
    assert seat.turns[0].starts_context


# ---------------------------------------------------------------- contexts that go back, replies that go on


async def three_tries(task, team, world):
    seat = team["agent"]
    await seat.say(*task.prompt, max_tokens=6)
    mark = seat.mark()
    for words in ("again", "once more"):
        seat.go_back(mark)
        await seat.say(said("user", words), max_tokens=6)
    seat.go_back()
    reply = await seat.say(said("user", "anew"), max_tokens=6)
    return Answer(reply.text or "nothing")


def test_a_seat_that_goes_back_starts_contexts_that_repeat_the_recorded_ids_and_train_them_once(
    puppet, stage, attempts
):
    puppet.speak = say(puppet, "12")
    (episode,) = judge_episodes(by_task, play(attempts(1), stage(puppet, workflow=three_tries, world=Toolbox(()))))
    (trace,) = episode.traces
    starts = [turn for turn in trace.turns if turn.starts_context]
    assert len(starts) == 4
    asked = [prompt for batch in puppet.asked for prompt in batch]
    first = (*asked[0].tokens, *puppet.made[0][1].tokens)
    for k in (1, 2):
        assert asked[k].tokens[: len(first)] == first
        assert asked[k].continues == puppet.made[0][1].call_id
    assert starts[1].parent == starts[2].parent == trace.turns[1].turn_id
    assert starts[3].parent is None
    assert asked[3].continues is None
    assert asked[3].tokens == puppet.renderer.open((said("user", "anew"),))
    rows = rows_of(trace, ("t", "agent"), 1.0)
    assert [row.num_targets for row in rows] == [3, 3, 3, 3]  # "12" and its end, each once
    for row, prompt, (_, made) in zip(rows, asked, puppet.made, strict=True):
        assert tuple(row.tokens) == (*prompt.tokens, *made.tokens)


async def stops_and_goes_on(task, team, world):
    seat = team["agent"]
    first = await seat.say(*task.prompt, stops=("</search>",))
    second = await seat.go_on("[42]", stops=("</search>",))
    third = await seat.say(said("user", "well?"))
    return Answer(f"{first.text}|{second.text}|{third.text}")


def test_a_reply_that_stops_goes_on_behind_words_that_are_not_its_own(puppet, stage, attempts):
    spoken = iter([puppet.renderer.plain("<search>x</search>"), puppet.renderer.plain("so</search>"), None])

    def speak(prompt):
        said_now = next(spoken)
        return puppet.renderer.reply(said("assistant", "7"), ()) if said_now is None else said_now

    puppet.speak = speak
    (episode,) = play(attempts(1), stage(puppet, workflow=stops_and_goes_on, world=Toolbox(())))
    (trace,) = episode.traces
    assert episode.answer == "<search>x</search>|so</search>|7"
    assert [prompt.stops for batch in puppet.asked for prompt in batch] == [("</search>",), ("</search>",), ()]
    (row,) = rows_of(trace, ("t", "agent"), 1.0)
    text = puppet.renderer.text(tuple(row.tokens))
    assert "<search>x</search>[42]so</search>" in text
    own = puppet.renderer.text(tuple(t for t, m in zip(row.tokens, row.mask, strict=True) if m))
    last = puppet.renderer.text(puppet.made[-1][1].tokens)
    assert own == "<search>x</search>so</search>" + last
    # the context is what a template would have made of one whole reply
    whole = puppet.renderer.open(attempts(1)[0].task.prompt)
    whole += puppet.renderer.reply(said("assistant", "<search>x</search>[42]so</search>"), ())
    whole += puppet.renderer.extend((said("user", "well?"),))
    assert puppet.asked[-1][0].tokens == whole


def test_a_reply_that_has_ended_cannot_go_on(puppet, stage, attempts):
    async def goes_on(task, team, world):
        await team["agent"].say(*task.prompt)
        await team["agent"].go_on("x")
        return Answer("never")

    puppet.speak = say(puppet, "12")
    with pytest.raises(BadInput, match="no reply to go on with"):
        play(attempts(1), stage(puppet, workflow=goes_on, world=Toolbox(())))


def test_a_limit_of_ones_own_is_no_cut(puppet, stage, attempts):
    async def short(task, team, world):
        reply = await team["agent"].say(*task.prompt, max_tokens=2)
        return Answer(reply.text)

    puppet.speak = say(puppet, "12345")
    (episode,) = play(attempts(1), stage(puppet, workflow=short))
    assert (episode.outcome, episode.answer, episode.traces[0].truncation) == (Outcome.OK, "12", "")


def test_real_weights_continue_a_mark_as_they_would_from_the_whole_prompt(nano, stage, attempts):
    (episode,) = play(attempts(1), stage(nano, workflow=three_tries, world=Toolbox(()), budgets=Budgets(9, 250, 60)))
    rows = rows_of(episode.traces[0], ("t", "agent"), 1.0)
    assert rows
    for row in rows:
        fresh_M, _ = nano.logprobs(nano.lay_out(row.tokens[None], row.mask[None]))
        assert np.abs(fresh_M.detach().numpy() - row.sampler_logprobs[row.mask]).max() < 1e-4
