"""Rows that come and go one by one get what they would have got alone."""

import random

import numpy as np
import pytest
import torch

from evolvent.errors import BadInput
from evolvent.models import ModelSpec, build, build_tokenizer
from evolvent.policies import LocalPolicy
from evolvent.policies.policy import Flows
from evolvent.records import Finish, Prompt, Sampling, said

torch.set_num_threads(1)
WAYS = (Sampling(30, 0.9, top_k=50, seed=4), Sampling(30, 0.0, seed=4), Sampling(30, 1.0, 0.9, seed=4))


@pytest.fixture(scope="module")
def model():
    tokenizer = build_tokenizer()
    made = build(ModelSpec(depth=2, max_context=256), tokenizer, 0)
    with torch.no_grad():
        made.model.norm.weight.mul_(6.0)
    return made, tokenizer


@pytest.fixture
def policy(model):
    return LocalPolicy(*model)


def asked(policy, i, room, words="12+3?", **fields):
    tokens = policy.renderer.open([said("user", words + "9" * (i * 7 % 60))])
    return Prompt((), tokens=tokens, stream=("f", i), max_tokens=room, **fields)


def played(flow, arrivals):
    """Admits prompts at their steps and goes on until nothing is live; completions by number, and rows of each step."""
    made, heard, sizes, step = {}, {}, [], 0
    while flow.num_live or step <= max(arrivals):
        for prompts, how in arrivals.get(step, ()):
            flow.admit(prompts, how)
        told, ended = flow.step()
        sizes.append(len(told.rows))
        for row, *drawn in zip(told.rows, told.tokens, told.sampled, told.model, strict=True):
            heard.setdefault(row, []).append(tuple(drawn))
        made |= ended
        step += 1
    return made, heard, sizes


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_rows_that_arrive_at_any_step_get_what_they_get_alone(policy, seed):
    rng, flow, arrivals, expected = random.Random(seed), policy.flow(), {}, []
    arrives = sorted(rng.randint(0, 25) for _ in range(14))
    for i, at in enumerate(arrives):
        how = rng.choice(WAYS)
        prompts = [asked(policy, i * 10 + j, rng.randint(1, 30)) for j in range(rng.randint(1, 3))]
        arrivals.setdefault(at, []).append((prompts, how))
        expected += [(prompt, how) for prompt in prompts]
    made, heard, _ = played(flow, arrivals)
    assert isinstance(policy, Flows) and sorted(made) == list(range(len(expected)))
    for number, (prompt, how) in enumerate(expected):
        [alone] = policy.sample_now([prompt], how)
        assert (made[number].tokens, made[number].finish, made[number].text) == (alone.tokens, alone.finish, alone.text)
        np.testing.assert_allclose(made[number].sampled_logprobs, alone.sampled_logprobs, atol=1e-4)
        np.testing.assert_allclose(made[number].model_logprobs, alone.model_logprobs, atol=1e-4)
        drawn = zip(made[number].tokens, made[number].sampled_logprobs, made[number].model_logprobs, strict=True)
        assert heard[number] == list(drawn)


def test_a_row_that_ends_makes_room_at_once_and_is_told_at_once(policy):
    flow = policy.flow()
    flow.admit([asked(policy, 1, 2), asked(policy, 2, 9)], WAYS[0])
    ends = {}
    for step in range(1, 10):
        told, ended = flow.step()
        ends |= dict.fromkeys(ended, step)
        assert len(told.rows) == (2 if step <= 2 else 1) or 1 in ends
    assert ends[0] == 2 and flow.num_live == 0


def test_a_row_that_nobody_wants_ends_unheard_and_the_others_go_on(policy):
    flow = policy.flow()
    prompts = [asked(policy, i, 12) for i in range(4)]
    flow.admit(prompts, WAYS[0])
    for _ in range(3):
        flow.step()
    flow.end({1, 2})
    made, sizes = {}, []
    while flow.num_live:
        told, ended = flow.step()
        made |= ended
        sizes.append(len(told.rows))
    assert sorted(made) == [0, 3] and max(sizes[1:]) <= 2
    whole = policy.sample_now(prompts, WAYS[0])
    assert [made[i].tokens for i in (0, 3)] == [whole[i].tokens for i in (0, 3)]


def test_a_row_that_nobody_wants_before_it_has_begun_never_does(policy):
    flow = policy.flow()
    flow.admit([asked(policy, 1, 5)], WAYS[0])
    flow.end({0})
    told, ended = flow.step()
    assert (told.rows, ended, flow.num_live) == ([], {}, 0)


def test_equal_prompts_are_read_once_and_drawn_apart(policy):
    flow = policy.flow()
    prompts = [Prompt((), tokens=asked(policy, 3, 9).tokens, stream=("g", i), max_tokens=9) for i in range(5)]
    flow.admit(prompts, WAYS[0])
    made, _, _ = played(flow, {0: []})
    assert [made[i].tokens for i in range(5)] == [m.tokens for m in policy.sample_now(prompts, WAYS[0])]


def test_stop_strings_end_rows_of_a_flow(policy):
    prompt = asked(policy, 5, 24)
    [whole] = policy.sample_now([prompt], WAYS[0])
    word = policy.renderer.text(whole.tokens)[3:5]
    flow = policy.flow()
    flow.admit([Prompt((), tokens=prompt.tokens, stream=prompt.stream, max_tokens=24, stops=(word,))], WAYS[0])
    made, _, _ = played(flow, {0: []})
    assert made[0].finish is Finish.STOP and word in policy.renderer.text(made[0].tokens)
    assert word not in policy.renderer.text(made[0].tokens[:-1])


def test_what_cannot_be_sampled_is_refused_and_nothing_of_it_begins(policy):
    flow = policy.flow()
    with pytest.raises(BadInput, match="longer than the context"):
        flow.admit([asked(policy, 1, 5), Prompt((), tokens=(65,) * 300)], WAYS[0])
    assert flow.num_live == 0


def test_room_that_long_rows_left_is_given_up(policy):
    flow = policy.flow()
    flow.admit([Prompt((), tokens=(65,) * 200, stream=("long",), max_tokens=3), asked(policy, 1, 30)], WAYS[1])
    for _ in range(5):
        flow.step()
    assert flow._cache.max_len >= 200
    flow.admit([asked(policy, 2, 9)], WAYS[1])
    flow.step()
    assert flow._cache.max_len < 150


def test_the_generic_engine_has_no_flow(model):
    assert LocalPolicy(*model, engine="generic").flow() is None
