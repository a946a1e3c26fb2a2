import hashlib
import json
import shutil

import pytest

from evolvent.store import Run

JUDGE = """
from evolvent import Score

def any_words(task, answer):
    return Score(1.0 if answer else 0.0, why="words" if answer else "silence")

def breaks(task, answer):
    raise RuntimeError("no")

SEVEN = 7
"""


@pytest.fixture
def copied(tiny_run, tmp_path, monkeypatch):
    path = tmp_path / "copied"
    shutil.copytree(tiny_run, path)
    (tmp_path / "my_judge_of_tests.py").write_text(JUDGE)
    monkeypatch.chdir(tmp_path)
    return path


def digests(path):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (path / "episodes").iterdir()}


def test_another_judge_changes_scores_and_no_episode(copied, answered):
    before = digests(copied)
    found = answered("rescore", copied, "reward=my_judge_of_tests:any_words")
    episodes = Run.reopen(copied).episodes()
    wrong = [e for e in episodes if e.answer and e.traces[0].score.value == 0]
    assert found["num_episodes"] == len(episodes)
    assert found["num_changed"] == len(wrong) > 0
    assert found["new_mean"] > found["old_mean"]
    assert found["changes"][0]["why"] == "words"
    assert digests(copied) == before


def test_what_came_out_is_kept_whole_and_nothing_is_overwritten(copied, answered):
    for n in (1, 2):
        found = answered("rescore", copied, "reward=my_judge_of_tests:any_words")
        assert found["written"] == str(copied / "rescored" / f"my_judge_of_tests-any_words-{n}.json")
    kept = json.loads((copied / "rescored" / "my_judge_of_tests-any_words-1.json").read_text())
    assert len(kept["changes"]) == found["num_changed"]


def test_the_same_judge_changes_nothing(copied, answered, told):
    assert answered("rescore", copied, "reward=by_task")["num_changed"] == 0
    assert "0 scores changed" in told("rescore", copied, "reward=exact")[1]


def test_only_some_episodes_are_judged_again(copied, answered):
    whole = answered("rescore", copied, "reward=exact")["num_episodes"]
    some = answered("rescore", copied, "reward=exact", "step=8", "name=after", "where=level = 2")["num_episodes"]
    assert 0 < some < whole


def test_a_judge_that_breaks_is_counted_and_not_a_score(copied, answered):
    found = answered("rescore", copied, "reward=my_judge_of_tests:breaks")
    assert found["num_unjudged"] == found["num_episodes"]
    assert found["new_mean"] is None


def test_what_is_no_judge_is_refused(copied, refused):
    assert "rescore needs a judge" in refused("rescore", copied)
    assert "this is no judge" in refused("rescore", copied, "reward=my_judge_of_tests:SEVEN")
    assert "did you mean exact" in refused("rescore", copied, "reward=exct")
    assert "cannot stand in a reward slot" in refused("rescore", copied, "reward=format_matches")
    assert "no stored episode fits" in refused("rescore", copied, "reward=exact", "step=77")


def test_without_the_answers_nothing_is_judged(copied, refused):
    shutil.rmtree(copied / "private")
    (copied / "private").mkdir()
    assert "the answers of the tasks are not there" in refused("rescore", copied, "reward=exact", status=1)
