import asyncio
import functools

from evolvent.codec import from_json, to_json
from evolvent.recipes import reer
from evolvent.seeds import stream
from evolvent.synthesis.plan_search import count
from evolvent.tasks import stories
from evolvent.tasks.stories import Stories

TOLD = [stories.write(0, "train", i) for i in range(1000, 1100)]
ROUGH = [stories.rough_plan(s, stream(0, s.index)) for s in TOLD]


def share(plans):
    return sum(a == b for s, z in zip(TOLD, plans, strict=True) for a, b in zip(s.plan, z, strict=True)) / 500


@functools.cache
def looked():
    known = (stories.write(0, "train", i) for i in range(300))
    return reer.look(TOLD, ROUGH, count((s.plan, s.text) for s in known), seed=100)


def test_searched_plans_are_nearer_the_truth_than_first_guesses_and_random_ones():
    found, random = looked()
    assert [r.num_scored for r in random] == [f.num_scored for f in found]
    searched, guessed, drawn = share([f.plan for f in found]), share(ROUGH), share([r.plan for r in random])
    assert searched > guessed + 0.2 and searched > drawn + 0.1


def test_the_trace_of_no_story_rises_and_no_plan_quotes_its_story():
    found, _ = looked()
    for one in found:
        assert list(one.trace) == sorted(one.trace, reverse=True)
        assert not one.refused and not reer.LEAKS(one.pair, one.plan)


def test_candidates_hold_quotations_which_the_filter_keeps_out():
    pair = reer.pair_of(TOLD[0])
    candidates = reer.propose(pair, ROUGH[0], 0, stream(0, "x"))
    plans = [(one, *ROUGH[0][1:]) for one in candidates]
    assert [bool(reer.LEAKS(pair, plan)) for plan in plans] == [False, False, False, True]


def test_a_source_shows_searched_plans_to_training_alone():
    source = reer.build().source
    assert from_json(to_json(source)) == source
    task = source.task("stories", 1, 0)
    assert task == source.task("stories", 1, 0)
    assert "Plan: place " in task.question
    held_out = source.task("stories", 1, 0, "test")
    assert held_out.question.endswith(f"Plan: {', '.join(held_out.private.data['plan'])}.")


def test_before_plans_a_story_is_told_alone():
    heard = []

    class Reciter:
        def recite(self, message, *before):
            heard.extend((*before, message))

    task = Stories().task("stories", 1, 0)
    answer = asyncio.run(reer.tell(task, {"agent": Reciter()}, None))
    assert "Plan" in task.question and "Plan" not in heard[0].text
    assert heard[1].text == answer.text == task.private.answer
