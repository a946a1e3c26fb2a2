from __future__ import annotations

import decimal
import sys
from dataclasses import replace

import pytest

from evolvent.codec import from_json, to_json
from evolvent.envs.bfcl import CLASSES, Bfcl
from evolvent.envs.digest import digest_of
from evolvent.envs.toolbox import SEAT
from evolvent.errors import BadInput, MissingExtra
from evolvent.policies.scripted import Oracle
from evolvent.records import Message, Origin, Reference, Sampling, Task, ToolCall, said
from evolvent.rewards import by_task, judge_episodes
from evolvent.rollouts.conversation import Conversation
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets

task = Task("t", "hand", 1, (said("user", "go"),), None, Reference("evolvent.rewards.verify:exact"), Origin(""))


def test_without_the_package_the_cure_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "bfcl_eval", None)
    from evolvent.envs.bfcl import tools_of

    tools_of.cache_clear()
    with pytest.raises(MissingExtra, match="pip install --no-deps bfcl-eval"):
        Bfcl(("TicketAPI",)).open(task, 0)


def test_the_plan_comes_back_from_json():
    assert from_json(to_json(Bfcl(("TicketAPI", "MathAPI")))) == Bfcl(("TicketAPI", "MathAPI"))


def test_a_digest_looks_at_values_and_not_at_order_or_identity():
    class Place:
        def __init__(self, name, up=None):
            self.name, self.up, self.inner, self._hidden = name, up, {}, object()

    def tree(names):
        root = Place("root")
        for name in names:
            root.inner[name] = Place(name, root)
        return root

    def public(name):
        return not name.startswith("_")

    assert digest_of(tree("abc"), public) == digest_of(tree("cba"), public)
    assert digest_of(tree("abc"), public) != digest_of(tree("abd"), public)
    assert digest_of([1, {2, 3}, (4.0,)]) == digest_of([1.0, {3, 2}, (4,)]) != digest_of([1, {2}, (4,)])
    assert digest_of("1") != digest_of(1)


bfcl = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("bfcl_eval") is None, reason="pip install --no-deps bfcl-eval"
)


@bfcl
@pytest.mark.parametrize("name", CLASSES)
async def test_every_class_offers_its_functions_with_schemas_and_starts_fresh(name):
    async with Bfcl((name,)).open(task, 0) as one, Bfcl((name,)).open(task, 1) as two:
        assert one.tools(SEAT) and all(tool.parameters["type"] == "object" for tool in one.tools(SEAT))
        assert one.state_digest() == two.state_digest()
        assert one.instances[name] is not two.instances[name]
        assert not [tool.name for tool in one.tools(SEAT) if not hasattr(one.instances[name], tool.name)]


@bfcl
async def test_two_episodes_of_a_class_never_see_each_other_and_a_snapshot_brings_a_state_back():
    plan = Bfcl(("GorillaFileSystem", "MathAPI"))
    async with plan.open(task, 0) as one, plan.open(task, 0) as two:
        before = one.state_digest()
        heard = await one.call(SEAT, ToolCall("mkdir", {"dir_name": "new"}))
        assert not heard.is_error and "new" in (await one.call(SEAT, ToolCall("ls", {}))).text
        assert "new" not in (await two.call(SEAT, ToolCall("ls", {}))).text
        kept, digest = one.snapshot(), one.state_digest()
        await one.call(SEAT, ToolCall("cd", {"folder": "new"}))  # a change that no public attribute shows
        assert one.state_digest() != digest != before
        one.restore(kept)
        assert one.state_digest() == digest


@bfcl
async def test_mistakes_are_observations_and_the_precision_of_this_thread_stays_as_it_is():
    precision = decimal.getcontext().prec
    async with Bfcl(("MathAPI",)).open(task, 0) as world:
        wrong = await world.call(SEAT, ToolCall("add", {"a": "x", "b": 1}))
        assert wrong.is_error and "wanted a number" in wrong.text
        await world.call(SEAT, ToolCall("logarithm", {"value": 10, "base": 2, "precision": 50}))
    assert decimal.getcontext().prec == precision


@bfcl
def test_unknown_classes_are_told_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean TicketAPI"):
        Bfcl(("TicketApi",)).open(task, 0)
    with pytest.raises(BadInput, match="neither the world nor the task"):
        Bfcl().open(task, 0)


def judged(one: Task, solution: tuple[Message, ...]):
    budgets = Budgets(9999, 10**7, 10**7)
    oracle = Oracle({one.question: solution})
    stage = Stage(Conversation(), Bfcl(), {"agent": oracle}, {"agent": "agent"}, Sampling(64), budgets)
    [episode] = judge_episodes(by_task, play([Attempt(one, 0)], stage))
    return episode.traces[0].score


@bfcl
@pytest.mark.parametrize("category", ["base", "miss_param", "long_context"])
def test_the_reference_solves_its_task_and_less_does_not(category):
    from evolvent.synthesis.bfcl_tasks import BfclTasks

    source = BfclTasks((category,))
    family = source.families[0]
    num_changing = 0
    for level in source.levels(family):
        for index in range(min(5, source.num_tasks(family, level, "train"))):
            one = source.task(family, level, index)
            solution = one.private.solution
            assert judged(from_json(to_json(one)), solution).value == 1.0, one.task_id
            idle = tuple(said("assistant", "done") for m in solution if not m.calls)
            assert judged(one, idle).value == 0.0, one.task_id
            last = max(i for i, m in enumerate(solution) if m.calls)
            score = judged(one, solution[:last] + solution[last + 1 :])
            assert score.value == 0.0, one.task_id
            num_changing += score.components["state"] == 0.0
    assert num_changing  # some of the last calls change something, the others only find something out


@bfcl
@pytest.mark.slow
def test_every_reference_solves_its_task():
    from evolvent.synthesis.bfcl_tasks import BfclTasks

    source = BfclTasks()
    tasks = [
        source.task(family, level, index, split)
        for family in source.families
        for level in source.levels(family)
        for split in ("train", "test")
        for index in range(source.num_tasks(family, level, split))
    ]
    assert len(tasks) == 597
    assert not [one.task_id for one in tasks if judged(one, one.private.solution).value != 1.0]


@bfcl
def test_the_variants_of_a_scenario_are_all_on_one_side_and_wishes_come_one_by_one():
    from evolvent.synthesis.bfcl_tasks import BfclTasks, as_task, cells

    firsts = {
        split: {
            as_task("base", n, split).question
            for (_, s), numbers in cells("base").items()
            if s == split
            for n in numbers
        }
        for split in ("train", "test")
    }
    assert firsts["test"] and not firsts["train"] & firsts["test"]
    for category in ("base", "miss_param", "long_context"):
        sides = {n: split for (_, split), numbers in cells(category).items() for n in numbers}
        assert sides == {n: split for (_, split), numbers in cells("base").items() for n in numbers}
    one = BfclTasks(("base",)).task("bfcl:base", 3, 0)
    assert len(one.prompt) == 1 and len(one.private.data["follow_ups"]) == 2
    assert one.private.data["follow_ups"][0] not in one.question
    assert from_json(to_json(one)).private.answer == one.private.answer


@bfcl
def test_a_conversation_that_never_answers_ends_without_an_answer():
    from evolvent.synthesis.bfcl_tasks import BfclTasks

    one = BfclTasks(("base",)).task("bfcl:base", 2, 0)
    loops = Oracle({one.question: (Message("assistant", (ToolCall("none", {}),)),) * 99})
    budgets = Budgets(9999, 10**7, 10**7)
    stage = Stage(Conversation(max_turns=3), Bfcl(), {"agent": loops}, {"agent": "agent"}, Sampling(64), budgets)
    [episode] = play([Attempt(one, 0)], stage)
    assert episode.answer == "" and len(episode.traces[0].calls) == 3


@bfcl
def test_a_task_without_its_private_part_cannot_be_judged():
    from evolvent.errors import VerifierError
    from evolvent.synthesis.bfcl_tasks import BfclTasks, left_as_wanted

    one = BfclTasks(("base",)).task("bfcl:base", 2, 0)
    with pytest.raises(VerifierError):
        left_as_wanted(replace(one, private=None), "done", {})
