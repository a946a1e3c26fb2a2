import os
import subprocess
import sys

import pytest
import torch

from evolvent.errors import BadInput
from evolvent.models import ModelSpec, build, build_tokenizer, load, save

torch.set_num_threads(1)

CHANGES = [
    {"position": "none"},
    {"attention": "window"},
    {"feedforward": "relu2"},
    {"norm": "layer"},
    {"position": "none", "feedforward": "relu2", "norm": "layer", "attention": "window"},
]
OWN_PART = """
import torch


class Plain(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up_proj = torch.nn.Linear(config.hidden_size, 64)
        self.down_proj = torch.nn.Linear(64, config.hidden_size)

    def forward(self, x):
        return self.down_proj(torch.tanh(self.up_proj(x)))


def not_a_part(config):
    return None
"""
ELSEWHERE = """
import sys
sys.modules["evolvent"] = None
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
for folder in sys.argv[1:]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
    tokens, wanted = torch.load(folder + "/../wanted.pt")
    assert torch.equal(model(tokens, use_cache=False).logits, wanted), folder
    assert tokenizer.decode(tokenizer("hé")["input_ids"]) == "hé"
    model.save_pretrained(folder + "/again")
    again = AutoModelForCausalLM.from_pretrained(folder + "/again", trust_remote_code=True).eval()
    assert torch.equal(again(tokens, use_cache=False).logits, wanted), folder
"""
TOKENS = torch.randint(0, 256, (2, 40), generator=torch.Generator().manual_seed(0))


def variant(change):
    return build(ModelSpec(2, max_context=64, **change), build_tokenizer(), 0)


@pytest.mark.parametrize("change", CHANGES)
def test_generation_with_a_cache_equals_the_full_forward(change):
    model = variant(change)
    wanted = TOKENS[:1, :4]
    with torch.no_grad():
        got = model.generate(wanted, max_new_tokens=30, do_sample=False, eos_token_id=None)
        for _ in range(30):
            wanted = torch.cat((wanted, model(wanted, use_cache=False).logits[:, -1:].argmax(-1)), 1)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("change", CHANGES[:4])
def test_a_part_changes_what_the_model_computes(change):
    with torch.no_grad():
        assert not torch.allclose(variant(change)(TOKENS).logits, variant({})(TOKENS).logits, atol=1e-4)


def test_no_position_sees_order_only_through_the_mask():
    model = variant({"position": "none"})
    shuffled = torch.cat((TOKENS[:, :10].flip(1), TOKENS[:, 10:11]), 1)
    with torch.no_grad():
        # one layer cannot know the order of what it has read
        one = torch.nn.ModuleList(model.model.layers[:1])
        model.model.layers, model.config.num_hidden_layers = one, 1
        a, b = model(TOKENS[:, :11]).logits[:, -1], model(shuffled).logits[:, -1]
    assert torch.allclose(a, b, atol=1e-5)


def test_a_window_hides_what_is_further_back():
    model = variant({"attention": "window"})  # 16 positions, two layers: 30 back is the last that can be felt
    with torch.no_grad():
        near, far = TOKENS.clone(), TOKENS.clone()
        near[:, 12] += 1
        far[:, 8] += 1
        last = model(TOKENS).logits[:, -1]
        assert torch.allclose(model(far).logits[:, -1], last, atol=1e-6)
        assert not torch.allclose(model(near).logits[:, -1], last, atol=1e-7)


def test_saved_variants_load_in_plain_transformers_where_evolvent_cannot_be_imported(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "own_part.py").write_text(OWN_PART)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    folders = []
    for number, change in enumerate([CHANGES[4], {"feedforward": "own_part:Plain", "norm": "layer"}]):
        model = variant(change)
        folder = tmp_path / str(number) / "model"
        save(model, build_tokenizer(), folder)
        with torch.no_grad():
            torch.save((TOKENS, model(TOKENS, use_cache=False).logits), folder.parent / "wanted.pt")
        here, _ = load(str(folder))
        assert type(here) is type(model)
        folders.append(str(folder))
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_MODULES_CACHE": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, *folders], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("part", ["own_part:not_a_part", "own_part:Absent", "nowhere:Plain"])
def test_a_part_that_is_none_is_refused(part, tmp_path, monkeypatch):
    (tmp_path / "own_part.py").write_text(OWN_PART)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_part", raising=False)
    with pytest.raises(BadInput):
        variant({"feedforward": part})
