import threading
from dataclasses import replace

import pytest

from evolvent.curriculum.refill import Refill
from evolvent.effects.cold_starts import cold_part, cold_start, digest
from evolvent.effects.session import Session, default_cache, session
from evolvent.models.spec import ModelSpec
from evolvent.recipes import circle
from evolvent.rewards import shuffled
from evolvent.training.losses import Clip
from evolvent.training.optim import AdamW

PLAN = circle.build()


def counting(calls):
    """Stands for minutes of training: one file with the seed in it."""

    def carry_out(plan, run):
        calls.append(plan.seed)
        (run.path / "checkpoints" / "weights").write_text(f"trained with {plan.seed}")

    return carry_out


@pytest.fixture
def cache(tmp_path):
    with session(Session(cache=tmp_path)):
        yield tmp_path


def key(plan):
    return digest(cold_part(plan))


@pytest.mark.parametrize(
    "changed",
    [
        {"reward": shuffled},
        {"num_steps": 7},
        {"optimizer": AdamW(lr=1.0)},
        {"loss": replace(PLAN.loss, gain=Clip(0.1, 0.1))},
        {"group_size": 99},
        {"recipe": "another"},
        {"max_tokens": 5},
        {"updates_per_batch": 4},
        {"refill": Refill(max_draws=2)},
        {"eval_every": 3},
    ],
)
def test_arms_that_differ_in_practice_alone_share_a_cold_start(changed):
    assert key(replace(PLAN, **changed)) == key(PLAN)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"model": ModelSpec(depth=1)},
        {"source": "countdown"},
        {"cold_start": replace(PLAN.cold_start, num_steps=7)},
        {"suite": replace(PLAN.suite, num_tasks=300)},
        {"dtype": "bfloat16"},
    ],
)
def test_arms_that_differ_before_practice_do_not(changed):
    assert key(replace(PLAN, **changed)) != key(PLAN)


def test_the_reward_counts_where_the_cold_start_looks_at_scores():
    looking = replace(PLAN, cold_start=replace(PLAN.cold_start, advantage=PLAN.advantage))
    assert key(replace(looking, reward=shuffled)) != key(looking)


def test_a_cold_start_is_made_once(cache):
    calls = []
    first = cold_start(PLAN, counting(calls))
    assert cold_start(PLAN, counting(calls)) == first
    assert calls == [0]
    cold_start(replace(PLAN, seed=5), counting(calls))
    assert calls == [0, 5]


@pytest.mark.parametrize("damage", ["change", "add", "remove", "manifest", "half"])
def test_what_was_damaged_is_made_again(cache, damage):
    calls = []
    run, _ = cold_start(PLAN, counting(calls))
    weights = run / "checkpoints" / "weights"
    if damage == "change":
        weights.write_text("trained with 1")
    elif damage == "add":
        (run / "more").write_text("x")
    elif damage == "remove":
        weights.unlink()
    elif damage == "manifest":
        (run.parent / "manifest.json").write_text("[1")
    else:
        (run.parent / "manifest.json").unlink()
    cold_start(PLAN, counting(calls))
    assert calls == [0, 0]
    assert weights.read_text() == "trained with 0"


def test_a_break_half_way_leaves_nothing_behind(cache):
    def broken(plan, run):
        raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError):
        cold_start(PLAN, broken)
    assert [p.name for p in (cache / "cold-starts").iterdir() if not p.name.endswith(".lock")] == []
    cold_start(PLAN, counting([]))


def test_whoever_needs_it_at_the_same_time_waits_and_shares(cache):
    calls, found = [], []

    def need():
        with session(Session(cache=cache)):
            found.append(cold_start(PLAN, counting(calls)))

    threads = [threading.Thread(target=need) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [0]
    assert len(set(found)) == 1


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EVOLVENT_CACHE", raising=False)
    assert default_cache() == tmp_path / "xdg" / "evolvent"
    monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "mine"))
    assert default_cache() == tmp_path / "mine"
