import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from evolvent.cli.main import main
from evolvent.cli.run import prepare
from evolvent.codec import from_json, to_json
from evolvent.credit.advantage import Standardized, imitate_all
from evolvent.curriculum import Frontier
from evolvent.envs import Toolbox, calc
from evolvent.errors import BadInput, GateFailed, StoreError
from evolvent.evals.measure import Suite
from evolvent.loop import improve
from evolvent.models import ModelSpec
from evolvent.plans import Improve, cold_start
from evolvent.policies import Fixed, LocalPolicy
from evolvent.records import Score, said
from evolvent.rewards import Shuffled, by_task
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer
from evolvent.store import Run
from evolvent.training.losses import Clip, Likelihood, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Schedule

torch.set_num_threads(1)


def parity(episodes):
    """A score that differs between attempts of a model which knows nothing: whether the ids it wrote add up to odd."""
    written = [
        sum(t * m for trace in e.traces for t, m in zip(trace.tokens, trace.mask, strict=True)) for e in episodes
    ]
    return [Score(float(total % 2), why="parity") for total in written]


def tiny(**changes):
    loss = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.28), reduce=token_mean)
    plan = Improve(
        recipe="tiny",
        source="chain",
        reward=parity,
        model=ModelSpec(depth=1, max_context=128),
        cold_start=cold_start(2, AdamW(3e-3), Likelihood(token_mean), levels=1, direct_frac=0.5, batch=2),
        curriculum=Frontier(),
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=loss,
        optimizer=AdamW(3e-3, schedule=Schedule(warmup_steps=2)),
        num_steps=4,
        tasks_per_step=2,
        group_size=4,
        budgets=Budgets(turn_tokens=8, context_tokens=128, episode_tokens=16),
        suite=Suite(num_tasks=4, num_tasks_above=2, num_tasks_during=2, num_levels=2),
        eval_every=2,
        checkpoint_every=2,
        keep_checkpoints=2,
        keep_episodes_every=1,
        num_threads=1,
        sinks=(),
    )
    return replace(plan, **changes)


def carry_out(plan, folder, watch=lambda _: None, policies=None):
    """A run from its beginning, or from where its folder stands."""
    folder = Path(folder)
    policies = policies or prepare(plan)
    begun = (folder / "run.json").exists()
    run = Run.reopen(folder) if begun else Run.create(to_json(plan), plan.recipe, plan.seed, folder)
    improve(plan, policies, run, watch)
    return run


def content(run):
    """All that a run promises to write in the same bytes, clock values aside."""
    kept = [p for p in run.path.rglob("*") if p.is_file() and p.name not in ("lock", "timings.jsonl")]
    kept = [p for p in kept if p.suffix != ".parquet" and p.name not in ("run.json", "summary.json", "report.html")]
    return {str(p.relative_to(run.path)): p.read_bytes() for p in kept} | {"episodes": run.episodes()}


def same(one, other):
    mine, theirs = content(one), content(other)
    assert set(mine) == set(theirs)
    assert [name for name in mine if mine[name] != theirs[name]] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped."""
    return carry_out(tiny(), tmp_path_factory.mktemp("whole") / "run")


# ---------------------------------------------------------------- what a run writes


def test_a_run_writes_every_file_of_the_layout(whole):
    there = {str(p.relative_to(whole.path)) for p in whole.path.rglob("*")}
    views = ["before", "greedy-before", "tool-forced", "best-of-k"]
    assert {"plan.json", "run.json", "metrics.jsonl", "timings.jsonl", "lock"} <= there
    assert {f"episodes/step-{n:06d}.parquet" for n in range(1, 7)} <= there
    assert {f"private/step-{n:06d}.parquet" for n in range(1, 7)} <= there
    expected = {f"reports/step-000002-{v}.json" for v in views} | {"reports/step-000004-heldout.json"}
    expected |= {"reports/step-000006-after.json", "reports/step-000006-greedy-after.json"}
    assert {n for n in there if n.startswith("reports/")} == expected
    assert [n for n, _ in whole.checkpoints()] == [4, 6]
    for part in ("agent/model.safetensors", "agent/config.json", "state/memory.json"):
        assert f"checkpoints/step-000006/{part}" in there
    assert not [n for n in there if ".tmp" in n or ".old" in n or ".writing" in n]


def test_every_step_has_its_phase_and_numbers(whole):
    lines = [line for line in whole.metrics() if "phase" in line]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["phase"] for line in lines] == ["cold start"] * 2 + ["practice"] * 4
    for line in lines:
        assert {"reward_mean", "tool_use", "signal_share", "num_written", "levels"} <= set(line)
        assert not line["num_rows"] or {"loss", "grad_norm", "entropy", "lr"} <= set(line)
        assert not [key for key in line if key.endswith("_s")]
    assert all(line["max_logprob_gap"] < 1e-4 for line in lines if line["phase"] == "practice" and line["num_rows"])
    assert any(line["num_rows"] for line in lines if line["phase"] == "practice"), "nothing was practised"


def test_the_checkpoint_is_the_policy_and_loads_in_plain_transformers(whole):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = whole.last_checkpoint()[1] / "agent"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert tokenizer.chat_template


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(whole, tmp_path):
    same(carry_out(tiny(), tmp_path / "run"), whole)
    other = carry_out(tiny(seed=1, num_steps=0), tmp_path / "other")
    assert other.metrics()[0] != whole.metrics()[0]


def test_held_out_questions_are_never_trained_on(whole):
    episodes = whole.episodes()
    trained = {e.task.question for e in episodes if e.task.split == "train"}
    measured = {e.task.question for e in episodes if e.task.split == "test"}
    assert trained and measured and not trained & measured


# ---------------------------------------------------------------- stopped and gone on with


def forked(work):
    """Do `work` in a child process; returns its exit status (negative: the signal that killed it)."""
    pid = os.fork()
    if pid == 0:  # the child never comes back into pytest
        status = 70
        try:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - it ends with the process
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at(num_write):
    """From now on, the process dies of SIGKILL when the disk is told for the n-th time to keep something."""
    real, count = os.fsync, iter(range(1, num_write + 1))

    def fsync(handle):
        if next(count, num_write) >= num_write:
            os.kill(os.getpid(), signal.SIGKILL)
        real(handle)

    os.fsync = fsync


@pytest.fixture(scope="module")
def num_writes(tmp_path_factory, whole):
    """How often a whole run tells the disk to keep something."""
    real, count = os.fsync, [0]

    def counted(handle):
        count[0] += 1
        real(handle)

    os.fsync = counted
    try:
        carry_out(tiny(), tmp_path_factory.mktemp("counted") / "run")
    finally:
        os.fsync = real
    return count[0]


def killed_and_resumed(folder, writes):
    for num_write in writes:

        def work(num_write=num_write):
            kill_at(num_write)
            carry_out(tiny(), folder)

        assert forked(work) in (-signal.SIGKILL, 0)
    return carry_out(tiny(), folder)


# drawn once: in the first measurement, in a checkpoint, between steps, at the end; and twice in one run
@pytest.mark.parametrize("shares", [(0.04,), (0.4, 0.2)], ids=str)  # and at any other place, with --slow
def test_killed_at_a_write_and_resumed_equals_never_killed(shares, whole, num_writes, tmp_path):
    same(killed_and_resumed(tmp_path / "run", [int(s * num_writes) for s in shares]), whole)


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(40))
def test_killed_at_any_write_and_resumed_equals_never_killed(draw, whole, num_writes, tmp_path):
    rng = random.Random(draw)
    writes = [rng.randrange(1, num_writes) for _ in range(rng.randint(1, 3))]
    same(killed_and_resumed(tmp_path / "run", writes), whole)


@pytest.mark.parametrize("phase", ["cold start", "measuring", "practice"])
def test_killed_between_writes_and_resumed_equals_never_killed(phase, whole, tmp_path):
    def watch(event):
        if event.get("phase") == phase or (phase == "measuring" and event.get("measuring") == "tool-forced"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(lambda: carry_out(tiny(), tmp_path / "run", watch)) == -signal.SIGKILL
    same(carry_out(tiny(), tmp_path / "run"), whole)


class DiskGoneError(OSError):
    """Stands for a disk that fails once."""


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_disk_that_fails_leaves_a_run_that_goes_on(share, whole, num_writes, tmp_path, monkeypatch):
    real, left = os.fsync, [int(share * num_writes)]

    def fsync(handle):
        left[0] -= 1
        if left[0] == 0:
            raise DiskGoneError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match="disk is full"):
        carry_out(tiny(), tmp_path / "run")
    monkeypatch.undo()
    same(carry_out(tiny(), tmp_path / "run"), whole)


def test_a_finished_run_that_is_resumed_stays_as_it_is(whole, tmp_path):
    run = carry_out(tiny(), tmp_path / "run")
    before = content(run)
    carry_out(tiny(), tmp_path / "run")
    assert content(run) == before


def test_a_kill_between_the_last_checkpoint_and_the_tidying_leaves_no_extra_checkpoint(whole, tmp_path):
    import shutil

    run = carry_out(tiny(), tmp_path / "run")
    extra = run.path / "checkpoints" / "step-000002"
    shutil.copytree(run.last_checkpoint()[1], extra)
    same(carry_out(tiny(), tmp_path / "run"), whole)


def command(*words, folder):
    """`evolvent ...` as a user types it."""
    line = [sys.executable, "-c", "import sys; from evolvent.cli.main import main; sys.exit(main())", *words]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def plan_file(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    path.write_text(to_json(tiny(reward=by_task, num_steps=6)))
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.2, 0.6, 1.1])
def test_the_command_killed_at_any_instant_goes_on_to_the_same_end(delay_s, plan_file, tmp_path):
    assert main(["run", str(plan_file), f"out={tmp_path / 'whole'}"]) == 0
    child = command("run", str(plan_file), f"out={tmp_path / 'killed'}", folder=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed/metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay_s)
    child.kill()
    child.wait()
    assert main(["run", "--resume", str(tmp_path / "killed")]) == 0
    same(Run.reopen(tmp_path / "killed"), Run.reopen(tmp_path / "whole"))


def test_ctrl_c_says_how_to_go_on_and_the_run_goes_on(plan_file, tmp_path, capsys, monkeypatch):
    assert main(["run", str(plan_file), f"out={tmp_path / 'whole'}"]) == 0
    real, left = os.fsync, [100]

    def fsync(handle):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    try:
        status = main(["run", str(plan_file), f"out={tmp_path / 'stopped'}"])
    except SystemExit as end:
        status = end.code
    monkeypatch.undo()
    assert status == 130
    assert f"evolvent run --resume {tmp_path / 'stopped'}" in capsys.readouterr().err
    assert main(["run", "--resume", str(tmp_path / "stopped")]) == 0
    same(Run.reopen(tmp_path / "stopped"), Run.reopen(tmp_path / "whole"))


def test_two_runs_in_one_directory_are_refused(whole, tmp_path):
    with pytest.raises(StoreError, match="holds a run already"):
        Run.create(to_json(tiny()), "tiny", 0, whole.path)
    with whole.lock(), pytest.raises(StoreError, match="is writing here"):
        carry_out(tiny(), whole.path)


def test_a_corrupted_checkpoint_is_named_and_the_one_before_it_serves(whole, tmp_path):
    import shutil

    run = carry_out(tiny(), tmp_path / "run")
    path = run.last_checkpoint()[1]
    weights = path / "agent" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    with pytest.raises((StoreError, BadInput)) as error:
        carry_out(tiny(), tmp_path / "run")
    assert str(path) in str(error.value)
    shutil.rmtree(path)
    same(carry_out(tiny(), tmp_path / "run"), whole)


# ---------------------------------------------------------------- plans of other shapes


def test_without_a_cold_start_the_first_measurement_is_at_step_0(tmp_path):
    plan = tiny(cold_start=None, num_steps=2)
    run = carry_out(plan, tmp_path / "a")
    assert {r.step for r in run.reports() if r.name == "before"} == {0}
    assert run.last_checkpoint()[0] == 2

    def watch(event):
        if event.get("step") == 1 and "phase" in event:
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(lambda: carry_out(plan, tmp_path / "b", watch)) == -signal.SIGKILL
    assert Run.reopen(tmp_path / "b").last_checkpoint()[0] == 0
    same(carry_out(plan, tmp_path / "b"), run)


def test_a_cold_start_alone_is_a_run(tmp_path):
    run = carry_out(tiny(num_steps=0), tmp_path / "run")
    assert run.last_checkpoint()[0] == 2
    assert {r.name for r in run.reports()} == {"before", "greedy-before", "tool-forced", "best-of-k"}


def test_practice_ends_when_its_tokens_are_spent(whole, tmp_path):
    lines = [line for line in whole.metrics() if line.get("phase") == "practice"]
    limit = lines[0]["num_written"] + 1
    run = carry_out(tiny(max_tokens=limit), tmp_path / "run")
    assert run.last_checkpoint()[0] == 4
    assert {r.step for r in run.reports() if r.name == "after"} == {4}
    before = content(run)
    carry_out(tiny(max_tokens=limit), tmp_path / "run")
    assert content(run) == before


def test_shuffled_scores_change_training_and_nothing_else(whole, tmp_path):
    run = carry_out(tiny(reward=Shuffled(parity)), tmp_path / "run")
    cold = [[line for line in r.metrics() if line["step"] <= 2] for r in (run, whole)]
    assert cold[0] == cold[1]  # a cold start looks at no score
    first = [next(e for e in r.metrics() if e["step"] == 3) for r in (run, whole)]
    assert all(first[0][k] == first[1][k] for k in ("reward_mean", "accuracy", "tool_use", "num_written", "levels"))
    assert first[0]["grad_norm"] != first[1]["grad_norm"]
    for episode in run.episodes():
        assert [episode.traces[0].score] == parity([episode])


async def pair(task, team, world):
    """Both answer at once; the second one's answer counts."""
    said_by = await asyncio.gather(*(team[seat].say(*task.prompt) for seat in "ab"), return_exceptions=True)
    for reply in said_by:
        if isinstance(reply, Exception):
            raise reply
    return Answer(said_by[1].text.strip() or "-")


def pair_plan(**changes):
    return tiny(
        **{
            "cold_start": None,
            "num_steps": 2,
            "seats": {"a": "first", "b": "second"},
            "workflow": pair,
            "world": Toolbox(()),
            "budgets": Budgets(6, 128, 12),
            **changes,
        }
    )


def weights_of(policy):
    return torch.cat([p.detach().flatten().clone() for p in policy.model.parameters()])


def test_two_policies_learn_apart(tmp_path):
    plan = pair_plan(optimizer={"first": AdamW(1e-3), "second": AdamW(0.0)})
    policies = prepare(plan)
    before = {n: weights_of(p) for n, p in policies.items()}
    run = carry_out(plan, tmp_path / "run", policies=policies)
    assert {n: p.version for n, p in policies.items()} == {"first": 2, "second": 2}
    assert not torch.equal(before["first"], weights_of(policies["first"]))
    assert torch.equal(before["second"], weights_of(policies["second"]))  # its own learning rate is zero
    line = next(e for e in run.metrics() if e["step"] == 1 and "phase" in e)
    assert {"first/loss", "second/loss", "first/signal_share", "second/grad_norm"} <= set(line)
    kept = run.last_checkpoint()[1]
    assert {p.name for p in kept.iterdir()} == {"first", "second", "state"}
    for episode in run.episodes(2, ""):
        assert [t.policy for t in episode.traces] == ["first", "second"]
    # and it goes on with both as they were
    again = carry_out(replace(plan), tmp_path / "run")
    same(again, carry_out(plan, tmp_path / "other" / "run"))


def test_a_frozen_policy_does_not_change(tmp_path):
    plan = pair_plan(frozen=("second",))
    policies = prepare(plan)
    before = {n: weights_of(p) for n, p in policies.items()}
    run = carry_out(plan, tmp_path / "run", policies=policies)
    assert (policies["first"].version, policies["second"].version) == (2, 0)
    assert not torch.equal(before["first"], weights_of(policies["first"]))
    assert torch.equal(before["second"], weights_of(policies["second"]))
    assert {p.name for p in run.last_checkpoint()[1].iterdir()} == {"first", "state"}


def test_a_partner_that_is_a_script_takes_part(tmp_path):
    model = {"first": ModelSpec(depth=1, max_context=128), "second": Fixed("42")}
    plan = pair_plan(frozen=("second",), model=model)
    assert from_json(to_json(plan)) == plan
    run = carry_out(plan, tmp_path / "run")
    assert {e.answer for e in run.episodes(2, "")} <= {"42", ""}
    assert all(not e.traces[1].trainable for e in run.episodes(2, "") if len(e.traces[1].turns) > 2)


def test_one_policy_may_hold_both_seats(tmp_path):
    run = carry_out(pair_plan(seats={"a": "agent", "b": "agent"}, num_steps=1), tmp_path / "run")
    (line,) = [e for e in run.metrics() if "phase" in e]
    assert line["num_rows"]


@pytest.mark.parametrize("adapter", [None, "lora"])
def test_a_saved_model_of_another_maker_trains_and_goes_on(adapter, tiny_llama, tmp_path):
    plan = tiny(model=str(tiny_llama), adapter=adapter, cold_start=None, num_steps=2, checkpoint_every=1)

    def watch(event):
        if event.get("step") == 2 and "phase" in event:
            os.kill(os.getpid(), signal.SIGKILL)

    run = carry_out(plan, tmp_path / "a")
    assert any(e.get("num_rows") for e in run.metrics())
    assert forked(lambda: carry_out(plan, tmp_path / "b", watch)) == -signal.SIGKILL
    assert Run.reopen(tmp_path / "b").last_checkpoint()[0] == 1
    same(carry_out(plan, tmp_path / "b"), run)
    from transformers import AutoModelForCausalLM

    assert type(AutoModelForCausalLM.from_pretrained(run.last_checkpoint()[1] / "agent")).__name__ == "LlamaForCausalLM"


def test_a_reference_and_its_kl_survive_a_stop(tmp_path):
    loss = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.28), reduce=token_mean, kl=0.1)
    plan = tiny(loss=loss, num_steps=3, checkpoint_every=1)

    def watch(event):
        if event.get("step") == 5 and "phase" in event:
            os.kill(os.getpid(), signal.SIGKILL)

    run = carry_out(plan, tmp_path / "a")
    assert forked(lambda: carry_out(plan, tmp_path / "b", watch)) == -signal.SIGKILL
    same(carry_out(plan, tmp_path / "b"), run)


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "generic", "gradient_checkpointing": True},
        {"dtype": "bfloat16"},
        {"model": ModelSpec(depth=1, max_context=128, vocab_size=300)},
        {"model": ModelSpec(depth=1, max_context=128, position="none", norm="layer")},
    ],
    ids=str,
)
def test_other_parts_run_and_go_on_to_the_same_end(changes, tmp_path):
    plan = tiny(**changes, num_steps=1, checkpoint_every=1)

    def watch(event):
        if event.get("step") == 3 and "phase" in event:
            os.kill(os.getpid(), signal.SIGKILL)

    run = carry_out(plan, tmp_path / "a")
    assert forked(lambda: carry_out(plan, tmp_path / "b", watch)) == -signal.SIGKILL
    same(carry_out(plan, tmp_path / "b"), run)


# ---------------------------------------------------------------- gates


class OffByOne(LocalPolicy):
    """Its trainer reads the log-probability of the token before."""

    def logprobs(self, layout):
        found, entropy = super().logprobs(layout)
        return found.roll(1), entropy


class Unversioned(LocalPolicy):
    """Its weights change and it does not say so."""

    def updated(self):
        self.forget()


class Stale(LocalPolicy):
    """Its sampler keeps the weights of the beginning."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.twin = LocalPolicy(*given, **more).copy()

    async def sample(self, prompts, how):
        made = self.twin.sample_now(prompts, how)
        return [replace(c, version=self.version) for c in made]


def planted(kind, plan):
    (policy,) = prepare(plan).values()
    return {"agent": kind(policy.model, policy.tokenizer)}


@pytest.mark.parametrize(
    ("kind", "words"),
    [(OffByOne, "sampler and the trainer disagree"), (Unversioned, "version did not grow"), (Stale, "disagree")],
)
def test_a_planted_bug_stops_the_run_and_the_last_good_state_stays(kind, words, tmp_path):
    plan = tiny(cold_start=None, optimizer=AdamW(3e-2))
    with pytest.raises(GateFailed, match=words):
        carry_out(plan, tmp_path / "run", policies=planted(kind, plan))
    run = Run.reopen(tmp_path / "run")
    assert run.last_checkpoint()[0] == 0
    assert run.stop()["kind"] == "GateFailed" and words in run.stop()["why"]
    mended = carry_out(plan, tmp_path / "run")
    assert mended.last_checkpoint()[0] == 4 and mended.stop() is None  # it goes on, and the reason is history


@dataclass(frozen=True)
class Wicked:
    """A workflow that changes what was said after it was sampled."""

    async def __call__(self, task, team, world):
        reply = await team["agent"].say(*task.prompt)
        seat = team["agent"]
        seat.turns[-1] = replace(seat.turns[-1], message=said("assistant", "what I would have liked"))
        return Answer(reply.text or "-")


def test_words_that_are_not_those_of_their_tokens_stop_the_run(tmp_path):
    with pytest.raises(GateFailed, match="not those of its token ids"):
        carry_out(tiny(cold_start=None, workflow=Wicked()), tmp_path / "run")


@dataclass(frozen=True)
class Broken:
    """A world that is down for every n-th question."""

    every: int
    tools: tuple = field(default_factory=lambda: (calc,))

    def open(self, task, seed):
        from evolvent.errors import InfrastructureError

        if task.split == "train" and sum(task.question.encode()) % self.every == 0:
            raise InfrastructureError("down")
        return Toolbox(self.tools).open(task, seed)


def test_faults_are_counted_and_too_many_stop_the_run(tmp_path):
    plan = tiny(cold_start=None, num_steps=2, tasks_per_step=8, group_size=2)
    with pytest.raises(GateFailed, match="broke for reasons that are not the agent's"):
        carry_out(replace(plan, world=Broken(1)), tmp_path / "run")
    some = replace(plan, world=Broken(5), gates=replace(plan.gates, max_fault_share=0.9))
    run = carry_out(some, tmp_path / "some")
    lines = [e for e in run.metrics() if "phase" in e]
    assert sum(e["faults"] for e in lines) > 0
    assert all(e["num_episodes"] == 16 for e in lines)


# ---------------------------------------------------------------- plans that cannot be


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"group_size": 1}, "group_size"),
        ({"num_steps": -1}, "num_steps"),
        ({"budgets": Budgets(0, 1, 1)}, "budgets"),
        ({"temperature": 0.7}, "temperature"),
        ({"frozen": ("agnet",)}, "frozen"),
        ({"optimizer": {"other": AdamW(1e-3)}}, "optimizer"),
        ({"seats": {}}, "seats"),
        ({"model": {"other": "nano"}}, "model"),
        ({"micro_tokens": 10}, "micro_tokens"),
        ({"budgets": Budgets(8, 400, 16)}, "budgets.context_tokens"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_anything_is_spent(changes, where, tmp_path):
    plan = tiny(**changes)
    policies = prepare(tiny())
    with pytest.raises(BadInput, match=rf"where:\s+{where}"):
        carry_out(plan, tmp_path / "run", policies=policies)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_group_of_one_may_imitate(tmp_path):
    plan = tiny(cold_start=None, num_steps=1, group_size=1, advantage=imitate_all, loss=Likelihood(token_mean))
    run = carry_out(plan, tmp_path / "run")
    assert next(e for e in run.metrics() if "phase" in e)["num_rows"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.05, 0.2, 0.35, 0.5, 0.7])
def test_ctrl_c_at_any_instant_ends_with_130_and_the_run_goes_on(delay_s, plan_file, tmp_path):
    import threading

    assert main(["run", str(plan_file), f"out={tmp_path / 'whole'}"]) == 0
    timer = threading.Timer(delay_s, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        status = main(["run", str(plan_file), f"out={tmp_path / 'stopped'}"])
    except SystemExit as end:
        status = end.code
    timer.join()
    assert status == 130
    if not (tmp_path / "stopped/run.json").exists():
        return  # it never began
    assert main(["run", "--resume", str(tmp_path / "stopped")]) == 0
    same(Run.reopen(tmp_path / "stopped"), Run.reopen(tmp_path / "whole"))
