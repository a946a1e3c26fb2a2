"""Roles, judges that remember, copies, and a truth apart from the reward: what self-play rests on, in one tiny run."""

import asyncio
import json
from dataclasses import dataclass, replace

import pytest
import torch

from evolvent import Run, Suite, build_policy, improve
from evolvent.codec import to_json
from evolvent.credit.advantage import Centred, as_scored
from evolvent.credit.batch import assign, group_key
from evolvent.curriculum import Uniform
from evolvent.errors import BadInput
from evolvent.models import ModelSpec
from evolvent.plans import check
from evolvent.recipes import circle
from evolvent.records import Episode, Origin, Reference, Score, Task, Trace, said
from evolvent.rewards import by_task, judge_episodes, lift
from evolvent.rollouts.seat import Budgets, BudgetSpent
from evolvent.rollouts.workflows import Answer

torch.set_num_threads(1)

NUM_SOLVERS = 3


class StoppedHereError(Exception):
    """Stands for a kill."""


async def words(seat, *heard):
    """What a seat says; a random model mostly ends at its budget, which is no end for the others."""
    try:
        return (await seat.say(*heard)).text
    except BudgetSpent:
        return seat.turns[-1].message.text


async def propose_and_solve(task, team, world):
    """The setter says something; where that has an even length, the solvers and the anchor answer it."""
    proposal = await words(team["setter"], *task.prompt)
    if len(proposal) % 2:
        return Answer("refused", {"valid": False, "proposal": proposal})
    asked = said("user", proposal + "?")
    solvers = [team[f"solver/{i}"] for i in range(1, NUM_SOLVERS + 1)]
    replies = await asyncio.gather(*(words(solver, asked) for solver in [*solvers, team["anchor"]]))
    return Answer(proposal or "empty", {"valid": True, "proposal": proposal, "lengths": [len(r) for r in replies]})


async def solve(task, team, world):
    """What is measured: the first solver alone."""
    return Answer(await words(team["solver/1"], *task.prompt) or "nothing")


@dataclass(frozen=True, slots=True)
class Novel:
    """The setter earns 1 for what nobody proposed before, the solvers the length of what the first of them said."""

    def begin(self):
        return LiveNovel()


class LiveNovel:
    def __init__(self):
        self.seen = []

    def __call__(self, episodes):
        return [self.judge(e) for e in episodes]

    def judge(self, episode):
        proposal = episode.info.get("proposal", "")
        is_new = proposal not in self.seen
        self.seen.append(proposal)
        setter = Score(float(is_new), {"new": float(is_new), "valid": float(episode.info["valid"])})
        if not episode.info["valid"]:
            return {"setter": setter}
        return {"setter": setter, "solver": Score(float(episode.info["lengths"][0]))}

    def state(self):
        return {"seen": list(self.seen)}

    def restore(self, state):
        self.seen = list(state["seen"])


SPEC = ModelSpec(depth=1, max_context=128)
SEATS = {"setter": "setter", "anchor": "anchor", **{f"solver/{i}": "solver" for i in range(1, NUM_SOLVERS + 1)}}
PLAN = replace(
    circle.build(),
    recipe="tiny",
    model={"setter": SPEC, "solver": SPEC, "anchor": SPEC},
    seats=SEATS,
    frozen=("anchor",),
    copies={"anchor": "solver"},
    cold_start=None,
    workflow=solve,
    practice_workflow=propose_and_solve,
    curriculum=Uniform(1),
    reward=Novel(),
    truth=by_task,
    advantage=as_scored,
    num_steps=3,
    tasks_per_step=2,
    group_size=3,
    budgets=Budgets(turn_tokens=6, context_tokens=128, episode_tokens=16),
    suite=Suite(num_tasks=4, num_tasks_above=2, num_tasks_during=2, num_levels=2),
    checkpoint_every=1,
    keep_checkpoints=9,
    keep_episodes_every=1,
    sinks=(),
)


def carry_out(folder, stop_at=None, plan=PLAN):
    def watch(event):
        if event["step"] == stop_at:
            raise StoppedHereError

    begun = (folder / "run.json").exists()
    run = Run.reopen(folder) if begun else Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    names = sorted(set(plan.seats.values()))
    policies = {name: build_policy(plan.model[name], name=name, seed=i) for i, name in enumerate(names)}
    try:
        improve(plan, policies, run, watch)
    except StoppedHereError:
        assert stop_at is not None
    return run, policies


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return carry_out(tmp_path_factory.mktemp("selfplay") / "run")


def memory(run):
    return json.loads((run.last_checkpoint()[1] / "state" / "memory.json").read_text())


def lines(run):
    return [line for line in run.metrics() if "reward_mean" in line]


def kept(run):
    files = [run.path / "metrics.jsonl", *run.path.glob("checkpoints/*/**/*.safetensors")]
    return {str(p.relative_to(run.path)): p.read_bytes() for p in files}


def test_each_role_is_scored_for_itself_and_the_refused_never_reach_a_solver(whole):
    episodes = whole[0].episodes(3, name="")
    assert {e.info["valid"] for e in episodes} == {True, False}
    for episode in episodes:
        by_seat = {t.seat: t for t in episode.traces}
        assert by_seat["setter"].score.components["valid"] == float(episode.info["valid"])
        assert by_seat["anchor"].score is None
        for seat, trace in by_seat.items():
            if seat.startswith("solver/"):
                assert (trace.score is not None) == bool(trace.turns) == episode.info["valid"]


def test_copies_of_a_role_are_compared_within_their_own_episode():
    traces = [Trace("t", sample, seat, "p", ()) for sample in (0, 1) for seat in ("setter", "solver/1", "solver/2")]
    keys = [group_key(t) for t in traces]
    assert keys[0] == keys[3] == ("t", "setter")
    assert keys[1] == keys[2] == ("t", "solver", 0)
    assert keys[4] == keys[5] == ("t", "solver", 1)


def test_a_score_of_a_seat_comes_before_that_of_its_role():
    task = Task("t", "f", 1, (said("user", "?"),), None, Reference("evolvent.rewards:exact"), Origin("hand"))
    seats = ("setter", "solver/1", "solver/2")
    episode = Episode("t/0", task, 0, tuple(Trace("t", 0, seat, "p", ()) for seat in seats))

    def by_seat(episodes):
        return [{"solver": Score(0.0), "solver/2": Score(1.0)} for _ in episodes]

    [judged] = judge_episodes(lift(by_seat), [episode])
    assert [t.score and t.score.value for t in judged.traces] == [None, 0.0, 1.0]


def test_credit_of_copies_sums_to_zero_in_each_episode(whole):
    episodes = whole[0].episodes(3, name="")
    scored = [
        replace(e, traces=tuple(replace(t, score=t.score and Score(float(i))) for i, t in enumerate(e.traces)))
        for e in episodes
    ]
    credits = assign(scored, "solver", Centred()).credits
    for episode in scored:
        mine = [w for (name, _), w in credits.items() if name == episode.episode_id]
        assert not mine or (len(mine) == NUM_SOLVERS and abs(sum(mine)) < 1e-9 and max(mine) > 0)


def test_a_copy_begins_as_the_other_and_does_not_learn(whole):
    _, policies = whole
    first = build_policy(SPEC, name="solver", seed=2).model.state_dict()
    anchor, solver = policies["anchor"].model.state_dict(), policies["solver"].model.state_dict()
    assert all(torch.equal(anchor[n], first[n]) for n in first)
    assert not all(torch.equal(solver[n], first[n]) for n in first)


def test_what_the_judge_remembers_is_kept_and_its_parts_are_logged(whole):
    run, _ = whole
    assert len(memory(run)["judge"]["seen"]) == 3 * PLAN.tasks_per_step * PLAN.group_size
    for line in lines(run):
        assert {"reward/new", "reward/valid"} <= set(line)
        assert 0 < line["reward/valid"] < 1


def test_measurement_is_by_the_truth(whole):
    for report in whole[0].reports():
        assert all(cell.scores == (0.0,) * len(cell.scores) for cell in report.cells)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_stopped_and_resumed_equals_not_stopped(step, whole, tmp_path):
    carry_out(tmp_path / "run", stop_at=step)
    run, policies = carry_out(tmp_path / "run")
    assert kept(run) == kept(whole[0])
    assert memory(run) == memory(whole[0])
    anchor = whole[1]["anchor"].model.state_dict()
    assert all(torch.equal(anchor[n], w) for n, w in policies["anchor"].model.state_dict().items())


def half(task, answer):
    """A reward that is never 1, whatever is answered."""
    return Score(0.5, {"half": 0.5, "length": float(len(answer))})


def test_a_truth_beside_the_reward_is_what_accuracy_and_curriculum_see(tmp_path):
    plan = replace(PLAN, practice_workflow=None, reward=half, truth=by_task, curriculum=circle.build().curriculum)
    run, _ = carry_out(tmp_path / "run", plan=plan)
    for line in lines(run):
        assert (line["reward_mean"], line["accuracy"], line["reward/half"]) == (0.5, 0.0, 0.5)
    cells = memory(run)["curriculum"]["cells"]
    assert {cell["rate"] for cell in cells.values() if cell["num_seen"]} == {0.0}


@pytest.mark.parametrize("copies", [{"anchor": "setters"}, {"solver": "setter"}, {"anchor": "anchor"}])
def test_a_copy_of_nobody_is_refused(copies):
    with pytest.raises(BadInput, match="a copy is a frozen policy"):
        check(replace(PLAN, copies=copies))


def test_a_copy_of_another_shape_is_refused(tmp_path):
    plan = replace(PLAN, model={**PLAN.model, "anchor": ModelSpec(depth=2, max_context=128)})
    with pytest.raises(BadInput, match="cannot take the weights"):
        carry_out(tmp_path / "run", plan=plan)


def test_a_score_that_is_no_number_is_found_in_any_role():
    task = Task("t", "f", 1, (said("user", "?"),), None, Reference("evolvent.rewards:exact"), Origin("hand"))
    episode = Episode("t/0", task, 0, (Trace("t", 0, "a", "p", ()), Trace("t", 0, "b", "p", ())))

    def broken(episodes):
        return [{"a": Score(1.0), "b": Score(float("nan"))} for _ in episodes]

    [judged] = judge_episodes(lift(broken), [episode])
    assert all(t.score is None and t.fault is not None for t in judged.traces)
