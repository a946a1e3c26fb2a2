from dataclasses import replace

import pytest

from evolvent.codec import to_json
from evolvent.effects import arm, compare_steps, compare_tasks
from evolvent.effects.arms import bare, build_policies
from evolvent.effects.session import Session, session
from evolvent.errors import BadInput
from evolvent.evals.measure import Suite
from evolvent.loop import improve
from evolvent.models.spec import ModelSpec
from evolvent.recipes import circle
from evolvent.rewards import shuffled
from evolvent.store import Run


@pytest.fixture(scope="session")
def plan():
    """A plan of seconds whose suite has as many tasks as a claim needs."""
    built = circle.build()
    return replace(
        built,
        model=ModelSpec(depth=1),
        cold_start=replace(built.cold_start, num_steps=4, tasks_per_step=4),
        num_steps=2,
        tasks_per_step=4,
        group_size=2,
        eval_every=1,
        suite=Suite(num_tasks=256, num_levels=1, num_tasks_during=4, best_of=1),
        budgets=replace(built.budgets, turn_tokens=4),
    )


@pytest.fixture(scope="module")
def arms(plan, tmp_path_factory):
    """Two arms of one seed, and the sessions that they ran in."""
    home = tmp_path_factory.mktemp("arms")
    first, second = Session(cache=home / "cache"), Session(cache=home / "cache")
    with session(first):
        treated = arm(plan, 7, home / "treated")
    with session(second):
        control = arm(replace(plan, reward=shuffled), 7)
    return home, treated, control, first, second


def written(path):
    """Everything but clock values and the names of the run."""
    skipped = ("timings.jsonl", "run.json", "plan.json", "lock")
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(path.rglob("*"))
        if p.is_file() and p.name not in skipped and p.suffix != ".parquet"
    }


def test_an_arm_from_a_kept_cold_start_writes_the_bytes_of_a_run_that_made_its_own(arms, plan, tmp_path):
    home, treated, *_ = arms
    whole = bare(replace(plan, seed=1_000_007))
    assert treated.plan == whole
    run = Run.create(to_json(whole), whole.recipe, whole.seed, tmp_path / "whole")
    improve(whole, build_policies(whole), run)
    assert written(home / "treated") == written(tmp_path / "whole")


def test_the_cold_start_is_made_once_and_its_seconds_are_told_to_both(arms):
    _, treated, control, first, second = arms
    [(seconds, made_here)] = first.cold.values()
    assert made_here and first.cached_s == 0.0
    assert second.cold == dict.fromkeys(first.cold, (seconds, False))
    assert second.cached_s == seconds == treated.spent.cached_s == control.spent.cached_s > 0


def test_an_arm_gives_back_lines_reports_policies_and_cost(arms):
    _, treated, control, *_ = arms
    assert [line["step"] for line in treated.lines] == [5, 6]
    assert treated.spent.updates == 2 == control.spent.updates
    assert treated.spent.tokens == sum(line["num_written"] for line in treated.lines) > 0
    assert treated.reports["before"] == control.reports["before"]
    assert treated.report().step == 6
    assert treated.policies["agent"].version >= 4
    assert len(treated.outcomes()) == 256
    assert treated.outcomes(levels=[2]) == {}


def test_two_arms_are_compared_task_by_task_and_step_by_step(arms):
    _, treated, control, *_ = arms
    one = compare_tasks("tools", "greater", treated, control, column="used_tool")
    assert one.metric == "tool use" and len(one.treated) == len(one.control) == 256
    assert one.spent == treated.spent and one.spent_control == control.spent
    same = compare_tasks("itself", "equal", treated, treated, tolerance=0.01, metric="share of right answers")
    assert same.treated == same.control and same.metric == "share of right answers"
    lines = compare_steps("length", "less", treated, control, key="length_mean")
    assert lines.treated == tuple(line["length_mean"] for line in treated.lines)
    assert lines.unit == "step"


def test_what_an_arm_does_not_have_is_named_with_its_neighbours(arms):
    _, treated, control, *_ = arms
    with pytest.raises(BadInput, match="used_tool"):
        treated.outcomes("tool")
    with pytest.raises(BadInput, match="before"):
        treated.outcomes(report="befor")
    with pytest.raises(BadInput, match="length_mean"):
        compare_steps("length", "less", treated, control, key="length")


def test_an_arm_may_have_no_cold_start(plan):
    bald = replace(plan, cold_start=None, num_steps=1, suite=replace(plan.suite, num_tasks=4))
    found = arm(bald, 1)
    assert found.spent.cached_s == 0.0
    assert {"before", "after"} <= set(found.reports)
