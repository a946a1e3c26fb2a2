import json

import pytest
import torch

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.training.optim import AdamW, Muon, Schedule

ADAMW = AdamW(lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, max_grad_norm=1e9)
MUON = Muon(lr=0.02, rest=AdamW(lr=0.003, max_grad_norm=1e9), momentum=0.9, weight_decay=0.01)
PLANS = [ADAMW, MUON, Muon(lr=0.02, rest=AdamW(lr=0.003, schedule=Schedule(3, 6, 0.1)))]


def build_model(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.ModuleDict(
            {
                "embed": torch.nn.Embedding(11, 6),
                "norm": torch.nn.LayerNorm(6),
                "inside": torch.nn.Linear(6, 8, bias=False),
                "lm_head": torch.nn.Linear(8, 11),
            }
        )


def gradients(model, step):
    """A loss whose gradient differs at every step."""
    token = torch.randint(0, 11, (4,), generator=torch.Generator().manual_seed(step))
    hidden = model["inside"](model["norm"](model["embed"](token))).tanh()
    torch.nn.functional.cross_entropy(model["lm_head"](hidden), token.roll(1)).backward()


def begin(plan, model):
    return plan.begin(list(model.named_parameters()))


def train(optimizer, model, steps):
    for step in steps:
        gradients(model, step)
        optimizer.clip()
        optimizer.step()


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_the_live_twin_of_adamw_is_torchs_own():
    mine, theirs = build_model(), build_model()
    train(begin(ADAMW, mine), mine, range(5))
    plain = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    for step in range(5):
        gradients(theirs, step)
        plain.step()
        plain.zero_grad()
    for name, value in weights(theirs).items():
        assert torch.allclose(weights(mine)[name], value, atol=1e-6), name
    assert not same_bits(weights(mine), weights(build_model()))


def test_the_live_twin_of_muon_is_torchs_for_matrices_inside_and_adamw_for_the_rest():
    mine, theirs = build_model(), build_model()
    train(begin(MUON, mine), mine, range(5))
    inside = [theirs["inside"].weight]
    others = [p for n, p in theirs.named_parameters() if n != "inside.weight"]
    plain = [
        torch.optim.Muon(inside, lr=0.02, momentum=0.9, weight_decay=0.01),
        torch.optim.AdamW(others, lr=0.003, weight_decay=0.0),
    ]
    for step in range(5):
        gradients(theirs, step)
        for optimizer in plain:
            optimizer.step()
            optimizer.zero_grad()
    for name, value in weights(theirs).items():
        assert torch.allclose(weights(mine)[name], value, atol=1e-6), name


@pytest.mark.parametrize("plan", PLANS)
def test_stopped_and_restored_it_goes_on_bit_for_bit(plan):
    whole, first, second = build_model(), build_model(), build_model(seed=1)
    train(begin(plan, whole), whole, range(7))
    before = begin(plan, first)
    train(before, first, range(3))
    kept = before.state()
    second.load_state_dict(first.state_dict())
    after = begin(plan, second)
    after.restore(kept)
    train(after, second, range(3, 7))
    assert after.num_updates == 7 and same_bits(weights(whole), weights(second))
    assert same_bits(after.state(), begin_and_train(plan, 7).state())


def begin_and_train(plan, num):
    model = build_model()
    optimizer = begin(plan, model)
    train(optimizer, model, range(num))
    return optimizer


def test_the_state_is_a_copy_that_later_steps_do_not_change():
    model = build_model()
    optimizer = begin(ADAMW, model)
    train(optimizer, model, range(1))
    kept = optimizer.state()
    again = {k: v.clone() for k, v in kept.items()}
    train(optimizer, model, range(1, 3))
    assert same_bits(kept, again)
    twin = begin(ADAMW, model)
    twin.restore(kept)
    train(twin, model, range(1))
    assert same_bits(kept, again)


def test_the_memory_of_another_model_is_refused_and_changes_nothing():
    kept = begin_and_train(ADAMW, 2).state()
    model = build_model()
    optimizer = begin(ADAMW, model)
    for wrong in (
        {**kept, "inside.weight/exp_avg": torch.zeros(6, 8)},
        {**kept, "elsewhere.weight/exp_avg": torch.zeros(2, 2)},
    ):
        with pytest.raises(BadInput, match="another model"):
            optimizer.restore(wrong)
        assert optimizer.num_updates == 0 and len(optimizer.state()) == 1


def test_the_memory_of_another_optimizer_is_refused():
    with pytest.raises(BadInput, match="another optimizer"):
        begin(MUON, build_model()).restore(begin_and_train(ADAMW, 2).state())
    with pytest.raises(BadInput, match="another optimizer"):
        begin(ADAMW, build_model()).restore(begin_and_train(MUON, 2).state())


def test_the_gradient_is_clipped_to_its_norm_and_the_norm_before_is_told():
    model = build_model()
    optimizer = begin(AdamW(lr=0.1, max_grad_norm=0.01), model)
    gradients(model, 0)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item()
    before = weights(model)
    assert optimizer.clip() == pytest.approx(norm) and norm > 0.01
    assert torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item() == pytest.approx(0.01, rel=1e-3)
    assert same_bits(before, weights(model))  # clipping moves nothing
    assert optimizer.step() == 0.1
    assert all(p.grad is None for p in model.parameters())


def test_a_schedule_worked_by_hand():
    # warm-up 1/4, 2/4, 3/4, 4/4; then from 1 to 0.2 over the steps 4..12: each takes 0.8 / 8 = 0.1 away
    schedule = Schedule(warmup_steps=4, decay_steps=12, final_frac=0.2)
    assert [schedule(s) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [schedule(s) for s in range(4, 14)] == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2])
    assert [Schedule()(s) for s in (0, 1, 10**6)] == [1.0] * 3
    assert [Schedule(decay_steps=4)(s) for s in (0, 2, 4, 9)] == [1, 0.5, 0, 0]
    assert [Schedule(warmup_steps=2)(s) for s in (0, 1, 2, 99)] == [0.5, 1, 1, 1]


@pytest.mark.parametrize("plan", [ADAMW, MUON])
def test_the_rate_follows_the_schedule_from_the_peak_of_each_part(plan):
    model = build_model()
    schedule = Schedule(warmup_steps=2, decay_steps=4)
    rest = AdamW(lr=0.5, schedule=schedule)
    optimizer = begin(rest if isinstance(plan, AdamW) else Muon(lr=0.2, rest=rest), model)
    rates = []
    for step in range(5):
        gradients(model, step)
        optimizer.step()
        rates.append([g["lr"] for inner in optimizer.inner for g in inner.param_groups])
    peaks = [0.5] if isinstance(plan, AdamW) else [0.2, 0.5]
    assert rates == [pytest.approx([peak * share for peak in peaks]) for share in (0.5, 1, 1, 0.5, 0)]


@pytest.mark.parametrize("names", [("inside.weight",), ("embed.weight", "norm.weight")])
def test_muon_takes_matrices_alone_or_none_at_all(names):
    model = build_model()
    named = [(n, p) for n, p in model.named_parameters() if n in names]
    optimizer = MUON.begin(named)
    before = weights(model)
    gradients(model, 0)
    optimizer.step()
    changed = {n for n, p in weights(model).items() if not torch.equal(p, before[n])}
    assert changed == set(names)


def test_nothing_to_train_says_so():
    for plan in (ADAMW, MUON):
        with pytest.raises(BadInput, match="nothing to train"):
            plan.begin([])


@pytest.mark.parametrize("plan", PLANS)
def test_an_optimizer_survives_json(plan):
    assert from_json(to_json(plan)) == plan
    json.loads(to_json(plan))
