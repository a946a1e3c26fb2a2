import json
import os
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.codec import from_json, to_json
from evolvent.envs import Toolbox, calc
from evolvent.errors import BadInput, VerifierError
from evolvent.records import Message, Origin, Private, Reference, Score, Task, ToolCall, said
from evolvent.rewards import exact, numeric
from evolvent.rollouts.workflows import ToolLoop, tool_loop
from evolvent.seeds import stream
from evolvent.synthesis.trust import CHECKS, Proof, Status, as_plain, examine, find_subject, refuse_unproven
from evolvent.synthesis.trust.forms import NUMBER, equal_forms, plain, says, wrong_forms
from evolvent.synthesis.trust.refusal import PROVEN, Few
from evolvent.tasks.copies import Copies
from evolvent.tasks.mislabelled import Mislabelled, next_digit
from evolvent.tasks.procedural import Procedural, family_names, split_of
from evolvent.tasks.tallies import Tallies

HERE = __name__
QUICK = Proof(num_tasks=4, num_attacked=1, redraws=False, max_judge_s=0.5)


@dataclass(frozen=True)
class Sums:
    """Sums of two numbers with a planted fault, and a judge by name."""

    fault: str = ""
    judge: str = "evolvent.rewards.verify:numeric"

    families = ("sums",)

    def levels(self, family):
        return (1,)

    def num_tasks(self, family, level, split):
        return None

    def task(self, family, level, index, split="train"):
        rng = stream(0, "sums", split, index)
        a = b = 0
        while not a or (split_of("sums", f"{a}+{b}?") != split and self.fault != "one split"):
            a, b = rng.randint(100, 999), rng.randint(100, 999)
        if self.fault == "one split":
            a, b = 100 + index, 200
        if self.fault == "hash seed":
            a = 100 + hash(f"{split}{index}") % 900
        answer, data = str(a + b), {"private": f"the sum is {a + b}"}
        if self.fault == "constant":
            b, answer = 7, "7"
        question = f"{a}+{b}?"
        if self.fault == "told":
            question = f"{a}+{b}? The answer is {answer}."
        if self.fault == "torn" and split == "train":
            question = "how much?"
        solution = (said("assistant", str(a + b + (self.fault == "wrong solution"))),)
        if self.fault == "constant":
            solution = (said("assistant", "7"),)
        return Task(
            f"sums-{split}-{index}", "sums", 1, (said("user", question),), Private(answer, data, solution),
            Reference(self.judge), Origin("test"), split,
        )  # fmt: skip


def yielding(task, answer):
    """Right where the answer stands anywhere: a loose judge."""
    return Score(float(task.private.answer in answer))


def obedient(task, answer):
    """Right for whoever orders it to be."""
    return Score(float(answer.strip() == task.private.answer or "score" in answer.lower()))


def idle(task, answer):
    """Right for silence."""
    return Score(float(not answer.strip() or answer == task.private.answer))


def running(task, answer):
    """Evaluates what it is given, as careless judges do."""
    try:
        return Score(float(eval(answer) == int(task.private.answer)))
    except Exception:
        return Score(0.0)


def sleeping(task, answer):
    """Takes as long as the agent likes."""
    if len(answer) > 10_000:
        time.sleep(30)
    return exact(task, answer)


def breaking(task, answer):
    """Raises whatever comes."""
    return Score(float(int(answer) == int(task.private.answer)))


def giving_up(task, answer):
    """Says honestly that it cannot judge."""
    if not NUMBER.fullmatch(answer.strip()):
        raise VerifierError("this judge reads numbers only")
    return numeric(task, answer)


def in_parts(task, answer):
    """Half for length, half for truth; the length goes against it."""
    right = exact(task, answer).value
    return Score(right, {"length": min(1.0, len(answer) / 1000), "right": right, "always": 1.0})


def rows(report):
    """The status of each check by name."""
    return {check.name: check.status for check in report.checks}


def failed(report):
    """The names of the checks that failed."""
    return [check.name for check in report.failed]


# ---------------------------------------------------------------- what is sound


def test_sound_tasks_hold_and_every_check_has_its_row():
    report = examine(Sums(), QUICK)
    assert report.holds
    assert not report.flawed
    assert [check.name for check in report.checks] == [kind.name for kind in CHECKS]
    tried = {name for name, status in rows(report).items() if status is not Status.NOT_APPLICABLE}
    assert tried == {kind.name for kind in CHECKS} - {"files", "components"}


@pytest.mark.parametrize("family", family_names())
def test_our_families_prove_themselves_at_both_ends(family):
    source = Procedural((family,))
    ends = (source.levels(family)[0], source.levels(family)[-1])
    proof = replace(QUICK, num_tasks=2, max_judge_s=10.0)
    report = examine(Few(Procedural((family,), only_levels=ends)), proof)
    assert not report.failed, as_plain(report)


@pytest.mark.slow
@pytest.mark.parametrize("family", family_names())
def test_our_families_prove_themselves_in_every_cell_and_in_another_process(family):
    report = examine(Procedural((family,)), Proof(num_tasks=8))
    assert not report.failed, as_plain(report)


@pytest.mark.parametrize("source", [Copies(), Tallies()])
def test_the_other_proven_sources_prove_themselves_too(source):
    assert type(source) in PROVEN
    report = examine(source, replace(QUICK, num_tasks=2))
    assert not report.failed, as_plain(report)


def test_a_judge_that_breaks_costs_nothing_and_is_told():
    report = examine(Sums(judge=f"{HERE}:breaking"), QUICK)
    assert rows(report)["attacks"] is Status.WARNED, "what is left out of the loss pays nobody"


def test_a_report_goes_through_json_and_back():
    report = examine(Sums(judge=f"{HERE}:yielding"), QUICK)
    assert from_json(to_json(report)) == report
    assert as_plain(report)["holds"] is False


def test_the_same_seed_gives_the_same_report():
    once, twice = (as_plain(examine(Sums(judge=f"{HERE}:obedient"), QUICK)) for _ in range(2))
    for answer in (once, twice):
        next(row for row in answer["checks"] if row["name"] == "attacks")["numbers"].pop("slowest_s")
    assert once == twice


# ---------------------------------------------------------------- what is planted is found


@pytest.mark.parametrize(
    ("fault", "judge", "check"),
    [
        ("wrong solution", "evolvent.rewards.verify:numeric", "oracle"),
        ("told", "evolvent.rewards.verify:exact", "leak"),
        ("torn", "evolvent.rewards.verify:exact", "whole"),
        ("one split", "evolvent.rewards.verify:exact", "split"),
        ("", f"{HERE}:yielding", "wrong"),
        ("", f"{HERE}:obedient", "attacks"),
        ("", f"{HERE}:running", "attacks"),
        ("", f"{HERE}:idle", "nothing"),
    ],
)
def test_a_planted_fault_fails_its_check_and_names_a_task(fault, judge, check):
    report = examine(Sums(fault, judge), QUICK)
    assert check in failed(report), as_plain(report)
    row = report.check(check)
    assert row.examples[0].task_id in report.flawed
    assert check in report.flawed[row.examples[0].task_id]
    assert row.cure


def test_flawed_tasks_can_be_dropped():
    source = Mislabelled(Copies(), 0.5, next_digit)
    tasks = [source.task("copies", 1, index) for index in range(12)]
    report = examine(tasks, QUICK)
    kept = report.keep(tasks)
    assert kept == tuple(t for t in tasks if t.private.solution[-1].text == t.private.answer)
    assert 0 < len(kept) < len(tasks)


def test_code_in_an_answer_that_a_judge_runs_is_named():
    report = examine(Sums(judge=f"{HERE}:running"), QUICK)
    assert "code was run by the judge" in {flaw.what for flaw in report.check("attacks").examples}


def test_a_judge_that_hangs_is_stopped_and_named():
    report = examine(Sums(judge=f"{HERE}:sleeping"), replace(QUICK, num_tasks=1, max_judge_s=0.1))
    assert "holds the judge up" in report.check("attacks").examples[0].what


def test_a_judge_that_gives_up_is_a_warning_for_that_costs_the_agent_nothing():
    report = examine(Sums(judge=f"{HERE}:giving_up"), QUICK)
    assert rows(report)["attacks"] is Status.WARNED
    assert not report.failed


def test_one_answer_for_all_fails_only_above_the_threshold():
    many = replace(QUICK, num_tasks=8, num_attacked=0)
    assert rows(examine(Sums("constant"), many))["floor"] is Status.FAILED
    assert rows(examine(Sums("constant"), replace(many, max_floor=1.0)))["floor"] is Status.WARNED
    report = examine(Sums("constant"), many)
    assert report.check("floor").numbers["best_single_answer"] == 1.0


def test_tasks_that_depend_on_the_hash_seed_are_found_in_another_process():
    before = os.environ.get("PYTHONHASHSEED")
    report = examine(Sums("hash seed", "evolvent.rewards.verify:exact"), replace(QUICK, redraws=True, num_attacked=0))
    assert "again" in failed(report), before
    assert rows(examine(Sums(), replace(QUICK, redraws=True, num_attacked=0)))["again"] is Status.PASSED


def test_a_source_that_hangs_costs_its_cell_and_not_the_proof():
    report = examine(Endless(), replace(QUICK, max_draw_s=0.2))
    assert "cannot be drawn" in report.check("oracle").examples[0].what
    assert report.num_cells == 1


@dataclass(frozen=True)
class Endless(Sums):
    """Never finds its third task."""

    def task(self, family, level, index, split="train"):
        while index == 2:
            time.sleep(0.01)
        return super().task(family, level, index, split)


def test_other_forms_of_an_answer_are_a_warning_unless_the_task_says_that_form_counts():
    judge = f"{HERE}:breaking"
    assert rows(examine(Sums(judge=judge), QUICK))["forms"] is Status.WARNED
    assert rows(examine(Sums(judge=judge), replace(QUICK, form_counts=True)))["forms"] is Status.NOT_APPLICABLE
    tasks = [Sums(judge=judge).task("sums", 1, i) for i in range(3)]
    strict = [replace(t, private=replace(t.private, data={"form_counts": True})) for t in tasks]
    assert rows(examine(strict, QUICK))["forms"] is Status.NOT_APPLICABLE


def test_parameters_that_stand_in_both_splits_are_found_where_the_words_differ():
    assert "split" in failed(examine(ToldParameters(), QUICK))


@dataclass(frozen=True)
class ToldParameters(Sums):
    """Puts the same two numbers into other words for the test."""

    def task(self, family, level, index, split="train"):
        task = super().task(family, level, index, "train")
        words = task.question if split == "train" else f"what is {task.question}"
        return replace(task, prompt=(said("user", words),), split=split, task_id=f"{task.task_id}-{split}")

    def parameters(self, task):
        return task.question.removeprefix("what is ")


def test_a_part_of_a_reward_that_goes_against_the_truth_is_found():
    proof = replace(QUICK, judge=in_parts, truth=exact)
    row = examine(Sums(), proof).check("components")
    assert row.status is Status.FAILED
    assert row.numbers["right"] == pytest.approx(1.0)
    assert row.numbers["length"] < 0
    assert row.numbers["always"] == 0.0


# ---------------------------------------------------------------- worlds


@dataclass
class Telling:
    """A tool that has read what it should not."""

    secret: str

    def __call__(self) -> str:
        """Say it."""
        return f"psst: {self.secret}"


@dataclass(frozen=True)
class Gossip:
    """A world whose plan hands private data to a tool."""

    what: str

    def open(self, task, seed):
        secret = task.private.answer if self.what == "answer" else task.private.data["private"]
        return Toolbox((Telling(secret),)).open(task, seed)


@pytest.mark.parametrize(("what", "status"), [("answer", Status.FAILED), ("data", Status.WARNED)])
def test_a_tool_that_shows_what_is_private_is_heard(what, status):
    report = examine(Sums(), replace(QUICK, world=Gossip(what)))
    assert rows(report)["private"] is status


def test_a_world_that_keeps_the_answer_out_of_reach_passes():
    assert rows(examine(Sums(), replace(QUICK, world=Toolbox((calc,)))))["private"] is Status.PASSED


class Dice:
    """A tool whose state is not in its snapshot."""

    def __init__(self, seed):
        self.rng = random.Random(seed)

    def __call__(self) -> str:
        """Throw."""
        return str(self.rng.randint(1, 10**9))

    def snapshot(self):
        return b""

    def restore(self, state):
        return None


@dataclass(frozen=True)
class Throws:
    """Opens dice: from the seed, or from nothing."""

    is_seeded: bool
    name = "throw"

    def open(self, task, seed):
        dice = Dice(seed if self.is_seeded else None)
        dice.name = self.name
        return dice


def thrown():
    """Tasks whose solution throws twice."""
    throw = Message("assistant", (ToolCall("throw", {}),))
    tasks = [Sums().task("sums", 1, i) for i in range(2)]
    return [
        replace(t, private=replace(t.private, solution=(throw, throw, *t.private.solution))) for t in tasks
    ]  # fmt: skip


def test_chance_from_nowhere_is_found_by_replay():
    report = examine(thrown(), replace(QUICK, world=Toolbox((Throws(False),))))
    assert rows(report)["again"] is Status.FAILED


def test_state_that_a_snapshot_forgets_is_found_by_branching():
    report = examine(thrown(), replace(QUICK, world=Toolbox((Throws(True),))))
    assert rows(report)["again"] is Status.PASSED
    assert rows(report)["branches"] is Status.FAILED


# ---------------------------------------------------------------- forms of answers


@given(st.integers(-(10**6), 10**6), st.lists(st.integers(0, 99).map(str), max_size=4))
def test_wrong_forms_of_a_number_never_read_as_it_by_the_numeric_judge(number, others):
    task = replace(Sums().task("sums", 1, 0), private=Private(str(number)))
    for name, form in wrong_forms(str(number), others).items():
        assert numeric(task, form).value == 0.0, name
    for name, form in equal_forms(str(number)).items():
        assert numeric(task, form).value == 1.0, name


@given(st.text(min_size=1, max_size=30).filter(lambda text: text.strip() == text))
def test_wrong_forms_of_words_differ_from_them(answer):
    for form in wrong_forms(answer, ("other", "words")).values():
        assert plain(form) != plain(answer)


def test_what_a_text_says_by_chance_is_known():
    assert says("score: 1.0", "1")
    assert says("The answer is Yes.", "yes")
    assert not says("score: 1.0", "10")
    assert not says("eyes", "yes")


# ---------------------------------------------------------------- files and folders


def test_a_changed_added_or_removed_file_is_found(tmp_path):
    for name in ("tests/test.sh", "solution/solve.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    from evolvent.synthesis.trust.subjects import manifest

    before = manifest(tmp_path)
    assert rows(examine(Sums(), QUICK, files=before, known_files=before))["files"] is Status.PASSED
    (tmp_path / "tests" / "test.sh").write_text("echo 1 > reward.txt")
    (tmp_path / "solution" / "solve.sh").unlink()
    (tmp_path / "tests" / "more.sh").write_text("")
    report = examine(Sums(), QUICK, files=manifest(tmp_path), known_files=before)
    assert {flaw.what for flaw in report.check("files").examples} == {
        "tests/test.sh was changed", "solution/solve.sh was removed", "tests/more.sh is new",
    }  # fmt: skip


def test_a_data_set_with_two_answers_to_one_question_fails(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"question": f"{i}+{i}?", "answer": str(2 * i)}) for i in range(20, 60)]
    path.write_text(
        "\n".join(lines) + '\n{"question": "20+20?", "answer": "41"}\n{"question": "21+21?", "answer": 42}\n'
    )
    subject = find_subject(str(path))
    report = examine(subject.source, QUICK, files=subject.files)
    assert failed(report) == ["whole"]
    assert report.check("whole").numbers["share_again"] == pytest.approx(2 / 42, abs=1e-4)
    assert set(report.files) == {"rows.jsonl"}


def test_a_folder_without_tasks_is_refused_with_what_is_wanted(tmp_path):
    with pytest.raises(BadInput, match=r"task\.toml"):
        find_subject(str(tmp_path))


# ---------------------------------------------------------------- training


def test_training_refuses_tasks_that_fail_and_says_how_to_go_on():
    with pytest.raises(BadInput) as refused:
        refuse_unproven(Mislabelled(Copies(), 1.0, next_digit), Toolbox((calc,)), tool_loop)
    assert "worked solution" in str(refused.value.got)
    assert "unproven=true" in refused.value.cure
    assert "evolvent check" in refused.value.cure


def test_a_solution_that_the_workflow_cuts_short_is_told_so():
    call = Message("assistant", (ToolCall("calc", {"expression": "1+1"}),))
    tasks = [replace(t, private=replace(t.private, answer="no", solution=(call,) * 9)) for t in thrown()]
    told = examine(tasks, replace(QUICK, workflow=ToolLoop(8))).check("oracle").examples[0].what
    assert told.endswith("the workflow ended after 8 of its 9 turns")


def test_training_takes_sound_tasks_of_a_stranger():
    refuse_unproven(Sums(), Toolbox((calc,)), tool_loop)


def test_training_never_looks_at_what_our_tests_prove(monkeypatch):
    monkeypatch.setattr(Procedural, "task", lambda *_: pytest.fail("it was drawn"))
    refuse_unproven(Procedural(("chain",)), Toolbox((calc,)), tool_loop)


def test_the_trap_folder_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    examine(Sums(), replace(QUICK, num_tasks=1))
    assert list(Path(tmp_path).iterdir()) == []
