"""Our losses and advantages beside TRL's GRPOTrainer, on the same weights, tokens and old log-probabilities."""

import numpy as np
import pytest
import torch

from evolvent.credit.advantage import Standardized
from evolvent.models import load, save
from evolvent.policies.local import LocalPolicy
from evolvent.training.losses import Clip, PolicyLoss, Tokens, Totals, per_token, sequence_mean, token_mean

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL's own use of transformers

REDUCE = {"dapo": token_mean, "grpo": sequence_mean}
SCORES = [1.0, 0.0, 0.0, 1.0, 0.3, 0.7]


@pytest.fixture(scope="module")
def folder(make_policy, tmp_path_factory):
    policy = make_policy(seed=1, depth=2)
    folder = tmp_path_factory.mktemp("beside-trl") / "model"
    save(policy.model, policy.tokenizer, folder)
    return folder


def build_trainer(folder, loss_type, beta=0.0, rewards=lambda completions, **_: [0.0] * len(completions)):
    made = trl.GRPOConfig(
        output_dir=str(folder.parent / "out"),
        loss_type=loss_type,
        epsilon=0.2,
        epsilon_high=0.28,
        beta=beta,
        per_device_train_batch_size=6,
        num_generations=6,
        max_completion_length=8,
        use_cpu=True,
        bf16=False,
        use_bias_correction_kl=False,  # on by default since DeepSeek-V3.2; GRPO as published has none
        report_to="none",
        disable_tqdm=True,
    )
    prompts = datasets.Dataset.from_list([{"prompt": "a question"}] * 6)
    trainer = trl.GRPOTrainer(model=str(folder), reward_funcs=rewards, args=made, train_dataset=prompts)
    trainer.current_gradient_accumulation_steps = 1
    return trainer


@pytest.fixture(scope="module")
def case(folder):
    """Six rows of ragged prompts and completions, with words of a tool inside; TRL pads prompts on the left."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 256, size=n).tolist() for n in (3, 7, 5, 4, 7, 6)]
    completions = [rng.integers(0, 256, size=n).tolist() for n in (8, 2, 5, 1, 7, 6)]
    own = [[1, 1, 1, 0, 0, 1, 1, 1], [1, 1], [1, 0, 1, 1, 1], [1], [1] * 7, [1, 1, 0, 0, 0, 1]]
    generator = torch.Generator().manual_seed(0)
    return {
        "prompts": prompts,
        "completions": completions,
        "own": own,
        "advantages": Standardized(ddof=1, eps=1e-4)(SCORES),
        "noise": torch.randn(6, 8, generator=generator) * 0.4,
        "reference_noise": torch.randn(6, 8, generator=generator) * 0.4,
    }


def pad(rows, width, *, left=False):
    padded = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        padded[i, width - len(row) if left else 0 :][: len(row)] = torch.tensor(row)
    return padded


def ones(rows):
    return [[1] * len(row) for row in rows]


def theirs(trainer, case):
    """TRL's loss, gradients by name, and its own log-probabilities (6, 8)."""
    prompt, completion = pad(case["prompts"], 7, left=True), pad(case["completions"], 8)
    prompt_mask, completion_mask = pad(ones(case["prompts"]), 7, left=True), pad(ones(case["completions"]), 8)
    with torch.no_grad():
        now = trainer._get_per_token_logps_and_entropies(
            trainer.model, torch.cat([prompt, completion], 1), torch.cat([prompt_mask, completion_mask], 1), 8
        )[0]
    tool_mask = pad(case["own"], 8)
    inputs = {
        "prompt_ids": prompt,
        "prompt_mask": prompt_mask,
        "completion_ids": completion,
        "completion_mask": completion_mask,
        "tool_mask": tool_mask,
        "advantages": torch.tensor(case["advantages"]),
        "old_per_token_logps": now + case["noise"],
        "ref_per_token_logps": now + case["reference_noise"],
        "num_items_in_batch": (completion_mask * tool_mask).sum(),
    }
    trainer.model.train()  # Qwen3 has no dropout; TRL normalises as in training
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in trainer.model.named_parameters()}, now


def ours(folder, engine, loss, case, now):
    """The same through LocalPolicy.logprobs, rows padded on the right only."""
    policy = LocalPolicy(*load(str(folder), device="cpu"), engine=engine)
    rows = [p + c for p, c in zip(case["prompts"], case["completions"], strict=True)]
    token_BT = pad(rows, max(map(len, rows)))
    mask_BT = pad(
        [[0] * len(p) + m for p, m in zip(case["prompts"], case["own"], strict=True)], token_BT.shape[1]
    ).bool()
    wanted = pad(case["own"], 8).bool()
    row_N = wanted.nonzero()[:, 0]
    logprob_N, _ = policy.logprobs(policy.lay_out(token_BT.numpy(), mask_BT.numpy()))
    assert torch.allclose(logprob_N, now[wanted], atol=1e-4)
    tokens = Tokens(
        logprob_N,
        (now + case["noise"])[wanted],
        torch.tensor(case["advantages"])[row_N],
        row_N,
        len(rows),
        (now + case["reference_noise"])[wanted],
    )
    value = loss(tokens, Totals(len(row_N), len(rows)))
    value.backward()
    return value.item(), {n: p.grad for n, p in policy.named_parameters()}, tokens


@pytest.mark.parametrize("engine", ["generic", "fast"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_loss_and_gradient_are_those_of_trl(folder, case, loss_type, beta, engine):
    trainer = build_trainer(folder, loss_type)
    trainer.beta = beta  # given to the constructor it would load a reference model; here its numbers are given
    wanted, gradients, now = theirs(trainer, case)
    loss = PolicyLoss(per_token, Clip(0.2, 0.28), REDUCE[loss_type], kl=beta)
    value, mine, tokens = ours(folder, engine, loss, case, now)
    ratio = (tokens.logprob_N - tokens.old_N).exp()
    assert 0.1 < loss.clip_share(ratio, tokens.credit_N) < 0.6, "the clip must be at work for this to say anything"
    assert value == pytest.approx(wanted, abs=1e-5)
    assert set(mine) == set(gradients) and all(g.abs().max() > 1e-4 for g in gradients.values())
    for name, gradient in gradients.items():
        assert torch.allclose(mine[name], gradient, atol=1e-5, rtol=0), (name, (mine[name] - gradient).abs().max())


def test_the_advantage_is_trls_default(folder):
    """TRL standardises within the group itself when it scores what it generated."""
    trainer = build_trainer(folder, "dapo", rewards=lambda completions, **_: SCORES[: len(completions)])
    trainer.model.eval()
    made = trainer._generate_and_score_completions([{"prompt": "a question"}] * 6)
    assert made["advantages"].tolist() == pytest.approx(Standardized(ddof=1, eps=1e-4)(SCORES), abs=1e-5)
