from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import fmean

import pytest

from evolvent.envs.corpus import Corpus
from evolvent.evals.contrast import Spent, contrast
from evolvent.policies.scripted import Script
from evolvent.recipes.inter import HalfKnowing, measure, observe, questions, seats
from evolvent.records import Prompt, Sampling, said
from evolvent.rollouts.play import Stage
from evolvent.rollouts.refine import Refine
from evolvent.rollouts.seat import Budgets
from evolvent.tasks.topics import Topics, TopicTasks, ask

pytest.importorskip("bm25s")

TOPICS = Topics(num_topics=40, num_distractions=120, seed=100)
WRITTEN = TOPICS.written


def asked(topic, passages=()):
    question = f"? {' '.join(WRITTEN.everyday[topic][:3])}"
    return Prompt((said("user", ask(question, passages)),))


def written_by(writer, prompt, num=40):
    return [word for i in range(num) for word in writer(prompt, Random(i)).text.split()]


def test_the_stand_in_knows_every_second_topic_and_makes_up_the_rest():
    writer = HalfKnowing(TOPICS)
    assert set(written_by(writer, asked(4))) <= set(WRITTEN.technical[4])
    made_up = written_by(writer, asked(5))
    assert len(set(made_up) - set(WRITTEN.technical[5])) > 20
    assert set(made_up) <= {word for topic in range(0, 40, 2) for word in WRITTEN.technical[topic]}


def test_the_stand_in_copies_from_the_passage_that_holds_most_of_the_question():
    fits = " ".join((*WRITTEN.everyday[5][:3], "right"))
    words = written_by(HalfKnowing(TOPICS, copies=1.0), asked(5, [fits, "wrong wrong"]))
    assert "wrong" not in words and set(words) == set(fits.split())
    assert "nothing" not in written_by(HalfKnowing(TOPICS), asked(4, ["nothing at all"])), (
        "what does not fit is not read"
    )


@pytest.fixture(scope="module")
def stage():
    return Stage(
        Refine(ask=ask),
        Corpus(WRITTEN.documents),
        {"agent": Script(HalfKnowing(TOPICS))},
        seats(10),
        Sampling(64),
        Budgets(64, 4096, 4096),
    )


def test_the_three_signs_of_the_method_show_on_the_stand_in(stage):
    tasks = questions(TopicTasks(TOPICS), 40)
    observed = observe(stage, tasks, Spent())
    assert [contrast([one]).ok for one in observed] == [True] * 3
    two, third, at_random = observed
    assert fmean(two.treated) - fmean(two.control) > 0.05
    assert fmean(third.treated) < 0.05
    assert fmean(at_random.treated) < fmean(at_random.control)


def test_before_any_round_only_the_bridges_are_found(stage):
    tasks = questions(TopicTasks(TOPICS), 40)
    plain = measure(replace(stage, workflow=Refine(rounds=0, ask=ask)), tasks)
    # both bridges first: (1 + 1/log2(3)) / (the sum of 1/log2(i + 1) for 8 documents)
    assert max(plain) == pytest.approx(0.412, abs=1e-3)
