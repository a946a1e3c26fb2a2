from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exam
from evolvent.cli import main
from evolvent.codec import from_json, to_json
from evolvent.curriculum import Frontier, Targeted, Uniform
from evolvent.effects.cold_starts import cold_part
from evolvent.errors import BadInput
from evolvent.evals.arena import Arena
from evolvent.evals.diagnosis import Diagnosis, Guideline, Weak, by_statistics
from evolvent.records import Estimate
from evolvent.seeds import stream
from evolvent.store import Run, write_report_page
from evolvent.tasks.several import Several

HALF = Estimate(0.5, 0.4, 0.6, 10)


class Classes:
    families = ("lookup", "update", "join", "create")

    def levels(self, family):
        return (1, 2)


def diagnosis(*weak, number=1):
    guideline = Guideline("", "wrong tool use", "write more of it")
    return Diagnosis(number, 10, (), (), tuple(Weak(family, 1, HALF, (guideline,)) for family in weak))


def live(*weak, **fields):
    curriculum = Targeted(**fields).begin(Classes())
    if weak:
        curriculum.target(diagnosis(*weak))
    return curriculum


def test_without_a_diagnosis_it_draws_what_its_control_draws():
    control = Uniform().begin(Classes())
    assert live().draw(100, Random(3)) == control.draw(100, Random(3))


def test_a_diagnosis_that_calls_nothing_weak_changes_nothing():
    curriculum = live()
    curriculum.target(diagnosis())
    assert curriculum.draw(100, Random(3)) == Uniform().begin(Classes()).draw(100, Random(3))
    assert "no class is weak" in curriculum.events[0]


@given(st.integers(1, 64), st.floats(0.05, 1.0), st.integers(0, 99))
def test_the_share_goes_to_weak_classes_and_the_number_is_that_of_the_control(num, share, seed):
    drawn = live("update", "join", share=share).draw(num, Random(seed))
    assert len(drawn) == num
    targeted = drawn[num - round(share * num) :] if round(share * num) else []
    assert set(targeted) <= {("update", 1), ("join", 1)}


def test_of_weak_classes_those_with_some_success_are_practised_most():
    low = Weak("join", 1, Estimate(0.0, 0.0, 0.1, 10), (Guideline("", "wrong tool use", "x"),))
    some = replace(low, family="update", success=Estimate(0.1, 0.0, 0.2, 10))
    curriculum = Targeted(share=1.0).begin(Classes())
    curriculum.target(replace(diagnosis(), weak=(low, some)))
    drawn = curriculum.draw(8000, Random(0))
    # weights 4 x 0.1 x 0.9 + 0.05 = 0.41 against 0.05, of 0.46
    assert drawn.count(("update", 1)) / 8000 == pytest.approx(0.41 / 0.46, abs=0.02)
    assert drawn.count(("join", 1)) / 8000 == pytest.approx(0.05 / 0.46, abs=0.02)


def test_a_class_that_is_not_practised_can_be_a_target():
    curriculum = live("create", evenly=Uniform(families=("lookup", "join")))
    assert ("create", 1) in curriculum.draw(8, Random(0))
    assert ("create", 1) in curriculum.open_cells()


def test_the_next_diagnosis_replaces_the_last():
    curriculum = live("update")
    curriculum.target(diagnosis("join", number=2))
    assert ("update", 1) not in curriculum.draw(8, Random(0))[4:]
    assert curriculum.events[-1] == "round 2 targets join (wrong tool use)"


def test_state_goes_over_a_stop():
    curriculum = live("update")
    other = live()
    other.restore(from_json(to_json(curriculum.state())))
    assert other.draw(20, Random(1)) == curriculum.draw(20, Random(1))
    assert other.events == curriculum.events
    with pytest.raises(BadInput, match="another source"):
        other.restore({"weak": {"fly": 0.5}, "events": []})


def test_it_survives_json_and_refuses_what_is_no_share():
    plan = Targeted(0.25, Uniform(families=("lookup",)))
    assert from_json(to_json(plan)) == plan
    with pytest.raises(BadInput, match="not a share"):
        Targeted(share=0.0)


# ---------------------------------------------------------------- in the circle


def always_update(episodes, *, number, step, world):
    """A diagnosis that does not depend on what a model of one layer can do."""
    found = by_statistics(episodes, number=number, step=step)
    return replace(found, weak=diagnosis("modular").weak)


def plan():
    from evolvent.tasks import source

    made = exam.small("circle")
    return replace(
        made,
        source=Several((source("chain", 0), source("modular", 0))),
        curriculum=Targeted(share=1.0, evenly=Uniform(families=("chain",))),
        cold_start=replace(made.cold_start, curriculum=Uniform()),
        num_steps=5,
        arena=Arena(round_steps=2, num_worlds=2, tasks_per_world=2, split="test", diagnose=always_update),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return exam.carry_out(plan(), tmp_path_factory.mktemp("arena") / "run")


def test_practice_goes_where_the_diagnosis_points(whole):
    run, _ = whole
    drawn = [{key.partition(":")[0] for key in line["levels"]} for line in run.metrics() if "levels" in line]
    assert drawn[2:] == [{"chain"}, {"chain"}, {"modular"}, {"modular"}, {"modular"}]


def test_each_round_leaves_a_report_a_diagnosis_and_its_episodes(whole):
    run, _ = whole
    assert [found.round for found in run.diagnoses()] == [1, 2]
    assert [r.name for r in run.reports() if r.name.startswith("arena")] == ["arena-1", "arena-2"]
    first, second = (run.episodes(name=f"arena-{n}") for n in (1, 2))
    assert len(first) == len(second) == 8
    assert not {e.task.problem for e in first} & {e.task.problem for e in second}
    trained = {e.task.problem for e in run.episodes(name="")}
    assert not trained & {e.task.problem for e in (*first, *second)}


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2))])
def test_a_run_with_an_arena_stopped_in_a_write_ends_with_the_same_bytes(whole, part, tmp_path):
    run, num_writes = whole
    place = stream(part, "stopped in the arena").randrange(num_writes * part // 3, num_writes * (part + 1) // 3) + 1
    exam.carry_out(plan(), tmp_path / "run", stop_at=place)
    again, _ = exam.carry_out(plan(), tmp_path / "run")
    assert exam.content(again) == exam.content(run), f"stopped at write {place}"


def test_arms_with_and_without_an_arena_share_their_cold_start():
    assert cold_part(plan()) == cold_part(replace(plan(), arena=None, curriculum=Frontier()))


def test_the_rounds_are_shown(whole, capsys):
    run, _ = whole
    assert main(["show", str(run.path)]) == 0
    told = capsys.readouterr().out
    assert "round 1" in told
    assert "modular" in told
    page = write_report_page(Run.reopen(run.path)).read_text("utf-8")
    assert "The arena" in page
    assert "wrong tool use" in page
