from dataclasses import replace

import pytest
import torch

from evolvent.credit.batch import assign
from evolvent.effects.arms import build_policies
from evolvent.models import ModelSpec
from evolvent.recipes.ssrl import QUESTIONS, TAGS, Lessons, at_once, build, index_of, says_so
from evolvent.records import Sampling
from evolvent.rewards import judge_episodes
from evolvent.rewards.self_search import reply_of
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.tasks.knowledge import KnowledgeBase

torch.set_num_threads(1)
LESSONS = Lessons(KnowledgeBase(seed=3))
PLAN = replace(build(), source=LESSONS, model=ModelSpec(depth=1, vocab_size=480))


@pytest.fixture(scope="module")
def policies():
    return build_policies(PLAN)


def played(policies, tasks, workflow, num=1):
    how = Sampling(PLAN.budgets.turn_tokens, seed=1)
    stage = Stage(workflow, PLAN.world, policies, PLAN.seats, how, PLAN.budgets)
    attempts = [Attempt(task, sample) for task in tasks for sample in range(num)]
    return judge_episodes(PLAN.truth, play(attempts, stage))


def lessons(family, num=4):
    return [LESSONS.task(family, 1, index) for index in range(num)]


def test_pages_hold_facts_that_may_be_seen_and_no_others():
    lines = {line for task in lessons("pages", 60) for line in task.private.answer.splitlines()}
    assert lines == {fact.line for fact in LESSONS.base.facts if fact.is_seen}


def test_questions_of_the_probe_rest_on_facts_that_nobody_was_taught():
    unseen = LESSONS.unseen(20)
    assert len({task.question for task in unseen}) == len(unseen) == 20
    taught = {task.question for task in lessons("worked", 200)} | {task.question for task in lessons(QUESTIONS, 200)}
    known = {fact.line for fact in LESSONS.base.facts if fact.is_seen}
    for task in unseen:
        assert task.question not in taught
        assert not {f"{s}'s {r}:{o}" for s, r, o in task.private.data["chain"]} <= known


def test_a_worked_lesson_earns_all_that_there_is(policies):
    searched = next(task for task in lessons("worked", 30) if TAGS.search.opens in task.private.solution[0].text)
    (episode,) = played(policies, [searched], PLAN.cold_start.workflow)
    assert episode.traces[0].score.components["format"] == 1.0


def test_information_is_taught_where_it_is_known_and_only_read_elsewhere(policies):
    """Of a lesson about the base every token is a target; of one about another base all but the information."""
    policy = policies["agent"]
    advantage = PLAN.cold_start.advantage.begin_beside(policy)
    for family, hides in (("worked", False), ("reading", True), ("pages", False)):
        episodes = played(policies, lessons(family), PLAN.cold_start.workflow)
        for row in assign(episodes, "agent", advantage).rows:
            text = policy.renderer.text(row.tokens[row.mask])
            whole = policy.renderer.text(row.tokens)
            assert ("<" in whole.replace("<|", "")) or family != "reading"
            assert ("<" in text.replace("<|", "")) == ("<" in whole.replace("<|", "") and not hides)


def test_practice_asks_no_engine_and_samples_once_a_rollout(policies):
    workflow = PLAN.practice.workflow
    assert not hasattr(workflow, "engine")
    for episode in played(policies, lessons(QUESTIONS), workflow, num=2):
        assert episode.info.get("num_engine_calls", 0) == 0
        spoken = [turn for turn in episode.traces[0].turns if turn.message.role != "user"]
        assert len(spoken) == 1 and all(spoken[0].mask)


def test_who_answers_at_once_begins_with_the_answer(policies):
    for episode in played(policies, lessons(QUESTIONS), at_once(PLAN).practice.workflow):
        assert reply_of(episode).startswith("(") or not episode.answer
        given = episode.traces[0].turns[0]
        assert not any(given.mask) and policies["agent"].renderer.text(given.tokens).endswith("(")


def test_the_index_holds_every_fact_and_that_of_another_base_says_something_else():
    index, other = index_of(LESSONS.base), index_of(KnowledgeBase(seed=4))
    lines = [fact.line for fact in LESSONS.base.facts]
    assert [index(None, fact.asked) for fact in LESSONS.base.facts] == lines
    assert sum(other(None, fact.asked) == fact.line for fact in LESSONS.base.facts) < len(lines) / 4


def test_what_is_written_on_a_query_is_held_against_the_base():
    (task,) = lessons(QUESTIONS, 1)
    fact = LESSONS.base.facts[0]
    assert says_so(task, fact.asked, fact.line) is True
    assert says_so(task, fact.asked, f"{fact.asked}:nobody") is False
    assert says_so(task, "nobody's boss", fact.line) is False
