import json
import shutil

import pytest
import torch

from evolvent.errors import StoreError
from evolvent.models import attach_lora
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW, Muon
from evolvent.training.state import load_state, save_state
from evolvent.training.update import update

RL = PolicyLoss(per_token, Clip(0.2, 0.28), token_mean, kl=0.01)
PLANS = {"adamw": AdamW(lr=1e-3), "muon": Muon(lr=0.01, rest=AdamW(lr=1e-3))}
MEMORY = {"curriculum": {"top": {"chain": 1}, "rate": 0.1 + 0.2}, "num_tokens": 7}


class Side:
    """One policy with its optimizer and reference, as a run holds them."""

    def __init__(self, make_policy, plan, seed=0, adapt=lambda model: model):
        self.policy = make_policy(seed, adapt=adapt)
        self.optimizer = PLANS[plan].begin(self.policy.named_parameters())
        self.reference = make_policy(seed + 10, adapt=adapt).copy()

    def train(self, sample_rows, batch_of, num):
        for _ in range(num):
            batch = batch_of(sample_rows(self.policy, 3))
            update(
                self.policy, self.optimizer, batch, RL, micro_tokens=64, max_logprob_gap=1e-2, reference=self.reference
            )

    def parts(self):
        return {"agent": self.policy}, {"agent": self.optimizer}, {"agent": self.reference}

    def save(self, folder):
        save_state(folder, *self.parts(), MEMORY)

    def load(self, folder):
        return load_state(folder, *self.parts())

    def bits(self):
        weights = {f"policy/{n}": p.detach().clone() for n, p in self.policy.model.named_parameters()}
        weights |= {f"reference/{n}": p.detach().clone() for n, p in self.reference.model.named_parameters()}
        return weights | {f"optimizer/{k}": v for k, v in self.optimizer.state().items()}


def same_bits(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("plan", PLANS)
def test_a_run_stopped_and_resumed_ends_with_the_same_bits(make_policy, sample_rows, batch_of, tmp_path, plan):
    whole = Side(make_policy, plan)
    whole.train(sample_rows, batch_of, 2)
    whole.save(tmp_path / "step")
    resumed = Side(make_policy, plan, seed=1)
    memory = resumed.load(tmp_path / "step")
    assert memory == {"versions": {"agent": 2}, **MEMORY} and resumed.policy.version == 2
    assert same_bits(whole.bits(), resumed.bits())
    for side in (whole, resumed):
        side.train(sample_rows, batch_of, 2)
    assert same_bits(whole.bits(), resumed.bits())
    assert whole.policy.version == resumed.policy.version == 4


def test_an_adapter_is_kept_as_it_was_and_not_merged(make_policy, sample_rows, batch_of, tmp_path):
    whole = Side(make_policy, "muon", adapt=attach_lora)
    whole.train(sample_rows, batch_of, 2)
    whole.save(tmp_path / "step")
    resumed = Side(make_policy, "muon", adapt=attach_lora)
    resumed.load(tmp_path / "step")
    for side in (whole, resumed):
        side.train(sample_rows, batch_of, 1)
    kept = [{k: v for k, v in side.bits().items() if not k.startswith("reference")} for side in (whole, resumed)]
    assert same_bits(*kept)


@pytest.fixture(scope="module")
def saved(make_policy, sample_rows, batch_of, tmp_path_factory):
    side = Side(make_policy, "adamw")
    side.train(sample_rows, batch_of, 1)
    folder = tmp_path_factory.mktemp("saved") / "step-000001"
    side.save(folder)
    return folder


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)


def rewrite(file, change):
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(str(file))), str(file))


def forget(name):
    return lambda kept: {k: v for k, v in kept.items() if k != name}


DAMAGED = "BadInput: the checkpoint is damaged: model.safetensors; "
BREAKS = {
    "optimizer cut": ("state/agent.optimizer.safetensors", cut, "SafetensorError: "),
    "optimizer gone": ("state/agent.optimizer.safetensors", lambda f: f.unlink(), "FileNotFoundError: "),
    "optimizer empty": ("state/agent.optimizer.safetensors", lambda f: f.write_bytes(b""), "SafetensorError: "),
    "no count of updates": (
        "state/agent.optimizer.safetensors", lambda f: rewrite(f, forget("num_updates")), "KeyError: 'num_updates'",
    ),
    "reference cut": ("state/agent.reference.safetensors", cut, "SafetensorError: "),
    "reference of fewer weights": (
        "state/agent.reference.safetensors", lambda f: rewrite(f, forget("model.norm.weight")),
        "BadInput: the kept weights are of another model; 1 names on one side only: model.norm.weight",
    ),
    "reference of other shapes": (
        "state/agent.reference.safetensors",
        lambda f: rewrite(f, lambda kept: {**kept, "model.norm.weight": torch.ones(3)}), "RuntimeError: ",
    ),
    "weights with a bit flipped": ("agent/model.safetensors", flip, DAMAGED),
    "weights cut": ("agent/model.safetensors", cut, DAMAGED),
    "weights gone": ("agent/model.safetensors", lambda f: f.unlink(), DAMAGED),
    "memory cut": ("state/memory.json", cut, "JSONDecodeError: "),
    "memory gone": ("state/memory.json", lambda f: f.unlink(), "FileNotFoundError: "),
    "memory of another kind": ("state/memory.json", lambda f: f.write_text("[]"), "TypeError: "),
    "memory of other policies": (
        "state/memory.json", lambda f: f.write_text('{"versions": {}}'), "KeyError: 'agent'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_checkpoint_says_what_is_broken_and_how_to_go_on(make_policy, saved, tmp_path, name):
    file, damage, told = BREAKS[name]
    folder = tmp_path / "step-000001"
    shutil.copytree(saved, folder)
    damage(folder / file)
    with pytest.raises(StoreError) as caught:
        Side(make_policy, "adamw").load(folder)
    error = caught.value
    assert error.what == "the checkpoint cannot be read" and error.where == str(folder)
    assert str(error.got).startswith(told) and "\n" not in str(error.got), error.got
    assert error.wanted == "a whole checkpoint"
    assert error.cure == f"delete {folder} and resume again: the run goes on from the checkpoint before it"


def test_the_state_of_another_optimizer_is_not_taken_for_ones_own(make_policy, saved):
    with pytest.raises(StoreError, match="of another optimizer"):
        Side(make_policy, "muon").load(saved)


def test_the_files_are_what_they_are_called(saved):
    files = {p.relative_to(saved).as_posix() for p in saved.rglob("*") if p.is_file()}
    assert {
        "agent/config.json", "agent/model.safetensors", "state/memory.json",
        "state/agent.optimizer.safetensors", "state/agent.reference.safetensors",
    } <= files  # fmt: skip
    assert json.loads((saved / "state" / "memory.json").read_text())["versions"] == {"agent": 1}
