"""The cold start of a team: what is recited, what is made up, and that nobody recites what was made up for others."""

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox
from evolvent.records import Sampling
from evolvent.rollouts.graph import chain, debate
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.rehearsal import RehearseTeam
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.team import Teamwork, last_word
from evolvent.tasks.machines import Machines, any_run, runs_of

TASKS = [Machines().task("machines", 1, i) for i in range(60)]


def rehearsed(work, heeds_frac, nano, verifiers=()):
    seats = dict.fromkeys(work.graph.seats, "agent")
    stage = Stage(
        RehearseTeam(work, any_run, heeds_frac, verifiers),
        Toolbox(()),
        {"agent": nano},
        seats,
        Sampling(8),
        Budgets(16, 250, 99),
    )
    return play([Attempt(task, 0) for task in TASKS], stage)


def said(trace):
    return [turn.message.text for turn in trace.turns if turn.message.role == "assistant"]


def told(trace):
    """What was heard last before the last words."""
    return trace.turns[-2].message.text.split("\n")


def test_who_reads_nobody_recites_an_attempt_and_who_heeds_finds_the_answer(nano):
    episodes = rehearsed(Teamwork(debate(3, 2, remembers=False)), 1.0, nano)
    for episode in episodes:
        assert all(said(trace)[1] == episode.task.private.answer for trace in episode.traces)
        assert all(said(trace)[0] in runs_of(episode.task) for trace in episode.traces)
    right = [said(t)[0] == e.task.private.answer for e in episodes for t in e.traces]
    assert 0.35 < sum(right) / len(right) < 0.65, "one in two is right by chance"


def test_who_does_not_heed_says_again_what_it_heard_which_was_made_up(nano):
    episodes = rehearsed(Teamwork(debate(3, 2, remembers=False)), 0.0, nano)
    for episode in episodes:
        for trace in episode.traces:
            assert len(told(trace)) == 2
            assert set(told(trace)) <= set(runs_of(episode.task))
            assert said(trace)[1] in told(trace)
    right = [said(t)[1] == e.task.private.answer for e in episodes for t in e.traces]
    assert 0.35 < sum(right) / len(right) < 0.65, "one in two is right by chance"


def test_verifiers_say_the_truth_of_what_they_heard_as_often_as_they_heed(nano):
    work = Teamwork(chain("generator", "verifier", "refiner"), last_word)
    episodes = rehearsed(work, 1.0, nano, ("verifier",))
    for episode in episodes:
        _, verifier, refiner = episode.traces
        assert said(verifier) == ["yes" if told(verifier) == [episode.task.private.answer] else "no"]
        verdict = next(words for words in told(refiner) if words in ("yes", "no"))
        attempt = next(words for words in told(refiner) if words not in ("yes", "no"))
        assert verdict == ("yes" if attempt == episode.task.private.answer else "no")
        assert said(refiner) == [episode.task.private.answer]
    careless = rehearsed(work, 0.0, nano, ("verifier",))
    assert {said(e.traces[1])[0] for e in careless} == {"yes", "no"}


def test_every_turn_is_a_context_of_its_own_with_the_question(nano):
    [episode, *_] = rehearsed(Teamwork(debate(2, 2, remembers=False)), 0.5, nano)
    for trace in episode.traces:
        starts = [turn for turn in trace.turns if turn.starts_context]
        assert [turn.message.text for turn in starts] == [episode.task.question] * 2
        assert sum(trace.mask) == sum(sum(t.mask) for t in trace.turns if t.message.role == "assistant")


def test_it_goes_through_json():
    made = RehearseTeam(Teamwork(debate(2, 2)), any_run, 0.2, ("verifier",))
    assert from_json(to_json(made)) == made


def test_a_task_without_an_answer_cannot_be_rehearsed(nano):
    from dataclasses import replace

    from evolvent.errors import BadInput

    work = Teamwork(debate(2, 1))
    stage = Stage(
        RehearseTeam(work, any_run, 0.0),
        Toolbox(()),
        {"agent": nano},
        dict.fromkeys(work.graph.seats, "agent"),
        Sampling(8),
        Budgets(16, 250, 99),
    )
    with pytest.raises(BadInput, match="cannot be demonstrated"):
        play([Attempt(replace(TASKS[0], private=None), 0)], stage)
