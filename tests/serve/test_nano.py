"""Real weights behind the real server: what arrives is what was sampled."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from evolvent.models.spec import ModelSpec, build
from evolvent.models.tokenizer import build_tokenizer
from evolvent.policies.endpoint import Endpoint
from evolvent.policies.local import LocalPolicy
from evolvent.records import Prompt, Sampling, Tool, said
from evolvent.serve import PolicyDesk, background, make_app

TOOL = Tool("calculator", "Computes.", {"type": "object", "properties": {"expression": {"type": "string"}}})
SEEDS = range(6)


@pytest.fixture(scope="module")
def nano():
    tokenizer = build_tokenizer()
    return LocalPolicy(build(ModelSpec(depth=1), tokenizer, seed=0), tokenizer)


@pytest.fixture(scope="module")
def url(nano):
    with background(make_app(PolicyDesk(nano, nano.renderer, "nano"))) as base:
        yield f"{base}/v1"


def sampled(nano, seed, how, text="2+2="):
    """What the policy samples for the stream of a request with this seed."""
    messages = (said("user", text),)
    prompt = Prompt(messages, tokens=nano.renderer.open(messages), stream=("serve", "seed", seed, 0))
    [made] = asyncio.run(nano.sample([prompt], how))
    return prompt, made


def test_the_token_ids_that_arrive_are_those_that_were_sampled_whoever_else_asks(nano, url):
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

    def ask(seed):
        return client.chat.completions.create(
            model="nano",
            messages=[{"role": "user", "content": "2+2="}],
            max_tokens=16,
            seed=seed,
            logprobs=True,
            extra_body={"return_token_ids": True},
        )

    with ThreadPoolExecutor(len(SEEDS)) as pool:
        answers = list(pool.map(ask, SEEDS))
    for seed, answer in zip(SEEDS, answers, strict=True):
        prompt, made = sampled(nano, seed, Sampling(16))
        [choice] = answer.choices
        assert tuple(answer.prompt_token_ids) == prompt.tokens
        assert tuple(choice.token_ids) == made.tokens
        assert [e.logprob for e in choice.logprobs.content] == pytest.approx(made.sampled_logprobs, abs=1e-5)
        assert choice.finish_reason == str(made.finish) and choice.message.content == made.text


def test_an_endpoint_of_ours_gets_tokens_of_its_own_prompt_with_both_log_probabilities(nano, url):
    messages = (said("user", "3+4="),)
    prompts = [Prompt(messages, (TOOL,), nano.renderer.open(messages, (TOOL,)), stream=("t", i)) for i in range(4)]
    made = asyncio.run(Endpoint(url, "nano").sample(prompts, Sampling(12, temperature=0.7)))
    for completion in made:
        assert len(completion.tokens) == len(completion.sampled_logprobs) == len(completion.model_logprobs) > 0
        assert completion.version == 0 and completion.prompt_tokens == len(prompts[0].tokens)
        written = nano.renderer.parse(completion.tokens, (TOOL,))
        assert completion.text == written.text
        assert [(c.name, c.arguments) for c in completion.message.calls] == [
            (c.name, c.arguments) for c in written.calls
        ]


def test_a_prompt_longer_than_the_context_is_the_clients_mistake(url):
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(model="nano", messages=[{"role": "user", "content": "x" * 2000}])


def test_a_prompt_that_is_only_scored_tells_the_version_that_scored_it(nano):
    import httpx

    body = {"model": "nano", "prompt": "2+2=", "echo": True, "logprobs": 0, "max_tokens": 0}
    with background(make_app(PolicyDesk(nano, nano.renderer, "nano"))) as base:
        nano.version, before = 5, nano.version
        try:
            assert httpx.post(f"{base}/v1/completions", json=body).headers["x-evolvent-version"] == "5"
        finally:
            nano.version = before
