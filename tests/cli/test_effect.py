import json
import os
import signal
import subprocess
import sys
import time

import pytest

from evolvent.cli.effect import effect_of
from evolvent.cli.recipes import plan_of
from evolvent.cli.values import recipe_names
from evolvent.effects import Observation, Spent
from evolvent.effects.results import SeedResult, keep_result, key_of, result_path

TOY = '''
"""A method that cannot fail."""
from pathlib import Path
from random import Random
import time

from evolvent.effects import Observation, Spent
HOME = Path(__file__).parent


def build():
    return None


def effect(seed):
    with (HOME / "calls").open("a") as calls:
        calls.write(f"{seed}\\n")
    while (HOME / f"wait-{seed}").exists():
        time.sleep(0.05)
    if (HOME / f"break-{seed}").exists():
        raise ValueError("no power")
    rng = Random(seed)
    control = [float(rng.random() < 0.4) for _ in range(300)]
    treated = [float(c or rng.random() < 0.3) for c in control]
    spent = Spent(1000, 10, 1.0)
    return [
        Observation("more is right", "greater", "accuracy", tuple(treated), tuple(control), spent, spent),
        Observation("not much more", "equal", "accuracy", tuple(treated), tuple(control), spent, spent, tolerance=0.3),
    ]
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A recipe of one's own in the working folder; gives the folder."""
    (tmp_path / "toy_effect.py").write_text(TOY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    sys.modules.pop("toy_effect", None)


def calls(folder):
    return sorted(map(int, (folder / "calls").read_text().split()))


def test_an_effect_is_measured_once_kept_and_put_on_the_board(answered, told, toy):
    found = answered("effect", "toy_effect:effect", "out=board")
    assert found["name"] == "toy_effect" and found["sign_ok"] and found["metric"] == "accuracy"
    assert [c["kind"] for c in found["contrasts"]] == ["greater", "equal"]
    assert len(found["contrasts"][0]["per_seed"]) == 3
    assert calls(toy) == [0, 1, 2]
    status, out, _ = told("effect", "toy_effect:effect")
    assert status == 0 and calls(toy) == [0, 1, 2]
    assert "measured before" in out and "verdict  shown" in out and "+0.1" in out
    board = json.loads((toy / "board" / "effects.json").read_text())["effects"]
    assert board["toy_effect"]["verdict"] == "shown"
    assert "<svg" in (toy / "board" / "effects.html").read_text()


def test_a_seed_that_fails_is_named_and_the_others_are_kept(refused, answered, toy):
    (toy / "break-1").touch()
    said = refused("effect", "toy_effect:effect", "seeds=0,1", status=1)
    assert "toy_effect:effect seed 1" in said and "no power" in said
    (toy / "break-1").unlink()
    found = answered("effect", "toy_effect:effect", "seeds=0,1")
    assert len(found["contrasts"][0]["per_seed"]) == 2
    assert calls(toy) == [0, 1, 1]


def test_ctrl_c_loses_no_seed_that_is_finished(answered, toy):
    (toy / "wait-1").touch()
    words = ["effect", "toy_effect:effect", "seeds=0,1"]
    code = "import sys; from evolvent.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(toy), *sys.path])}
    running = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=toy, env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    kept = toy / "cache" / "effects"
    while not list(kept.glob("*/seed-0.json")) or calls(toy) != [0, 1]:
        assert running.poll() is None, running.stderr.read().decode()
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(timeout=60) == 130
    running.stderr.close()
    (toy / "wait-1").unlink()
    assert len(answered(*words)["contrasts"][0]["per_seed"]) == 2
    assert calls(toy) == [0, 1, 1]


@pytest.mark.slow
def test_the_board_of_all_goes_on_from_what_is_kept(answered, toy):
    for name in (n for n in recipe_names() if effect_of(n) is not None):
        for seed in range(3):
            one = Observation("a claim", "greater", "accuracy", (1.0,) * 256, (0.0,) * 256, Spent(9, 1), Spent(9, 1))
            path = result_path(toy / "cache", name, key_of(f"evolvent.recipes.{name}", plan_of(name)), seed)
            keep_result(path, SeedResult(name, seed, 1.0, 0.0, (one,)))
    found = answered("effect", "--all", "out=board")
    assert found["failures"] == []
    assert {"circle", "sft"} <= {e["name"] for e in found["effects"]}
    board = json.loads((toy / "board" / "effects.json").read_text())["effects"]
    assert list(board) == [e["name"] for e in found["effects"]]
    assert (toy / "board" / "effects.html").read_text().count("<section") == len(board)


def test_what_was_asked_wrongly_is_told_before_anything_runs(refused, toy):
    assert "did you mean circle" in refused("effect", "crcle")
    assert "seeds=0,1,2" in refused("effect", "circle", "seeds=0,x")
    assert "seeds=0,1,2" in refused("effect", "circle", "seeds=-1")
    assert "different" in refused("effect", "circle", "seeds=1,1")
    assert "did you mean seeds" in refused("effect", "circle", "seds=1")
    assert "so few seeds" in refused("effect", "circle", "seeds=0,1", "out=board")
    assert "circle" in refused("effect")
    assert "takes no name" in refused("effect", "circle", "--all")
    assert "true or false" in refused("effect", "circle", "fresh=yes")
    (toy / "no_effect.py").write_text("from evolvent.recipes.circle import build, CARD\n")
    assert "no_effect" in refused("effect", "no_effect:effect")
    assert not (toy / "cache").exists()


def test_a_recipe_of_the_package_without_an_effect_is_told_with_those_that_have_one(refused, monkeypatch):
    from evolvent.recipes import sft

    monkeypatch.delattr(sft, "effect")
    said = refused("effect", "sft")
    assert "has no effect(seed)" in said and "circle" in said


def test_every_recipe_can_be_asked_for():
    assert {plan_of(name).recipe for name in recipe_names()} == set(recipe_names())
