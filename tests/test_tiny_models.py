import pytest

from evolvent.models import load, num_weights
from evolvent.models.render import Renderer
from evolvent.records import Message, ToolCall, said


@pytest.mark.parametrize("folder", ["tiny_qwen3", "tiny_llama"])
def test_a_model_of_another_maker_comes_through_the_same_door(folder, request):
    model, tokenizer = load(str(request.getfixturevalue(folder)), device="cpu")
    assert 50_000 < num_weights(model) < 200_000
    renderer = Renderer(tokenizer)
    call = Message("assistant", (ToolCall("calc", {"expression": "2*3"}),))
    assert renderer.parse(renderer.reply(call)).calls[0].arguments == {"expression": "2*3"}
    assert "why?" in renderer.text(renderer.open([said("user", "why?")]))
