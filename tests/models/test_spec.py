import subprocess
import sys

import pytest
import torch

from evolvent.errors import BadInput
from evolvent.models import NANO, ModelSpec, build, build_tokenizer, num_weights

torch.set_num_threads(1)


def test_one_dial_sets_every_size():
    assert (NANO.width, NANO.num_heads, NANO.feedforward_width) == (96, 3, 256)
    assert ModelSpec(4).feedforward_width == 352  # 8/3 * 128 = 341.3, up to the next multiple of 32


def test_nano_has_about_a_third_of_a_million_weights():
    assert 0.3e6 < num_weights(build(NANO, build_tokenizer(), 0)) < 0.45e6


def test_a_standard_spec_is_transformers_own_qwen3():
    assert type(build(NANO, build_tokenizer(), 0)).__module__ == "transformers.models.qwen3.modeling_qwen3"


def test_the_same_seed_builds_the_same_weights_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, again, other = (build(ModelSpec(1), build_tokenizer(), seed) for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_matrices_that_write_to_the_residual_stream_start_smaller():
    layer = build(ModelSpec(4), build_tokenizer(), 0).model.layers[0]
    ratio = layer.mlp.gate_proj.weight.std() / layer.mlp.down_proj.weight.std()
    assert abs(ratio - 8**0.5) < 0.1  # sqrt(2 * depth)


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"depth": 2, "norm": "rsm"}, {"depth": 2, "max_context": 0}])
def test_a_wrong_spec_is_refused(wrong):
    with pytest.raises(BadInput):
        ModelSpec(**wrong)


def test_importing_models_does_not_import_torch():
    code = "import sys, evolvent.models; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
