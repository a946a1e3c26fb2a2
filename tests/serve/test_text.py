"""Requests to go on from bare text or token ids, and what the policy thinks of a prompt itself."""

import math

import httpx
import openai
import pytest
import torch

PROMPT = "2+2=4;3+3="


@pytest.fixture(scope="module")
def client(door):
    with openai.OpenAI(base_url=f"{door}/v1", api_key="none", max_retries=0) as made:
        yield made


def logprob_table(policy, ids):
    """Row t holds what the model itself thinks of token t + 1."""
    with torch.no_grad():
        return policy.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


def test_the_openai_client_gets_a_completion_of_text(client, opinionated):
    made = client.completions.create(model="small", prompt=PROMPT, max_tokens=8, seed=3)
    [choice] = made.choices
    assert made.object == "text_completion" and choice.finish_reason in ("stop", "length")
    assert made.usage.prompt_tokens == len(PROMPT) and made.usage.completion_tokens <= 8
    assert choice.logprobs is None


def test_text_and_its_token_ids_are_the_same_prompt(ask, opinionated):
    body = {"max_tokens": 8, "seed": 3, "return_token_ids": True}
    ids = list(opinionated.renderer.plain(PROMPT))
    by_text, by_ids = (ask("/v1/completions", prompt=prompt, **body) for prompt in (PROMPT, ids))
    assert by_text["choices"] == by_ids["choices"] and by_text["prompt_token_ids"] == ids


@pytest.mark.parametrize("kind", ["texts", "ids"])
def test_several_prompts_with_several_choices_come_prompt_by_prompt(ask, opinionated, kind):
    texts = ["a", "bcd", "ef"]
    prompts = texts if kind == "texts" else [list(t.encode()) for t in texts]
    answer = ask("/v1/completions", prompt=prompts, n=2, max_tokens=4, seed=1, return_token_ids=True)
    assert [c["index"] for c in answer["choices"]] == list(range(6))
    assert [bytes(c["prompt_token_ids"]).decode() for c in answer["choices"]] == ["a", "a", "bcd", "bcd", "ef", "ef"]
    assert len({tuple(c["token_ids"]) for c in answer["choices"]}) == 6
    assert answer["usage"]["prompt_tokens"] == 6


def test_no_mark_is_read_in_text_and_token_ids_may_hold_them(ask, opinionated):
    mark = opinionated.renderer.added["<|user|>"]
    told = ask("/v1/completions", prompt="<|user|>", max_tokens=1, return_token_ids=True)
    assert bytes(told["prompt_token_ids"]) == b"<|user|>"
    assert ask("/v1/completions", prompt=[mark], max_tokens=1, return_token_ids=True)["prompt_token_ids"] == [mark]


def test_log_probabilities_stand_in_lists_side_by_side(ask, opinionated):
    body = {"prompt": PROMPT, "max_tokens": 12, "seed": 5, "logprobs": 2, "return_token_ids": True}
    [choice] = ask("/v1/completions", **body)["choices"]
    shown, text = choice["logprobs"], opinionated.renderer.text
    ids = choice["token_ids"]
    labels = [f"token_id:{token}" if text([token]) == "\ufffd" else text([token]) for token in ids]
    assert shown["tokens"] == labels and any(label.startswith("token_id") for label in labels)
    table = logprob_table(opinionated, [*PROMPT.encode(), *ids])[len(PROMPT) - 1 : -1]
    own = [line[token].item() for line, token in zip(table, ids, strict=True)]
    assert shown["token_logprobs"] == pytest.approx(own, abs=1e-4)
    for at, offset in enumerate(shown["text_offset"]):
        whole = text(ids[:at])
        assert whole[: offset + 1].startswith(text(ids)[:offset]) and offset <= len(whole)
    for line, rivals, value in zip(table, shown["top_logprobs"], shown["token_logprobs"], strict=True):
        assert max(rivals.values()) == pytest.approx(line.max().item(), abs=1e-4) and value in rivals.values()
    assert shown["text_offset"][0] == 0


def test_without_rivals_only_the_drawn_tokens_are_scored(ask):
    [choice] = ask("/v1/completions", prompt=PROMPT, max_tokens=4, logprobs=0)["choices"]
    assert choice["logprobs"]["top_logprobs"] is None and len(choice["logprobs"]["token_logprobs"]) > 0


@pytest.mark.parametrize("max_tokens", [0, 1, 5])
def test_an_echo_scores_the_prompt_as_a_fresh_forward_pass_does(ask, opinionated, max_tokens):
    prompts = [list(PROMPT.encode()), list(b"x"), list(b"a longer one, with more words in it")]
    body = {"echo": True, "logprobs": 1, "max_tokens": max_tokens, "temperature": 0, "seed": 1234}
    answer = ask("/v1/completions", prompt=prompts, **body, return_token_ids=True)
    for prompt, choice in zip(prompts, answer["choices"], strict=True):
        shown, made = choice["logprobs"], choice["token_ids"]
        assert len(made) <= max_tokens and choice["text"].startswith(bytes(prompt).decode())
        assert {len(column) for column in shown.values()} == {len(prompt) + len(made)}
        assert shown["token_logprobs"][0] is None and shown["top_logprobs"][0] is None
        table = logprob_table(opinionated, prompt)
        own = [table[t, token].item() for t, token in enumerate(prompt[1:])]
        assert shown["token_logprobs"][1 : len(prompt)] == pytest.approx(own, abs=1e-4)
        for t, (value, rivals) in enumerate(zip(shown["token_logprobs"][1:], shown["top_logprobs"][1:], strict=True)):
            assert value in rivals.values()
            if t < len(prompt) - 1:  # a harness asks: was this the likeliest? by comparing numbers exactly
                assert (value == max(rivals.values())) == (table[t].argmax().item() == prompt[t + 1])
        assert shown["text_offset"][: len(prompt)] == list(range(len(prompt)))


def test_an_echo_is_the_sum_that_the_policy_itself_computes(ask, opinionated):
    import numpy as np

    rows = [list(b"one row"), list(b"and another row")]
    token_BT = np.zeros((2, 15), dtype=np.int64)
    mask_BT = np.zeros((2, 15), dtype=bool)
    for i, row in enumerate(rows):
        token_BT[i, : len(row)], mask_BT[i, 1 : len(row)] = row, True
    with torch.no_grad():
        own_M, _ = opinionated.logprobs(opinionated.lay_out(token_BT, mask_BT))
    answer = ask("/v1/completions", prompt=rows, echo=True, logprobs=0, max_tokens=0)
    told = [value for c in answer["choices"] for value in c["logprobs"]["token_logprobs"][1:]]
    assert told == pytest.approx(own_M.tolist(), abs=1e-4)


def test_a_stop_string_ends_the_text_before_it_and_the_ids_keep_it(ask, opinionated):
    body = {"prompt": PROMPT, "max_tokens": 40, "seed": 11, "temperature": 0.9, "return_token_ids": True}
    [whole] = ask("/v1/completions", **body)["choices"]
    stop = opinionated.renderer.text(whole["token_ids"])[5:7]
    [cut] = ask("/v1/completions", **body, stop=stop)["choices"]
    text = opinionated.renderer.text(cut["token_ids"])
    assert stop in text and cut["text"] == text[: text.index(stop)] and cut["finish_reason"] == "stop"
    assert cut["token_ids"] == whole["token_ids"][: len(cut["token_ids"])]


def test_a_stream_of_text_is_the_whole_in_pieces(client):
    body = {"model": "small", "prompt": [PROMPT, "b"], "n": 2, "max_tokens": 12, "seed": 2, "logprobs": 1}
    more = {"extra_body": {"return_token_ids": True}}
    whole = client.completions.create(**body, **more)
    chunks = list(client.completions.create(**body, **more, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage == whole.usage
    for place, choice in enumerate(whole.choices):
        mine = [c for chunk in chunks for c in chunk.choices if c.index == place]
        drawn = [c for c in mine if getattr(c, "token_ids", None)]
        assert "".join(c.text for c in mine) == choice.text and mine[-1].finish_reason == choice.finish_reason
        assert [c.token_ids[0] for c in drawn] == choice.token_ids
        assert [c.logprobs.text_offset[0] for c in drawn] == choice.logprobs.text_offset
        assert [c.logprobs.tokens[0] for c in drawn] == choice.logprobs.tokens


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", 3]}, "prompt"),
        ({"prompt": [[1], "a"], "stream": 1}, "stream"),
        ({"prompt": [99999]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "echo": True, "stream": True}, "echo"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": ["a"] * 100, "n": 100}, "prompt"),
        ({"prompt": "a", "messages": []}, "messages"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(door, fields, param):
    reply = httpx.post(f"{door}/v1/completions", json={"model": "small", **fields})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == param, reply.text


def test_a_prompt_longer_than_the_context_is_refused_whether_sampled_or_scored(door):
    for more in ({"max_tokens": 5}, {"max_tokens": 0, "echo": True, "logprobs": 1}):
        reply = httpx.post(f"{door}/v1/completions", json={"model": "small", "prompt": "x" * 600, **more})
        assert reply.status_code == 400 and "512" in reply.json()["error"]["message"]


def test_what_cannot_be_drawn_is_no_infinity_in_json(ask):
    body = {"prompt": PROMPT, "max_tokens": 6, "seed": 1, "top_k": 2, "logprobs": 5}
    [choice] = ask("/v1/completions", **body)["choices"]
    for rivals in choice["logprobs"]["top_logprobs"]:
        assert 1 <= len(rivals) <= 2 and all(math.isfinite(value) for value in rivals.values())
