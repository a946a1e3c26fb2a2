import json
from dataclasses import replace

import pytest

from evolvent.curriculum.draw import draw_tasks
from evolvent.curriculum.frontier import Frontier
from evolvent.envs.sandbox import best
from evolvent.envs.shell import Shell, folder_of
from evolvent.errors import BadInput
from evolvent.policies.scripted import Fixed, Oracle
from evolvent.records import Sampling, ToolCall
from evolvent.rewards import by_task, judge_episodes
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import tool_loop
from evolvent.synthesis.terminal.corpus import write_corpus
from evolvent.synthesis.terminal.draft import Clause, Draft, text
from evolvent.synthesis.terminal.proof import STAGES, Asked, validate
from evolvent.synthesis.terminal_tasks import FAMILIES, HELD_OUT, TerminalTasks, as_folder, make
from evolvent.tasks.formats import read_task, task_folders

FULL = Asked(num_mutants=3, num_alternatives=2)
ONCE = replace(FULL, num_runs=1)
ENDLESS = Budgets(1 << 30, 1 << 30, 1 << 30)
SUM = Draft(
    (Clause("Write the number of words of in.txt to out.txt.", (text("out.txt", "4"),)),),
    {"in.txt": "a b\nc d\n"},
    "wc -w < in.txt > out.txt",
    ("wc -l < in.txt > out.txt", "wc -c < in.txt > out.txt", "wc -w < in.txt"),
    ("cat in.txt | wc -w > out.txt", "echo $(cat in.txt) | tr ' ' '\\n' | wc -l > out.txt"),
)


@pytest.fixture(scope="module")
def sandbox():
    return best()


def drawn(draft=SUM, **changes):
    made = as_folder(draft, "words-1-00000000", {"family": "words", "level": 1})
    return replace(made, files={**made.files, **{path: told.encode() for path, told in changes.items()}})


# ------------------------------------------------------------ the proof


def test_a_sound_task_passes_every_stage_in_order(sandbox):
    rows = validate(drawn(), sandbox, FULL)
    assert all(row.is_passed for row in rows), rows
    assert list(dict.fromkeys(row.kind for row in rows)) == list(STAGES)
    assert {row.task_hash for row in rows} == {drawn().digest}
    rewards = {kind: {row.reward for row in rows if row.kind == kind} for kind in STAGES}
    assert rewards["oracle"] == rewards["repeat"] == rewards["alternative"] == {1.0}
    assert rewards["nop"] == {0.0}
    assert max(rewards["mutant"]) < 1.0
    assert sum(row.kind in ("oracle", "nop") for row in rows) == 4


ALWAYS = 'echo 1 > "${EVOLVENT_LOGS:-/logs/verifier}/reward.txt"'
EXISTS = f"test -s out.txt && {ALWAYS} || echo 0 > $EVOLVENT_LOGS/reward.txt"
EXACT = f"grep -qx 'wc -w < in.txt > out.txt' .history && {ALWAYS} || echo 0 > $EVOLVENT_LOGS/reward.txt"
RECORDED = f"echo '{SUM.solution}' > .history; {SUM.solution}"
BARE = replace(SUM, mutants=(), alternatives=())  # for faults that other stages do not see: it is quicker
TWO_STEPS = Draft(
    (*SUM.clauses, Clause("Write the number of lines of in.txt to lines.txt.", (text("lines.txt", "2"),))),
    *(SUM.files, SUM.solution, SUM.mutants, SUM.alternatives),
)
FAULTS = {
    "the checker is always true": ({"tests/test.sh": ALWAYS}, SUM, "nop"),
    "the checker only looks whether a file is there": ({"tests/test.sh": EXISTS}, SUM, "mutant"),
    "the checker wants the exact command": (
        {"tests/test.sh": EXACT, "solution/solve.sh": RECORDED},
        SUM,
        "alternative",
    ),
    "the solution misses a step": ({}, TWO_STEPS, "oracle"),
    "the truth lies in the environment": ({"environment/files/.cache/found": "4\n"}, BARE, "leak"),
    "the tests lie in the environment": (
        {"environment/files/x.py": (drawn().files["tests/check.py"]).decode()},
        BARE,
        "leak",
    ),
    "the solution writes the time": ({"solution/solve.sh": f"{SUM.solution}; date +%s > made.txt"}, BARE, "repeat"),
    "there are too few wrong solutions": ({}, replace(SUM, mutants=SUM.mutants[:2]), "mutant"),
    "the solution is not there": ({"solution/solve.sh": ""}, SUM, "oracle"),
    "the task wants the network": ({"task.toml": '[environment]\nnetwork_mode = "public"'}, SUM, "room"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_stage_and_by_no_earlier_one(sandbox, fault):
    changes, draft, stage = FAULTS[fault]
    asked = Asked() if draft is BARE else ONCE
    *before, last = validate(drawn(draft, **changes), sandbox, asked)
    assert (last.kind, last.is_passed) == (stage, False), last
    assert all(row.is_passed for row in before)
    assert last.log or last.reward is not None


def test_without_the_control_that_does_nothing_a_bad_task_survives(sandbox):
    broken = drawn(**{"tests/test.sh": ALWAYS})
    broken = replace(broken, files={p: d for p, d in broken.files.items() if not p.startswith("probes/mutant")})
    assert all(row.is_passed for row in validate(broken, sandbox, Asked(num_runs=0)))
    assert not all(row.is_passed for row in validate(broken, sandbox))


# ------------------------------------------------------------ the templates


def test_there_are_many_templates_and_whole_ones_are_held_out():
    source = TerminalTasks()
    assert len(FAMILIES) >= 10
    assert set(HELD_OUT) < set(FAMILIES)
    for family in FAMILIES:
        assert source.num_tasks(family, 1, "train") == (0 if family in HELD_OUT else None)
        assert source.num_tasks(family, 1, "test") is None
    with pytest.raises(BadInput, match="held out"):
        source.task(HELD_OUT[0], 1, 0)
    drawn_ = draw_tasks(Frontier().begin(source), source, num=40, seed=0, step=0, held_out=())
    assert not {task.family for task in drawn_} & set(HELD_OUT)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_template_asks_in_words_for_every_fact_and_gives_wrong_and_other_right_ways(family):
    problems = set()
    for level in (1, 2, 3):
        for index in range(4):
            made = make(family, level, index, "test")
            assert made.digest == make(family, level, index, "test").digest
            facts = json.loads(made.files["tests/facts.json"])
            assert facts
            assert all(fact["says"] in made.instruction for fact in facts)
            probes = made.below("probes")
            assert sum(path.startswith("mutant") for path in probes) >= 3
            assert sum(path.startswith("alternative") for path in probes) >= 2
            assert len(set(probes.values())) == len(probes)
            problems.add((made.instruction, str(sorted(made.below("environment").items()))))
    assert len(problems) == 12


def test_higher_levels_have_more_to_look_at():
    sizes = {level: sum(len(make(f, level, 0, "test").below("environment")) for f in FAMILIES) for level in (1, 2, 3)}
    assert sizes[1] < sizes[2] < sizes[3]


@pytest.mark.parametrize("family", ["allow"])
def test_templates_prove_themselves(sandbox, family):
    rows = validate(make(family, 2, 1, "test"), sandbox, ONCE)
    assert all(row.is_passed for row in rows), rows[-1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_templates_prove_themselves_at_every_level(sandbox, family):
    for level in (1, 2, 3):
        for index in range(3):
            rows = validate(make(family, level, index, "test", 1), sandbox, FULL)
            assert all(row.is_passed for row in rows), (level, index, rows[-1])


# ------------------------------------------------------------ played


def stage_with(policy):
    how = Sampling(1 << 20, seed=1)
    return Stage(tool_loop, Shell(), {"agent": policy}, {"agent": "agent"}, how, ENDLESS)


def test_a_scripted_agent_plays_a_terminal_task_to_its_end():
    source = TerminalTasks()
    tasks = [source.task(family, 1, 0, "test") for family in ("rename", "total")]
    attempts = [Attempt(task, 0) for task in tasks]
    right = judge_episodes(by_task, play(attempts, stage_with(Oracle.of(tasks))))
    wrong = judge_episodes(by_task, play(attempts, stage_with(Fixed("done"))))
    assert [e.traces[0].score.value for e in right] == [1.0, 1.0]
    assert [e.traces[0].score.value for e in wrong] == [0.0, 0.0]
    assert right[0].info["files"] != wrong[0].info["files"]
    assert right[0].info["folder"] == folder_of(tasks[0]).digest


def test_the_prompt_holds_nothing_of_the_tests():
    task = TerminalTasks().task("total", 1, 0)
    told = task.question + str(task.prompt)
    assert folder_of(task).files["tests/facts.json"].decode() not in told
    assert task.private.solution[0].calls == (
        ToolCall("shell", {"command": folder_of(task).files["solution/solve.sh"].decode().split("\n", 1)[1].strip()}),
    )


# ------------------------------------------------------------ the corpus


def test_a_corpus_goes_on_where_it_stopped_and_holds_proven_tasks(tmp_path, sandbox):
    first = write_corpus(tmp_path, 1, 5, families=("total", "index"), sandbox=sandbox)
    assert first["kept"] == 1
    before = (tmp_path / "candidates.jsonl").read_text()
    both = write_corpus(tmp_path, 2, 5, families=("total", "index"), sandbox=sandbox)
    assert (both["drawn"], both["kept"]) == (2, 2)
    assert (tmp_path / "candidates.jsonl").read_text().startswith(before)
    assert write_corpus(tmp_path, 2, 5, families=("total", "index"), sandbox=sandbox) == both
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["by_split"] == {"train": 1, "test": 1}
    assert card["held_out_families"] == ["index"]
    assert card["tasks"] == {path.name: read_task(path).digest for path in task_folders(tmp_path)}
    rows = [json.loads(line) for line in (tmp_path / "checks.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == set(STAGES)
    with pytest.raises(BadInput, match="begun with other words"):
        write_corpus(tmp_path, 2, 6, families=("total", "index"), sandbox=sandbox)


def test_doubles_and_broken_candidates_are_counted_and_not_written(tmp_path, sandbox):
    def broken(family, level, index, split, seed):
        return drawn(TWO_STEPS)

    funnel = write_corpus(tmp_path, 1, 0, families=("words",), sandbox=sandbox, maker=broken)
    assert funnel["kept"] == 0
    assert funnel["rejected: oracle"] == 1
    assert funnel["duplicate"] == funnel["drawn"] - 1
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
