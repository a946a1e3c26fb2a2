"""Our losses and advantages beside TRL's trainers, on the same weights, tokens and old log-probabilities."""

import numpy as np
import pytest
import torch

from evolvent.credit.across import BatchWhitened
from evolvent.credit.advantage import Centred, LeaveOneOut, Standardized
from evolvent.models import load, save
from evolvent.policies.local import LocalPolicy
from evolvent.training.gains import DualClip, Gate, Truncated, Weighted
from evolvent.training.losses import (
    Clip,
    FixedLength,
    PolicyLoss,
    Tokens,
    Totals,
    per_sequence,
    per_token,
    sequence_mean,
    sequence_sum,
    token_mean,
    whole_sequence,
)
from evolvent.training.terms import KL, Entropy, k3_weighted

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


def build_trainer(folder, loss_type, beta=0.0, rewards=lambda completions, **_: [0.0] * len(completions), **more):
    made = trl.GRPOConfig(
        output_dir=str(folder.parent / "out"),
        loss_type=loss_type,
        epsilon=0.2,
        epsilon_high=0.28,
        beta=beta,
        per_device_train_batch_size=6,
        max_completion_length=8,
        use_cpu=True,
        bf16=False,
        use_bias_correction_kl=False,  # on by default since DeepSeek-V3.2; GRPO as published has none
        report_to="none",
        disable_tqdm=True,
        **{"num_generations": 6, **more},
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
        "sampler_noise": torch.randn(6, 8, generator=generator) * 0.4,
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
        "importance_sampling_ratio": case["sampler_noise"].neg().exp().clamp(max=1.2),  # read where a sampler is set
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
        sampler_N=(now + case["noise"] + case["sampler_noise"])[wanted],
        entropy_N=entropy_of(policy, token_BT, mask_BT) if "entropy_N" in loss.needs else None,
    )
    value = loss(tokens, Totals(len(row_N), len(rows)))
    value.backward()
    return value.item(), {n: p.grad for n, p in policy.named_parameters()}, tokens


def entropy_of(policy, token_BT, mask_BT):
    """The entropy of each own token's distribution, with its gradient."""
    logprob_BTV = policy.model(input_ids=token_BT[:, :-1], use_cache=False).logits.float().log_softmax(-1)
    return -(logprob_BTV.exp() * logprob_BTV).sum(-1)[mask_BT[:, 1:]]


def agree(mine, theirs):
    """Loss and every gradient to 1e-5, none of them nothing."""
    (value, ours), (wanted, gradients) = mine, theirs
    assert value == pytest.approx(wanted, abs=1e-5)
    assert set(ours) == set(gradients) and all(g.abs().max() > 1e-4 for g in gradients.values())
    for name, gradient in gradients.items():
        assert torch.allclose(ours[name], gradient, atol=1e-5, rtol=0), (name, (ours[name] - gradient).abs().max())


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
    agree((value, mine), (wanted, gradients))


RLOO = PolicyLoss(whole_sequence, Clip(0.2, 0.28), sequence_mean)
SEQUENCE = {"importance_sampling_level": "sequence"}
METHODS = {
    # the mean over the tokens of a batch; TRL's "dapo" takes it over all micro-batches, "bnpo" over each
    "bnpo": ({"loss_type": "bnpo"}, PolicyLoss(per_token, Clip(0.2, 0.28), token_mean)),
    "dr_grpo": ({"loss_type": "dr_grpo"}, PolicyLoss(per_token, Clip(0.2, 0.28), FixedLength(8))),
    # the paper writes the bound 1 + epsilon_high; TRL's epsilon_high is the bound itself
    "cispo": ({"loss_type": "cispo", "epsilon_high": 1.2}, PolicyLoss(per_token, Weighted(1.2), token_mean)),
    "sapo": ({"loss_type": "sapo"}, PolicyLoss(per_token, Gate(), sequence_mean)),
    "gspo": ({"loss_type": "grpo", **SEQUENCE}, PolicyLoss(per_sequence, Clip(0.2, 0.28), sequence_mean)),
    # length-unbiased GSPO: rows weigh by their length
    "luspo": ({"loss_type": "luspo", **SEQUENCE}, PolicyLoss(per_sequence, Clip(0.2, 0.28), sequence_sum)),
    # a clamp of the ratio before the minimum equals a second bound behind it
    "dual clip": ({"loss_type": "dapo", "delta": 1.4}, PolicyLoss(per_token, DualClip(0.2, 0.28, 1.4), token_mean)),
    "weighted kl": (
        {"loss_type": "dapo", "beta": 0.2, "use_bias_correction_kl": True},
        PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, terms=(KL(0.2, k3_weighted),)),
    ),
    "entropy": (
        {"loss_type": "dapo", "entropy_coef": 0.1, "_entropy_bonus_enabled": True},
        PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, terms=(Entropy(0.1),)),
    ),
    "truncated correction": (
        {"loss_type": "grpo", "use_vllm": True, "vllm_importance_sampling_correction": True},
        PolicyLoss(per_token, Clip(0.2, 0.28), sequence_mean, correction=Truncated(1.2)),
    ),
    # the ratio is between the trainer's own two models, so a sampler's numbers come in through the weight alone
    "gspo, corrected": (
        {"loss_type": "grpo", **SEQUENCE, "use_vllm": True, "vllm_importance_sampling_correction": True},
        PolicyLoss(per_sequence, Clip(0.2, 0.28), sequence_mean, correction=Truncated(1.2)),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_composition_has_the_loss_and_the_gradient_of_trls_method(name, folder, case):
    settings, loss = METHODS[name]
    trainer = build_trainer(folder, settings["loss_type"])
    for field, value in settings.items():
        setattr(trainer.args if field in ("delta", "use_bias_correction_kl") else trainer, field, value)
    wanted, gradients, now = theirs(trainer, case)
    value, mine, tokens = ours(folder, "fast", loss, case, now)
    if not isinstance(loss.gain, Gate):
        assert 0.05 < loss.num_cut(tokens) / len(tokens.logprob_N) < 0.9, "the bounds must be at work"
    agree((value, mine), (wanted, gradients))


def test_under_a_sequence_mean_trls_entropy_bonus_stays_a_mean_over_tokens(folder, case):
    """Ours is reduced like the loss it is added to; on rows of unlike length the two differ."""
    trainer = build_trainer(folder, "grpo")
    trainer.entropy_coef, trainer._entropy_bonus_enabled = 10.0, True
    wanted, _, now = theirs(trainer, case)
    loss = PolicyLoss(per_token, Clip(0.2, 0.28), sequence_mean, terms=(Entropy(10.0),))
    value, _, tokens = ours(folder, "fast", loss, case, now)
    entropy_N, totals = tokens.entropy_N.detach(), Totals(len(tokens.row_N), tokens.num_rows)
    by_row = (sequence_mean(tokens.row_N, tokens.num_rows, totals) * entropy_N).sum().item()
    assert abs(by_row - entropy_N.mean().item()) > 1e-4
    assert value - wanted == pytest.approx(10 * (entropy_N.mean().item() - by_row), abs=1e-4)


def test_the_advantage_is_trls_default(folder):
    """TRL standardises within the group itself when it scores what it generated."""
    trainer = build_trainer(folder, "dapo", rewards=lambda completions, **_: SCORES[: len(completions)])
    trainer.model.eval()
    made = trainer._generate_and_score_completions([{"prompt": "a question"}] * 6)
    assert made["advantages"].tolist() == pytest.approx(Standardized(ddof=1, eps=1e-4)(SCORES), abs=1e-5)


def scored(trainer):
    """Advantages that a trainer gives its own completions; rewards are SCORES in order."""
    trainer.model.eval()
    return trainer._generate_and_score_completions([{"prompt": "a question"}] * 6)["advantages"].tolist()


def by_order(completions, **_):
    return SCORES[: len(completions)]


def test_without_a_scale_the_advantage_is_centred(folder):
    trainer = build_trainer(folder, "dr_grpo", rewards=by_order, scale_rewards="none")
    assert scored(trainer) == pytest.approx(Centred()(SCORES), abs=1e-5)


def test_trl_scales_a_batch_by_the_deviation_of_its_scores_and_reinforce_pp_by_that_of_its_advantages(folder):
    trainer = build_trainer(folder, "grpo", rewards=by_order, scale_rewards="batch", num_generations=2)
    groups = [SCORES[i : i + 2] for i in (0, 2, 4)]
    made = [a for group in groups for a in Centred()(group)]
    scale = np.std(SCORES, ddof=1) + 1e-4
    assert scored(trainer) == pytest.approx([a / scale for a in made], abs=1e-5)
    method = BatchWhitened(ddof=1, eps=1e-4, within=Centred())
    ours = method.across([method(group) for group in groups], [(str(i), "agent") for i in range(3)])
    paper = np.std(made, ddof=1) + 1e-4
    assert [a for group in ours for a in group] == pytest.approx([a / paper for a in made], abs=1e-9)


def build_rloo(folder, **more):
    made = trl.RLOOConfig(
        output_dir=str(folder.parent / "out"),
        epsilon=0.2,
        epsilon_high=0.28,
        beta=0.0,
        per_device_train_batch_size=6,
        max_completion_length=8,
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        **more,
    )
    prompts = datasets.Dataset.from_list([{"prompt": "a question"}] * 6)
    return trl.RLOOTrainer(model=str(folder), reward_funcs=by_order, args=made, train_dataset=prompts)


@pytest.mark.parametrize("is_whitened", [False, True])
def test_leave_one_out_is_the_advantage_of_trls_rloo(folder, is_whitened):
    trainer = build_rloo(folder, num_generations=3, normalize_advantages=is_whitened)
    groups = [SCORES[:3], SCORES[3:]]
    wanted = [LeaveOneOut()(group) for group in groups]
    if is_whitened:
        method = BatchWhitened(ddof=1, eps=1e-4, within=LeaveOneOut())
        wanted = method.across(wanted, [("a", "agent"), ("b", "agent")])
    assert scored(trainer) == pytest.approx([a for group in wanted for a in group], abs=1e-5)


def test_a_whole_completion_as_one_action_has_the_loss_and_the_gradient_of_trls_rloo(folder, case):
    """RLOO as published is REINFORCE; TRL clips the ratio of whole completions, and knows no words of tools."""
    case = {**case, "own": ones(case["completions"])}
    trainer = build_rloo(folder, num_generations=6)
    prompt, completion = pad(case["prompts"], 7, left=True), pad(case["completions"], 8)
    prompt_mask, completion_mask = pad(ones(case["prompts"]), 7, left=True), pad(ones(case["completions"]), 8)
    with torch.no_grad():
        now = trainer._get_per_token_logps_and_entropies(
            trainer.model, torch.cat([prompt, completion], 1), torch.cat([prompt_mask, completion_mask], 1), 8
        )[0]
    inputs = {
        "prompt_ids": prompt,
        "prompt_mask": prompt_mask,
        "completion_ids": completion,
        "completion_mask": completion_mask,
        "advantages": torch.tensor(case["advantages"]),
        "old_logps": ((now + case["noise"]) * completion_mask).sum(1),
    }
    trainer.model.train()
    trainer.model.zero_grad()
    wanted = trainer._compute_loss(trainer.model, inputs)
    wanted.backward()
    gradients = {n: p.grad.clone() for n, p in trainer.model.named_parameters()}
    value, mine, tokens = ours(folder, "fast", RLOO, case, now)
    assert 0.1 < RLOO.num_cut(tokens) / len(tokens.logprob_N) < 0.9
    agree((value, mine), (wanted.item(), gradients))
