from dataclasses import replace

import numpy as np
import pytest

from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import Standardized
from evolvent.credit.batch import assign
from evolvent.envs import Interpreter, Toolbox
from evolvent.errors import BadInput
from evolvent.recipes import retool
from evolvent.recipes.retool import Traces, in_code, in_words, python
from evolvent.records import Message, Private, Text, ToolCall, said
from evolvent.rewards import judge_episodes
from evolvent.rollouts.play import Attempt, play
from evolvent.tasks.tallies import Tallies


def calls(code, thought=""):
    call = ToolCall("python", {"code": code})
    return Message("assistant", (Text(thought), call) if thought else (call,))


def test_a_worked_solution_is_written_out_and_then_its_computations_are_handed_over():
    steps = [Message("assistant", (ToolCall("calc", {"expression": e}),)) for e in ("47*8", "376-123")]
    words = in_words(Private("253", solution=(*steps, said("assistant", "253"))))
    assert words == "47*8=376;376-123=253"
    assert in_code(words, "253") == (calls("47*8"), calls("376-123"), said("assistant", "253"))


def test_thoughts_stay_and_values_go():
    words = "She sold 48/2 = 24 clips in May, so with x=5 that is (48+24)-3*-1=75."
    made = in_code(words, "75")
    assert made == (calls("48/2", "She sold"), calls("(48+24)-3*-1", "clips in May, so with x=5 that is"), made[-1])
    assert made[-1] == said("assistant", "75")


def test_a_text_without_computations_is_its_answer_alone():
    assert in_code("x=5, hence 5", "5") == (said("assistant", "5"),)
    assert in_words(Private("5", solution=(said("assistant", "x=5, hence 5"),))) == "x=5, hence 5"
    assert in_words(Private("5")) == "5"


@pytest.fixture
def asked():
    return [Attempt(Tallies().task("tallies", 2, i), 0) for i in range(40)]


def test_demonstrations_run_their_code_and_a_share_of_them_has_none(nano, stage, asked):
    told = stage(nano, workflow=Traces(0.5), world=Toolbox((Interpreter(),)))
    episodes = play(asked, told)
    with_code = [e for e in episodes if e.used_tool]
    assert 10 < len(with_code) < 30
    assert [e.used_tool for e in play(asked, told)] == [e.used_tool for e in episodes]
    for episode in with_code:
        turns = episode.traces[0].turns
        assert [t.message.role for t in turns] == ["user", *["assistant", "tool"] * 2, "assistant"]
        assert turns[-2].message.text == turns[-1].message.text == episode.task.private.answer
    scores = [e.traces[0].score.value for e in judge_episodes(retool.build().reward, episodes)]
    assert set(scores) == {1.0}, "text and code come to the same answer"
    assert not any(e.used_tool for e in play(asked, stage(nano, workflow=Traces(0.0), world=Toolbox(()))))


def runs_the_question(renderer):
    """A puppet that hands the question to the interpreter, and says what it hears."""

    def speak(prompt):
        if prompt.messages[-1].role == "tool":
            return renderer.reply(said("assistant", prompt.messages[-1].text), prompt.tools)
        return renderer.reply(calls(prompt.messages[-1].text.rstrip("?")), prompt.tools)

    return speak


@pytest.mark.parametrize("world", [Toolbox((Interpreter(),)), Toolbox((python,))])
def test_the_answer_is_what_the_interpreter_says(puppet, stage, asked, world):
    puppet.speak = runs_the_question(puppet.renderer)
    episodes = judge_episodes(retool.build().reward, play(asked, stage(puppet, world=world)))
    says_zero = world.functions == (python,)
    assert {e.traces[0].score.value for e in episodes} == {-1.0 if says_zero else 1.0}
    assert all(e.answer == ("0" if says_zero else e.task.private.answer) for e in episodes)


def test_no_credit_is_given_where_the_interpreter_spoke(puppet, nano, stage, asked):
    puppet.speak = runs_the_question(puppet.renderer)
    right = play(asked[:4], stage(puppet, world=Toolbox((Interpreter(),))))
    wrong = play([replace(a, sample=1) for a in asked[:4]], stage(puppet, world=Toolbox((python,))))
    scored = judge_episodes(retool.build().reward, right + wrong)
    written = {(t.task_id, t.sample, t.seat): np.array(t.mask) for e in scored for t in e.traces}
    critic = replace(retool.build().advantage, pretrain_batches=0, whitens=False)
    for advantage in (Standardized(ddof=1, eps=1e-4), critic.begin_beside(nano)):
        batch = assign(scored, "agent", advantage)
        assert len(batch.rows) == 8
        for row in batch.rows:
            assert not written[row.trace].all()
            assert ((row.credit != 0) == written[row.trace]).all()


def test_traces_are_data_and_need_a_solution(nano, stage, asked):
    assert from_json(to_json(Traces(0.5))) == Traces(0.5)
    with pytest.raises(BadInput, match="cannot be demonstrated"):
        play([replace(asked[0], task=replace(asked[0].task, private=None))], stage(nano, workflow=Traces(0.5)))
