"""Decoding that is heard and interrupted, on both engines."""

from dataclasses import replace

import pytest
import torch

from evolvent.models import ModelSpec, build, build_tokenizer
from evolvent.policies import LocalPolicy
from evolvent.policies.decode import choose, likeliest
from evolvent.policies.policy import Streams
from evolvent.records import Finish, Prompt, Sampling, said

torch.set_num_threads(1)
HOW = Sampling(24, temperature=0.9, top_k=50, seed=4)


@pytest.fixture(scope="module")
def model():
    tokenizer = build_tokenizer()
    made = build(ModelSpec(depth=2, max_context=256), tokenizer, 0)
    with torch.no_grad():
        made.model.norm.weight.mul_(6.0)
    return made, tokenizer


@pytest.fixture(params=["fast", "generic"])
def policy(request, model):
    return LocalPolicy(*model, engine=request.param)


def asked(policy, num=12, **fields):
    tokens = [policy.renderer.open([said("user", "12+3?" + "9" * (i % 4))]) for i in range(num)]
    return [Prompt((), tokens=t, stream=("w", i), max_tokens=8 + i % 7 * 2, **fields) for i, t in enumerate(tokens)]


def heard_by(policy, prompts, how=HOW, over=lambda step: ()):
    heard = {i: ([], [], []) for i in range(len(prompts))}

    def watch(step):
        for row, *drawn in zip(step.rows, step.tokens, step.sampled, step.model, strict=True):
            for kept, value in zip(heard[row], drawn, strict=True):
                kept.append(value)
        return over(step)

    return policy.sample_now(prompts, how, watch), heard


def test_a_watch_hears_exactly_what_is_returned_and_changes_no_bit_of_it(policy):
    prompts = asked(policy)
    alone = policy.sample_now(prompts, HOW)
    policy.forget()
    made, heard = heard_by(policy, prompts)
    assert isinstance(policy, Streams)
    for i, (one, other) in enumerate(zip(alone, made, strict=True)):
        assert (one.tokens, one.sampled_logprobs, one.model_logprobs) == (
            other.tokens, other.sampled_logprobs, other.model_logprobs,
        )  # fmt: skip
        assert tuple(map(tuple, heard[i])) == (made[i].tokens, made[i].sampled_logprobs, made[i].model_logprobs)


def test_an_ended_row_makes_room_at_once(policy):
    prompts, sizes = asked(policy), []

    def watch(step):
        sizes.append(len(step.rows))
        return {1, 4, 9} if len(sizes) == 3 else ()

    whole = policy.sample_now(prompts, HOW)
    policy.forget()
    made = policy.sample_now(prompts, HOW, watch)
    assert sizes[3] <= sizes[2] - len([i for i in (1, 4, 9) if len(whole[i].tokens) > 3])
    for i, (cut, uncut) in enumerate(zip(made, whole, strict=True)):
        assert cut.tokens == (uncut.tokens[:3] if i in (1, 4, 9) else uncut.tokens)


def test_all_rows_ended_is_the_end(policy):
    made = policy.sample_now(asked(policy), HOW, lambda step: set(step.rows))
    assert {len(m.tokens) for m in made} == {1}


def test_stop_strings_end_rows_in_a_mixed_batch_and_stay_at_the_end(policy):
    prompts = asked(policy)
    whole = policy.sample_now(prompts, HOW)
    texts = [policy.renderer.text(m.tokens) for m in whole]
    # the third and fourth character of what it would say anyway; every other prompt has no stop
    stops = [(t[2:4],) if i % 2 and len(t) > 4 and "\ufffd" not in t[:4] else () for i, t in enumerate(texts)]
    assert sum(map(bool, stops)) >= 2
    policy.forget()
    made = policy.sample_now([replace(p, stops=s) for p, s in zip(prompts, stops, strict=True)], HOW)
    for stop, cut, uncut in zip(stops, made, whole, strict=True):
        if not stop:
            assert (cut.tokens, cut.finish) == (uncut.tokens, uncut.finish)
            continue
        assert cut.tokens == uncut.tokens[: len(cut.tokens)] and cut.finish is Finish.STOP
        before, after = policy.renderer.text(cut.tokens[:-1]), policy.renderer.text(cut.tokens)
        assert stop[0] in after and stop[0] not in before


def test_logits_of_a_step_are_those_it_was_drawn_from(policy):
    prompts = asked(policy, 5)

    def watch(step):
        ids, values = likeliest(step.logits, HOW, 300)
        for row, token in enumerate(step.tokens):
            [place] = (ids[row] == token).nonzero()
            assert values[row, place].item() == step.sampled[row]
        return ()

    policy.sample_now(prompts, HOW, watch)


@pytest.mark.parametrize("how", [Sampling(1, 0.0), Sampling(1, 1.0), Sampling(1, 0.5, 0.8), Sampling(1, 1.3, 1.0, 3)])
def test_the_likeliest_tokens_are_listed_as_they_could_be_drawn(how):
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    ids, values = likeliest(logits, how, 9)
    for uniform in (0.01, 0.5, 0.99):
        token, sampled, _ = choose(logits, torch.full((6,), uniform), how)
        for row in range(6):
            [place] = (ids[row] == token[row]).nonzero()
            assert values[row, place].item() == pytest.approx(sampled[row].item(), abs=1e-6)
    total = values.exp().sum(-1)
    assert torch.allclose(total, torch.ones(6), atol=1e-5)
