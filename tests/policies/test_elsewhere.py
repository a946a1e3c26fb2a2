"""A trainable policy that another engine samples: a copy in this process, and one behind vLLM's wire over HTTP."""

import asyncio
import copy
from dataclasses import replace

import pytest
import torch

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, GateFailed, InfrastructureError
from evolvent.models import ModelSpec, attach_lora, build, build_tokenizer
from evolvent.policies import LocalPolicy, Policy, Trainable
from evolvent.policies.canary import Reading, judge
from evolvent.policies.elsewhere import SampledElsewhere
from evolvent.policies.sampler import Bounds, both_kinds, plain_weights, seed_of
from evolvent.policies.twin import Twin
from evolvent.policies.vllm import Vllm, sampling_fields
from evolvent.policies.vllm_server import VllmServer
from evolvent.records import Finish, Prompt, Sampling, said
from evolvent.serve import background
from wire_of_vllm import make_wire

torch.set_num_threads(1)
HOW = Sampling(10, seed=3)
ENGINES = ("twin", "server")


def nano(seed=0, adapt=lambda model: model):
    tokenizer = build_tokenizer()
    model = build(ModelSpec(depth=1, max_context=384), tokenizer, seed)
    with torch.no_grad():  # random weights say everything with the same probability; these have opinions
        model.model.norm.weight.mul_(6.0)
    return LocalPolicy(adapt(model), tokenizer)


@pytest.fixture(scope="module")
def wire():
    """One server for this file; each test begins with a server that knows nothing of weights it was given."""
    app = make_wire(nano(seed=9))
    with background(app) as url:
        yield app.state, url


@pytest.fixture
def server(wire):
    state, url = wire
    state.version, state.skips, state.paused = "default", set(), False
    state.heard.clear()
    return state, url


@pytest.fixture(params=ENGINES)
def policy(request, server):
    plan = Twin("float32") if request.param == "twin" else VllmServer(server[1])
    made = SampledElsewhere(nano(), plan)
    yield made
    made.close()


def ask(policy, num=6, how=HOW, **more):
    tokens = [policy.renderer.open([said("user", "12+34?" + "9" * i)]) for i in range(num)]
    prompts = [Prompt((), tokens=t, stream=("t", i), **more) for i, t in enumerate(tokens)]
    return prompts, asyncio.run(policy.sample(prompts, how))


def fresh(policy, prompt, made, heat=1.0):
    ids = torch.tensor([[*prompt.tokens, *made.tokens]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits[0, len(prompt.tokens) - 1 : -1]
    return (logits / heat).log_softmax(-1).gather(-1, ids[0, len(prompt.tokens) :, None])[:, 0].tolist()


def push(policy, size=0.05):
    """An update, as an optimizer makes it."""
    with torch.no_grad():
        for i, weight in enumerate(policy.parameters()):
            weight.add_(size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(i)))
    policy.updated()


# ---------------------------------------------------------------- what comes back


def test_it_is_a_policy_and_trainable(policy):
    assert isinstance(policy, Policy) and isinstance(policy, Trainable)
    assert not hasattr(policy, "sample_now"), "whoever listens while it samples would hear the wrong engine"


def test_log_probabilities_are_those_of_the_weights_that_are_trained(policy):
    prompts, made = ask(policy)
    for prompt, one in zip(prompts, made, strict=True):
        assert one.model_logprobs == pytest.approx(fresh(policy, prompt, one), abs=1e-4)
        assert one.sampled_logprobs == one.model_logprobs
        assert one.version == 0 and one.call_id == f"t/{prompt.stream[1]}@0" and one.route == policy.sampler.name
    assert len({one.tokens for one in made}) > 1


@pytest.mark.parametrize("how", [replace(HOW, temperature=0.6), replace(HOW, top_p=0.7), replace(HOW, top_k=3)])
def test_away_from_temperature_1_both_kinds_are_kept_apart(policy, how):
    prompts, made = ask(policy, how=how)
    for prompt, one in zip(prompts, made, strict=True):
        assert one.model_logprobs == pytest.approx(fresh(policy, prompt, one), abs=1e-4)
        assert len(one.sampled_logprobs) == len(one.tokens) and one.sampled_logprobs != one.model_logprobs
    if how.temperature != 1:
        assert made[0].sampled_logprobs == pytest.approx(fresh(policy, prompts[0], made[0], 0.6), abs=1e-4)


def test_a_greedy_token_had_to_come(policy):
    prompts, made = ask(policy, 2, replace(HOW, temperature=0.0))
    assert made[0].sampled_logprobs == (0.0,) * len(made[0].tokens)
    assert made[0].model_logprobs == pytest.approx(fresh(policy, prompts[0], made[0]), abs=1e-4)


def test_a_seed_and_a_stream_say_what_comes(policy):
    first, again, other = ask(policy)[1], ask(policy)[1], ask(policy, how=replace(HOW, seed=4))[1]
    assert [c.tokens for c in first] == [c.tokens for c in again] != [c.tokens for c in other]


def test_a_turn_ends_at_its_mark_or_at_its_room(policy):
    made = ask(policy, 24, replace(HOW, max_tokens=40))[1]
    stops = policy.renderer.stop_ids
    for one in made:
        ended = one.tokens[-1] in stops
        assert not set(one.tokens[:-1]) & stops and (ended or len(one.tokens) == 40)
        assert (one.finish is Finish.LENGTH) == (not ended)
    assert len({one.finish for one in made}) > 1, "the test needs rows of both kinds"


def test_a_stop_string_ends_a_row_and_stays_in_it(policy):
    how = replace(HOW, max_tokens=24)
    free = next(c for c in ask(policy, how=how)[1] if any(32 < t < 127 for t in c.tokens[2:-2]))
    place = next(i for i, t in enumerate(free.tokens) if i >= 2 and 32 < t < 127)
    word = chr(free.tokens[place])
    held = next(c for c in ask(policy, how=how, stops=(word,))[1] if c.call_id == free.call_id)
    first = next(i for i, t in enumerate(free.tokens) if t == ord(word))
    assert held.tokens == free.tokens[: first + 1]
    assert held.finish is Finish.STOP or held.tokens[-1] in policy.renderer.stop_ids


def test_what_cannot_be_asked_is_refused_before_the_engine_hears_of_it(policy):
    with pytest.raises(BadInput, match="longer than the context"):
        ask(policy, how=replace(HOW, max_tokens=400))
    with pytest.raises(BadInput, match="temperature"):
        ask(policy, how=replace(HOW, temperature=-1.0))


# ---------------------------------------------------------------- weights


def test_samples_come_from_the_new_weights_after_an_update(policy):
    before = ask(policy)[1]
    push(policy)
    prompts, after = ask(policy)
    assert [c.tokens for c in before] != [c.tokens for c in after]
    assert {c.version for c in after} == {1}
    assert after[0].model_logprobs == pytest.approx(fresh(policy, prompts[0], after[0]), abs=1e-4)


def test_weights_are_handed_over_once_for_each_change(server):
    state, url = server
    policy = SampledElsewhere(nano(), VllmServer(url))
    ask(policy), ask(policy)
    push(policy), push(policy)
    ask(policy)
    folders = [words for words in state.heard if isinstance(words, str)]
    assert len(folders) == 2 and policy.take_seconds()["sync_s"] > 0 and policy.take_seconds() == {}
    assert policy.numbers["canary_gap"] < 1e-4
    policy.close()


@pytest.mark.parametrize("change", ["take_weights", "load_weights", "adapter"])
def test_weights_that_change_in_any_other_way_are_noticed(policy, change, tmp_path):
    ask(policy)
    other = nano(seed=5)
    if change == "take_weights":
        policy.take_weights(other)
    elif change == "load_weights":
        other.save(tmp_path / "model")
        policy.load_weights(tmp_path / "model")
    else:
        policy.model.load_state_dict(other.model.state_dict())
    prompts, made = ask(policy)
    assert made[0].model_logprobs == pytest.approx(fresh(policy, prompts[0], made[0]), abs=1e-4)


def test_an_adapter_is_merged_for_the_engine_and_stays_apart_here(server):
    adapted = nano(adapt=lambda model: attach_lora(model, seed=0))
    policy = SampledElsewhere(adapted, VllmServer(server[1]))
    push(policy, 0.1)
    prompts, made = ask(policy)
    assert made[0].model_logprobs == pytest.approx(fresh(policy, prompts[0], made[0]), abs=1e-3)
    assert hasattr(policy.model, "peft_config")
    assert plain_weights(adapted).keys() == plain_weights(nano()).keys()
    policy.close()


# ---------------------------------------------------------------- planted bugs


@pytest.mark.parametrize("size", [0.05, 1e-5])
def test_an_engine_that_did_not_take_the_weights_is_refused(policy, server, size, monkeypatch):
    ask(policy)
    server[0].skips.add("reload")
    if hasattr(policy.sampler, "policy"):
        monkeypatch.setattr(policy.sampler.policy.model, "load_state_dict", lambda weights: None)
    push(policy, size)  # the second is far below what separates two engines: only standing still gives it away
    with pytest.raises(GateFailed, match="does not sample the weights that are trained") as refused:
        ask(policy)
    assert ("moved by" in str(refused.value)) == (size == 1e-5), refused.value
    with pytest.raises(GateFailed):
        ask(policy)  # and it stays refused


def test_a_small_step_that_did_arrive_is_taken(policy):
    ask(policy)
    push(policy, 1e-5)
    ask(policy)


def test_a_server_that_was_restarted_is_noticed_by_the_mark_of_its_answers(server):
    state, url = server
    policy = SampledElsewhere(nano(), VllmServer(url))
    ask(policy)
    state.version = "default"
    with pytest.raises(GateFailed, match="marked 'default'"):
        ask(policy)
    ask(policy)  # it got the weights again
    policy.close()


def test_another_run_at_the_same_server_is_noticed(server):
    one, other = (SampledElsewhere(nano(seed), VllmServer(server[1])) for seed in (0, 1))
    ask(one), ask(other)
    with pytest.raises(GateFailed, match="answers marked"):
        ask(one)
    one.close(), other.close()


def test_old_keys_and_values_that_were_kept_are_refused(server):
    state, url = server
    policy = SampledElsewhere(nano(), VllmServer(url))
    state.skips.add("reset")
    with pytest.raises(InfrastructureError, match="reset_prefix_cache"):
        ask(policy)
    assert not state.paused, "a server must not stay paused"
    policy.close()


def test_a_server_with_log_probabilities_before_temperature_is_refused():
    with background(make_wire(nano(), logprobs_mode="raw_logprobs")) as url:
        with pytest.raises(BadInput, match="--logprobs-mode raw_logprobs") as refused:
            VllmServer(url).begin(nano())
        assert "--logprobs-mode processed_logprobs" in refused.value.cure


def test_a_server_that_is_not_there_or_is_another_says_how_to_start_it():
    with pytest.raises(InfrastructureError, match="vllm serve MODEL --enable-scale-out"):
        VllmServer("http://127.0.0.1:9").begin(nano())
    with pytest.raises(BadInput, match="a folder that exists"), background(make_wire(nano())) as url:
        VllmServer(url, folder="/nowhere").begin(nano())
    from fastapi import FastAPI

    with background(FastAPI()) as url, pytest.raises(BadInput, match="VLLM_SERVER_DEV_MODE=1"):
        VllmServer(url).begin(nano())


def test_a_server_that_dies_is_an_infrastructure_error_and_the_next_try_gives_it_the_weights(server):
    state, url = server
    policy = SampledElsewhere(nano(), VllmServer(url))
    ask(policy)
    state.skips.add("dies")
    with pytest.raises(InfrastructureError, match="EngineDeadError") as dead:
        ask(policy)
    assert "--resume" in dead.value.cure
    state.skips.clear()
    state.version = "default"  # it came back with its first weights
    push(policy)
    prompts, made = ask(policy)
    assert made[0].model_logprobs == pytest.approx(fresh(policy, prompts[0], made[0]), abs=1e-4)
    policy.close()


def test_a_server_that_goes_away_in_the_middle_is_an_infrastructure_error():
    with background(make_wire(nano())) as url:
        policy = SampledElsewhere(nano(), VllmServer(url))
        ask(policy)
    with pytest.raises(InfrastructureError, match="Connect"):
        ask(policy)
    policy.close()


def test_a_copy_in_other_numbers_is_near_and_not_the_same():
    policy = SampledElsewhere(nano(), Twin("bfloat16"))
    prompts, made = ask(policy)
    gaps = [
        abs(a - b)
        for p, c in zip(prompts, made, strict=True)
        for a, b in zip(c.model_logprobs, fresh(policy, p, c), strict=True)
    ]
    assert 1e-5 < max(gaps) < 0.2


# ---------------------------------------------------------------- the canary's verdict, by hand


def reading(trainer, engine, greedy=0.0, heated=0.0):
    return Reading((trainer, engine), ([-1.0], [-1.0 + greedy]), ([-2.0], [-2.0 + heated]))


def test_each_part_of_the_canary_names_what_is_wrong():
    assert judge(reading([-1.0, -2.0], [-1.1, -2.1]), None, 0.2) == ""
    assert "fixed tokens" in judge(reading([-1.0, -2.0], [-1.3, -2.3]), None, 0.2)
    assert "keys and values" in judge(reading([-1.0], [-1.0], greedy=0.3), None, 0.2)
    assert "after temperature" in judge(reading([-1.0], [-1.0], heated=0.3), None, 0.2)
    assert "inf" in judge(reading([-1.0, -2.0], [-1.0]), None, 0.2), "a token without an answer"
    assert "nan" in judge(reading([-1.0], [float("nan")]), None, 0.2)


def test_an_engine_must_move_as_the_trainer_moves():
    before = reading([-1.0, -2.0], [-1.1, -2.1])
    assert "moved by 0.01" in judge(reading([-1.01, -2.01], [-1.1, -2.1]), before, 0.2)
    assert judge(reading([-1.01, -2.01], [-1.11, -2.11]), before, 0.2) == ""
    assert judge(before, before, 0.2) == "", "nothing moved"


# ---------------------------------------------------------------- what a plan says


@pytest.mark.parametrize(
    "plan",
    [Twin(), Vllm(cache_gb=2, eager=True), VllmServer("http://127.0.0.1:8000", bounds=Bounds(most=3.0, max_gap=0.1))],
)
def test_a_sampler_goes_through_json(plan):
    assert from_json(to_json(plan)) == plan


def test_limits_that_hold_nothing_are_refused():
    for make in (
        lambda: Vllm(cache_gb=0),
        lambda: Bounds(most=0.5),
        lambda: Bounds(max_kl=0),
        lambda: VllmServer("127.0.0.1:8000"),
        lambda: VllmServer("http://key@host"),
    ):
        with pytest.raises(BadInput):
            make()


def test_bounds_depend_on_the_numbers_of_both_sides():
    assert Bounds().gap("float32", "torch.float32") == 2e-3
    assert Bounds().gap("bfloat16", "torch.float32") == 0.2
    assert Bounds(max_gap=0.5).gap("float32") == 0.5


def test_everything_that_a_file_beside_the_model_could_change_is_said():
    fields = sampling_fields(Prompt((), tokens=(1,), stream=("a", 1)), HOW, {7, 3})
    assert {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "ignore_eos"} <= fields.keys()
    assert fields["stop_token_ids"] == [3, 7] and fields["seed"] == seed_of(Prompt((), stream=("a", 1)), HOW)
    assert seed_of(Prompt((), stream=("a", 2)), HOW) != fields["seed"]


def test_log_probabilities_of_one_kind_are_both_only_where_they_are():
    assert both_kinds((-1.0,), HOW) == ((-1.0,), (-1.0,))
    assert both_kinds((-1.0,), replace(HOW, temperature=0.5)) == ((-1.0,), None)
    assert both_kinds((-1.0,), replace(HOW, top_k=2)) == ((-1.0,), None)
    assert both_kinds((-1.0,), replace(HOW, temperature=0.0)) == ((0.0,), (-1.0,))
    assert both_kinds((-1.0,), replace(HOW, temperature=0.0, top_p=0.5)) == ((0.0,), None)


def test_vllm_that_is_not_installed_is_told_with_its_cure():
    try:
        import vllm  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"evolvent\[vllm"):
            Vllm().begin(copy.copy(nano()))
    else:
        pytest.skip("vLLM is installed here; tests/policies/test_vllm.py drives it")
