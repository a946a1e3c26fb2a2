import numpy as np
import pytest
import torch

from evolvent.credit.batch import Batch, Row
from evolvent.models import ModelSpec, build, build_tokenizer
from evolvent.policies.local import LocalPolicy
from evolvent.records import Prompt, Sampling

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_policy():
    """A policy of some ten thousand weights, drawn wide enough to have opinions."""
    tokenizer = build_tokenizer()

    def make(seed=0, *, depth=1, engine="auto", name="agent", adapt=lambda model: model):
        model = build(ModelSpec(depth=depth, max_context=128), tokenizer, seed)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim == 2:
                    weight.mul_(5)
        return LocalPolicy(adapt(model), tokenizer, name, engine)

    return make


@pytest.fixture(scope="session")
def sample_rows():
    """Rows that a policy sampled itself: prompts of random bytes, completions of up to `max_tokens`."""

    def rows(policy, num=6, max_tokens=12, credit=None):
        rng = np.random.default_rng(0)
        prompts = [
            Prompt((), tokens=tuple(rng.integers(0, 256, size=3 + 2 * i).tolist()), stream=("t", i)) for i in range(num)
        ]
        made = policy.sample_now(prompts, Sampling(max_tokens, seed=3))
        weights = credit if credit is not None else [(-1.0) ** i * (1 + i / num) for i in range(num)]
        return tuple(
            row_of(p.tokens, c.tokens, c.sampled_logprobs, w, i)
            for i, (p, c, w) in enumerate(zip(prompts, made, weights, strict=True))
        )

    return rows


@pytest.fixture(scope="session")
def batch_of():
    def batch(rows):
        return Batch(tuple(rows), len(rows), 1, 0, 0, 0, {})

    return batch


def row_of(prompt, completion, logprobs, weight, sample):
    tokens = np.array([*prompt, *completion], dtype=np.int64)
    mask = np.arange(len(tokens)) >= len(prompt)
    sampler = np.zeros(len(tokens))
    sampler[mask] = logprobs
    credit = np.where(mask, weight, 0).astype(np.float32)
    return Row(("t", "agent"), ("t", sample, "agent"), tokens, mask, mask.copy(), sampler, credit, (0,))
