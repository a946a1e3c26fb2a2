import json
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from evolvent.errors import BadInput, StoreError
from evolvent.models import ModelSpec, attach_lora, attach_saved_lora, build, build_tokenizer, load, save, verify
from evolvent.models import checkpoints as module

torch.set_num_threads(1)

TOKENS = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(0))
TOKENIZER = build_tokenizer()


@pytest.fixture
def folder(tmp_path):
    save(build(ModelSpec(2), TOKENIZER, 0), TOKENIZER, tmp_path / "model")
    return tmp_path / "model"


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


def test_a_saved_model_comes_back_bit_by_bit(folder):
    model, tokenizer = load(str(folder), device="cpu")
    built = build(ModelSpec(2), TOKENIZER, 0)
    assert torch.equal(logits(model), logits(built))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert tokenizer.chat_template == TOKENIZER.chat_template
    assert tokenizer("hé\x00<|x|>")["input_ids"] == TOKENIZER("hé\x00<|x|>")["input_ids"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_plain_transformers_loads_it(folder):
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder).eval()), logits(load(str(folder))[0]))


def test_an_untied_llama_with_shared_key_heads_goes_through_the_same_door(tmp_path):
    config = LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(config).eval()
    save(model, TOKENIZER, tmp_path / "llama")
    assert torch.equal(logits(load(str(tmp_path / "llama"), device="cpu")[0]), logits(model))
    half, _ = load(str(tmp_path / "llama"), dtype="bfloat16", device="cpu")
    assert half.dtype == torch.bfloat16
    save(half, TOKENIZER, tmp_path / "half")
    assert load(str(tmp_path / "half"), dtype="bfloat16", device="cpu")[0].lm_head.weight.equal(half.lm_head.weight)


def test_saving_again_replaces_the_folder_whole(folder):
    (folder / "left-over").write_text("x")
    save(build(ModelSpec(2), TOKENIZER, 1), TOKENIZER, folder)
    assert not (folder / "left-over").exists()
    assert torch.equal(logits(load(str(folder))[0]), logits(build(ModelSpec(2), TOKENIZER, 1)))


def test_verify_finds_a_tensor_that_differs(folder):
    model = build(ModelSpec(2), TOKENIZER, 0)
    verify(model, folder)
    model.model.norm.weight.data[3] += 1e-7
    with pytest.raises(StoreError, match="other numbers"):
        verify(model, folder)


def test_verify_finds_a_tensor_that_was_not_written(folder):
    with pytest.raises(StoreError, match="not written"):
        verify(build(ModelSpec(3), TOKENIZER, 0).model.layers[2], folder.parent)


def test_a_failed_write_leaves_the_last_checkpoint(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_put_in_place", full)
    with pytest.raises(StoreError, match="No space left"):
        save(build(ModelSpec(2), TOKENIZER, 1), TOKENIZER, folder)
    assert torch.equal(logits(load(str(folder))[0]), logits(build(ModelSpec(2), TOKENIZER, 0)))
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_flipped_bit_is_found_and_its_file_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-9] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BadInput) as fault:
        load(str(folder))
    assert name in str(fault.value)
    assert "cure" in str(fault.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("with_digests", [True, False])
@pytest.mark.parametrize("kept", [0, 100, None])
def test_a_truncated_or_missing_file_is_named(folder, name, with_digests, kept):
    if not with_digests:
        (folder / "digests.json").unlink()
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if kept is not None:
        (folder / name).write_bytes(content[:kept])
    with pytest.raises(BadInput) as fault:
        load(str(folder))
    assert name in str(fault.value)


def test_weights_that_the_configuration_wants_and_the_file_lacks_are_an_error(folder):
    (folder / "digests.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="lacks weights"):
        load(str(folder))


def test_a_model_without_chat_template_is_refused_with_a_cure(folder):
    (folder / "digests.json").unlink()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(BadInput, match="no chat template") as fault:
        load(str(folder))
    assert "chat_template" in fault.value.cure


def test_a_tokenizer_with_more_tokens_than_vectors_is_refused(tmp_path):
    config = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    save(LlamaForCausalLM(config), TOKENIZER, tmp_path / "m")
    with pytest.raises(BadInput, match="more tokens"):
        load(str(tmp_path / "m"))


def test_a_folder_that_is_no_model_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        load(str(tmp_path))
    with pytest.raises(BadInput, match="no such model"):
        load(str(tmp_path / "absent"))


def test_code_of_others_runs_only_when_trusted(folder):
    (folder / "digests.json").unlink()
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="its own code"):
        load(str(folder))


def test_a_hub_id_without_the_hub_names_the_path_form():
    code = "from evolvent.models import load; load('nobody/no-such-model')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )
    assert "BadInput" in done.stderr
    assert "./no-such-model" in done.stderr


def test_an_adapted_model_is_saved_merged_with_its_adapter_beside(tmp_path):
    base = build(ModelSpec(2), TOKENIZER, 0)
    untouched = logits(base)
    model = attach_lora(base, rank=2)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trainable) < 0.2 * sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.Adam(trainable, lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        model(TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
    wanted = logits(model)
    save(model, TOKENIZER, tmp_path / "m")
    assert torch.equal(logits(model), wanted)  # saving did not merge the live model
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()), wanted, atol=1e-5)
    assert torch.allclose(logits(load(str(tmp_path / "m"))[0]), wanted, atol=1e-5)
    again = attach_saved_lora(build(ModelSpec(2), TOKENIZER, 0), tmp_path / "m" / "adapter")
    assert torch.equal(logits(again), wanted)
    assert sum(p.requires_grad for p in again.parameters()) == len(trainable)
    assert not torch.allclose(wanted, untouched, atol=1e-3)


def test_a_fresh_adapter_depends_on_its_seed_alone_and_changes_nothing_yet():
    before = torch.get_rng_state()
    models = [attach_lora(build(ModelSpec(2), TOKENIZER, 0), seed=s) for s in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.allclose(logits(models[0]), logits(build(ModelSpec(2), TOKENIZER, 0)), atol=1e-6)
    a, b, c = (next(p for p in m.parameters() if p.requires_grad) for m in models)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_targets_that_do_not_exist_are_refused_with_those_that_do():
    with pytest.raises(BadInput, match="q_proj"):
        attach_lora(build(ModelSpec(1), TOKENIZER, 0), targets=["query"])
