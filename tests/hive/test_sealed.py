import json
import platform
from concurrent.futures import ThreadPoolExecutor

import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, InfrastructureError, VerifierError
from evolvent.hive.sealed import Bench, Outcome
from hive.forge import HONEST, HONEST_VALUE, LABELS, PREDICT, SCORE, TASK, commit_files, git, make_task


def test_an_honest_run_gets_its_number_and_everything_it_depends_on_is_written_down(stand):
    commit = commit_files(stand.repository, {"solve.py": HONEST + "print('hello')"})
    result = stand.measure(commit)
    assert (result.outcome, result.value, result.commit) == (Outcome.SCORED, HONEST_VALUE, commit)
    assert (result.task, result.task_digest, result.bundle) == ("labels", stand.task.digest, "sealed")
    seed = result.seeds[0]
    assert seed.seed == 5 and seed.log == "hello" and seed.wall_s > 0 and len(seed.cases) == 10
    assert len(seed.inputs_digest) == len(seed.predictions_digest) == len(result.tree_digest) == 64
    assert result.made_with["python"] == platform.python_version() and result.made_with["evolvent"]
    assert result.tier in ("bubblewrap", "landlock", "container")


def test_the_same_artifact_gives_the_same_record_but_for_the_clock(stand):
    first, second = stand.run(), stand.run()
    assert first.seeds[0].predictions_digest == second.seeds[0].predictions_digest
    assert (first.value, first.tree_digest) == (second.value, second.tree_digest)


def test_a_record_is_written_down_and_read_back_as_it_was(stand):
    for solve in (HONEST, "raise SystemExit(1)"):
        result = stand.run(solve)
        assert from_json(to_json(result)) == result


def test_right_answers_score_one(stand):
    assert stand.run(PREDICT + f"predict({LABELS})").value == 1.0


def test_the_artifact_sees_the_public_files_its_own_and_the_questions_and_no_others(stand):
    look = "import os\nprint(sorted(os.path.join(d, f)[2:] for d, _, fs in os.walk('.') for f in fs))\n"
    result = stand.run(look + HONEST, files={"lib/a.py": "1", "stray.txt": "x", "eval/eval.sh": "mine"})
    assert json.loads(result.seeds[0].log.replace("'", '"')) == [
        "data.txt", "eval/eval.sh", "inputs/questions.json", "lib/a.py", "program.md", "solve.py",
    ]  # fmt: skip
    assert stand.run("print(open('eval/eval.sh').read())\n" + HONEST, files={"eval/eval.sh": "mine"}).seeds[0].log == (
        "echo"
    )


def test_other_seeds_pose_other_questions_and_the_mean_is_over_seeds(stand):
    commit = commit_files(stand.repository, {"solve.py": HONEST})
    result = stand.measure(commit, seeds=(1, 2))
    assert [one.seed for one in result.seeds] == [1, 2]
    assert result.seeds[0].inputs_digest != result.seeds[1].inputs_digest
    assert result.values == (HONEST_VALUE,) * 2


def test_one_bad_seed_makes_the_whole_run_invalid(stand):
    breaks = "import json\nx = json.load(open('inputs/questions.json'))[0]['x']\nassert x != 62\n" + HONEST
    result = stand.measure(commit_files(stand.repository, {"solve.py": breaks}), seeds=(1, 2, 3))
    assert (result.outcome, result.value, len(result.seeds)) == (Outcome.INVALID, None, 2)
    assert result.why == "the artifact ended with exit 1" and "AssertionError" in result.seeds[1].log


def test_the_hold_out_is_asked_with_its_own_seeds_and_its_own_data(fresh, tmp_path):
    other = json.dumps({"labels": [1] * 10})
    task = make_task(tmp_path / "second", more={"holdout/labels.json": other})
    digest = fresh.shelf.put(task)
    commit = commit_files(fresh.repository, {"solve.py": HONEST})
    result = fresh.bench.measure(digest, fresh.repository, commit, bundle="holdout")
    assert (result.value, result.bundle, [one.seed for one in result.seeds]) == (1.0, "holdout", [6])
    with pytest.raises(BadInput, match="no such bundle"):
        fresh.bench.measure(digest, fresh.repository, commit, bundle="public")
    with pytest.raises(BadInput, match="without seeds"):
        fresh.bench.measure(digest, fresh.repository, commit, seeds=())


@pytest.mark.parametrize(
    ("score", "why"),
    [
        ("def pose(seed, data): 1/0", "ZeroDivisionError"),
        (SCORE.replace("return [float", "return [2.0 for _ in range(2)] or [float"), "left its range"),
        (SCORE.replace("return [float", "return float('nan') or [float"), "no finite number"),
        (SCORE.replace("truth =", "import os; os._exit(3)\n    truth ="), "exit 3"),
        (SCORE.replace("truth =", "import os; os._exit(0)\n    truth ="), "exit 0"),
        (SCORE.replace("truth =", "import time; time.sleep(60)\n    truth ="), "late"),
        (SCORE.replace('"questions.json"', '"../solve.py"'), "leads out"),
    ],
)
def test_a_scorer_that_breaks_is_the_hubs_fault_and_no_score_of_anybody(fresh, tmp_path, score, why):
    toml = TASK.replace("[budget]", "[budget]\nscoring_seconds = 2.0")
    digest = fresh.shelf.put(make_task(tmp_path / "second", toml, {"sealed/score.py": score}))
    with pytest.raises(VerifierError, match=why):
        fresh.bench.measure_files(digest, fresh.task.baseline)


def test_what_a_scorer_prints_is_no_answer(fresh, tmp_path):
    noisy = SCORE.replace("truth =", "print('{\"cases\": [1.0]}')\n    truth =")
    digest = fresh.shelf.put(make_task(tmp_path / "second", more={"sealed/score.py": noisy}))
    assert fresh.bench.measure_files(digest, fresh.task.baseline).value == HONEST_VALUE


@pytest.mark.parametrize(
    "path", ["eval/eval.sh", "data.txt", "inputs/questions.json", "lib/../data.txt", "/etc/x", "lib/.git"]
)
def test_files_that_are_no_commit_must_lie_at_the_mutable_paths_too(stand, path):
    with pytest.raises(BadInput, match="no part of an artifact"):
        stand.bench.measure_files(stand.digest, {"solve.py": HONEST.encode(), path: b""})


def test_workers_that_measure_at_the_same_time_do_not_mix_what_they_measure(stand):
    answers = [HONEST, PREDICT + f"predict({LABELS})", "print('x')", PREDICT + f"predict({[1 - x for x in LABELS]})"]
    commits = [commit_files(stand.repository, {"solve.py": text}) for text in answers]
    with ThreadPoolExecutor(4) as workers:
        found = [result.value for result in workers.map(stand.measure, commits * 2)]
    assert found == [HONEST_VALUE, 1.0, None, 0.0] * 2


def test_scoring_leaves_no_trace_in_the_sealed_folder(stand):
    stand.run()
    assert stand.shelf.take(stand.digest).digest == stand.digest
    assert not list(stand.shelf.folder(stand.digest).rglob("__pycache__"))


def test_a_commit_that_git_made_and_packed_is_read_like_any_other(stand, tmp_path):
    git(tmp_path, "init", "-q", "-b", "main", "work")
    work = tmp_path / "work"
    (work / "lib").mkdir()
    (work / "solve.py").write_text(HONEST)
    (work / "lib" / "a.txt").write_text("a" * 5000)
    for text in ("one", "two"):
        (work / "notes.md").write_text(text)
        (work / "lib" / "a.txt").write_text("a" * 5000 + text)
        git(work, "add", ".")
        git(work, "commit", "-qm", text)
    git(work, "gc", "-q")
    commit = git(work, "rev-parse", "HEAD")
    git(tmp_path, "clone", "-q", "--bare", "work", "bare.git")
    for repository in (work, tmp_path / "bare.git"):
        result = stand.bench.measure(stand.digest, repository, commit)
        assert result.value == HONEST_VALUE, result.why


def test_without_a_sandbox_for_commands_nothing_is_run(stand):
    from evolvent.envs.sandbox import best, probe_all

    if probe_all()["monty"]:
        pytest.skip("no monty here")
    with pytest.raises(InfrastructureError, match="cannot run an artifact"):
        Bench(stand.shelf, best("monty")).measure_files(stand.digest, stand.task.baseline)
