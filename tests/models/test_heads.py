import pytest
import torch

from evolvent.errors import BadInput
from evolvent.models import ModelSpec, build, build_tokenizer, load_scalar, pooled_embedding, save_scalar
from evolvent.models.heads import last_hidden, with_scalar_head

torch.set_num_threads(1)

TOKENS = torch.randint(0, 256, (3, 12), generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([12, 5, 1])


@pytest.fixture(params=["rms", "layer"], ids=["fast", "generic"])
def model(request):
    return build(ModelSpec(2, norm=request.param), build_tokenizer(), 0)


def test_values_are_zero_at_first_and_learn(model):
    scalar = with_scalar_head(model)
    values = scalar(TOKENS, LENGTHS)
    assert values.shape == (3, 12)
    assert not values.any()
    wanted, first = TOKENS.float() / 256, None
    optimizer = torch.optim.Adam(scalar.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        loss = (scalar(TOKENS) - wanted).square().mean()
        first = loss.detach() if first is None else first
        loss.backward()
        optimizer.step()
    assert loss < 0.3 * first


def test_a_scalar_head_is_saved_and_loaded(model, tmp_path):
    scalar = with_scalar_head(model)
    torch.nn.init.normal_(scalar.head.weight, generator=torch.Generator().manual_seed(0))
    save_scalar(scalar, build_tokenizer(), tmp_path / "critic")
    again, _ = load_scalar(tmp_path / "critic", device="cpu")
    assert torch.equal(again(TOKENS), scalar(TOKENS))


def test_a_checkpoint_without_head_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no scalar head"):
        load_scalar(tmp_path)


def test_an_embedding_is_the_unit_mean_over_the_rows_own_tokens(model):
    got = pooled_embedding(model, TOKENS, LENGTHS)
    assert torch.allclose(got.norm(dim=-1), torch.ones(3))
    with torch.no_grad():
        mean = last_hidden(model, TOKENS[1:2, :5])[0].mean(0)
    assert torch.allclose(got[1], mean / mean.norm(), atol=1e-5)


def test_padding_does_not_change_an_embedding(model):
    other = TOKENS.clone()
    other[1, 5:] = 7
    other[2, 1:] = 9
    assert torch.allclose(pooled_embedding(model, TOKENS, LENGTHS), pooled_embedding(model, other, LENGTHS), atol=1e-6)
