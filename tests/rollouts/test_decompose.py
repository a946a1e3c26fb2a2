from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.credit.batch import rows_of
from evolvent.envs.corpus.pairs import Pairs
from evolvent.policies.scripted import Script
from evolvent.recipes.dq import teach
from evolvent.records import Message, Origin, Outcome, Private, Reference, Sampling, Task, ToolCall, said
from evolvent.rollouts.decompose import Decompose, DemonstrateDecompose, trace_words, unread
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.tasks.knowledge import KnowledgeBase, KnowledgeTasks

pytest.importorskip("bm25s")

BASE = (("ann's home", "rome"), ("ann's school", "oslo"), ("oslo's head", "cy"), ("rome's guard", "bo"))


def give():
    return BASE


def task(*removed):
    data = {"world": {"path": f"{__name__}:give"}, "removed": list(removed)}
    judge = Reference("evolvent.rewards.verify:exact")
    return Task("t", "f", 1, (said("user", "ann's place's head?"),), Private("cy", data), judge, Origin(""))


@dataclass
class Speaker:
    """Makes the calls of a list, one after the other, and remembers what it heard."""

    calls: list
    heard: list = field(default_factory=list)

    async def sample(self, prompts, how):
        self.heard += [prompt.messages for prompt in prompts]
        return await Script(lambda prompt, rng: Message("assistant", (self.calls.pop(0),))).sample(prompts, how)


def look(question):
    return ToolCall("QuestionRetriever", {"question": question})


def read(question):
    return ToolCall("AnswerRetriever", {"question": question})


def end(answer=None):
    return ToolCall("Finish", {"status": "Failed"} if answer is None else {"status": "Success", "answer": answer})


def walked(calls, workflow=None, about=None):
    speaker = Speaker(list(calls))
    stage = Stage(
        workflow or Decompose(), Pairs(), {"agent": speaker}, {"agent": "agent"}, Sampling(64), Budgets(*[10**6] * 3)
    )
    [episode] = play([Attempt(about or task(), 0)], stage)
    return episode, speaker


DEAD_END = [look("ann's home"), read("ann's home"), look("rome's head"), end()]
RIGHT_WAY = [look("ann's school"), read("ann's school"), look("oslo's head"), read("oslo's head"), end("cy")]


def test_an_answer_is_put_together_from_what_was_read():
    episode, _ = walked(RIGHT_WAY)
    assert (episode.answer, episode.info["status"], episode.info["read"]) == ("cy", "Success", ["oslo", "cy"])
    assert [s["argument"] for s in episode.info["steps"]] == ["ann's school"] * 2 + ["oslo's head"] * 2
    assert episode.info["unread"] == 0.0


def test_after_failed_the_last_step_is_a_note_and_nothing_stale_is_left():
    episode, speaker = walked([*DEAD_END, end(), end(), *RIGHT_WAY])
    assert (episode.answer, episode.info["num_returns"]) == ("cy", 3)
    words = [[m.text + "".join(f"<{c.arguments}>" for c in m.calls) for m in heard] for heard in speaker.heard]
    assert words[4][-2:] == ["rome", "QuestionRetriever(rome's head) returned nothing valid"]
    assert not any("Failed" in word or "rome's guard" in word for word in words[4])
    assert words[5][-1] == "AnswerRetriever(ann's home) returned nothing valid"
    assert not any("rome" in word for word in words[5]), "the note of a later step goes with the step before it"
    assert words[6] == ["ann's place's head?", "QuestionRetriever(ann's home) returned nothing valid"]
    assert [s["pruned"] for s in episode.info["steps"]] == [True] * 3 + [False] * 4
    assert episode.info["read"] == ["oslo", "cy"], "what was read on a way that was taken back does not count"


def test_without_returns_the_first_failed_ends_it():
    episode, _ = walked([*DEAD_END, *RIGHT_WAY], Decompose(max_returns=0))
    assert (episode.answer, episode.info["status"], episode.info["num_returns"]) == ("unknown", "Failed", 0)


def test_failed_with_nothing_left_to_take_back_is_the_end():
    episode, speaker = walked([end(), *RIGHT_WAY])
    assert (episode.answer, episode.info["status"]) == ("unknown", "Failed")
    assert len(speaker.heard) == 1
    assert episode.outcome is Outcome.OK


def test_an_endless_row_of_failures_ends():
    episode, speaker = walked([look("ann's home"), read("ann's home"), *[end()] * 99])
    assert episode.info["status"] == "Failed" and len(speaker.heard) == 5
    many = [call for i in range(40) for call in (look(f"x{i}"), end())]
    episode, speaker = walked(many, Decompose(max_steps=99, max_returns=8))
    assert (episode.info["status"], episode.info["num_returns"]) == ("Failed", 8)


def test_no_more_than_so_many_steps_are_taken():
    episode, speaker = walked([look("ann's home")] * 99, Decompose(max_steps=7))
    assert (episode.info["status"], len(speaker.heard)) == ("cut off", 7)
    assert (episode.answer, episode.outcome) == ("", Outcome.AGENT_FAILED)


def test_what_returned_nothing_valid_is_not_done_again():
    episode, _ = walked([look("rome's head"), end(), look("rome's head"), *RIGHT_WAY])
    [first, again, *_] = episode.info["steps"]
    assert "rome's guard" in first["returned"].split("\n")
    assert again["returned"] == "error: QuestionRetriever(rome's head) returned nothing valid"
    assert episode.answer == "cy"


def test_an_answer_that_was_not_read_is_refused_and_said_to_be():
    episode, speaker = walked([end("zeus"), *RIGHT_WAY])
    assert episode.answer == "cy"
    assert speaker.heard[1][-1].text == "error: the answer was not read on the way"
    free, _ = walked([end("zeus")], Decompose(max_unread=1.0))
    assert (free.answer, free.info["unread"]) == ("zeus", 1.0)
    taken_back, _ = walked([look("ann's home"), read("ann's home"), end(), end("rome"), end(), end(), end()])
    assert taken_back.info["status"] == "Failed", "what was taken back is no ground for an answer"


def test_words_without_a_call_are_an_observation_and_no_answer():
    for odd in (ToolCall("", None, "it is cy"), ToolCall("Finish", {"status": "Maybe"}), ToolCall("Fly", {})):
        episode, speaker = walked([odd, *RIGHT_WAY])
        assert episode.answer == "cy" and speaker.heard[1][-1].text.startswith("error: ")


def test_the_words_of_an_answer_are_traced_to_what_was_read():
    assert trace_words("cy of oslo", ["oslo", "cy"]) == [1, None, 0]
    assert trace_words("New York", ["york is new", "new york"]) == [1, 1]
    assert trace_words("", ["a"]) == []
    assert unread("cy, bo", ["cy"]) == 0.5
    assert unread("", ["cy"]) == unread("cy", []) == 1.0


@given(st.lists(st.sampled_from("abc")), st.lists(st.lists(st.sampled_from("abc")), max_size=3))
def test_every_traced_word_stands_in_the_text_it_is_traced_to(words, texts):
    read = [" ".join(text) for text in texts]
    traced = trace_words(" ".join(words), read)
    assert len(traced) == len(words)
    for word, source in zip(words, traced, strict=True):
        assert word in texts[source] if source is not None else not any(word in text for text in texts)


SOURCE = KnowledgeTasks(KnowledgeBase(32), ("one_hop", "two_hop", "vague"), unknown_frac=0.2, num_others=8)


def demonstrated(tasks, stage, puppet):
    made = stage(puppet, workflow=DemonstrateDecompose(teach), world=Pairs(), budgets=Budgets(99, 8192, 8192))
    return play([Attempt(task, 0) for task in tasks], made)


def test_a_teacher_finds_every_answer_that_there_is_and_fails_where_there_is_none(puppet, stage):
    tasks = [SOURCE.task(family, 1, i) for family in SOURCE.families for i in range(20)]
    episodes = demonstrated(tasks, stage, puppet)
    assert [e.answer for e in episodes] == [t.private.answer for t in tasks]
    assert {e.info["status"] for e in episodes} == {"Success", "Failed"}
    assert any(e.info["num_returns"] >= 3 and e.info["status"] == "Success" for e in episodes)
    for episode in episodes:
        if episode.info["status"] == "Success":
            assert trace_words(episode.answer, episode.info["read"]) != [None]


def test_without_a_pair_that_is_needed_there_is_no_answer(puppet, stage):
    whole = [t for i in range(40) if (t := SOURCE.task("two_hop", 1, i)).private.data["is_answerable"]]
    for hop in (0, 1):
        tasks = [without(task, hop) for task in whole]
        assert {e.info["status"] for e in demonstrated(tasks, stage, puppet)} == {"Failed"}


def without(task, hop):
    subject, relation, _ = task.private.data["chain"][hop]
    data = {**task.private.data, "removed": [f"{subject}'s {relation}"]}
    return replace(task, private=replace(task.private, data=data))


def test_a_demonstration_trains_every_recited_word_once(puppet, stage):
    tasks = [t for i in range(30) if (t := SOURCE.task("vague", 1, i)).private.data["chain"]]
    episode = next(e for e in demonstrated(tasks, stage, puppet) if e.info["num_returns"])
    [trace] = episode.traces
    rows = rows_of(trace, ("t", "agent"), 1.0)
    assert len(rows) == 1 + episode.info["num_returns"]
    assert sum(row.num_targets for row in rows) == sum(sum(turn.mask) for turn in trace.turns)


def test_a_plan_goes_through_json():
    plan = DemonstrateDecompose(teach, Decompose(max_steps=5))
    assert from_json(to_json(plan)) == plan
