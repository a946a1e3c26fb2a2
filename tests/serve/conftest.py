"""Real weights behind a real port, and a policy that says what it is told, token by token."""

import httpx
import openai
import pytest

from evolvent.serve import PolicyDesk, background, make_app
from reciter import RENDERER, Reciter


@pytest.fixture
def reciter():
    return Reciter()


@pytest.fixture
def recited(reciter):
    """A client of a server over the reciter; its own attributes hold the policy, the desk and the address."""
    desk = PolicyDesk(reciter, RENDERER, "r", max_queue=4)
    with (
        background(make_app(desk)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        client.policy, client.desk, client.url = reciter, desk, url
        yield client


@pytest.fixture(scope="session")
def opinionated():
    """A small model whose answers differ, in its own words: bytes, marks, halves of characters."""
    import torch

    from evolvent.models.spec import ModelSpec, build
    from evolvent.models.tokenizer import build_tokenizer
    from evolvent.policies.local import LocalPolicy

    tokenizer = build_tokenizer()
    model = build(ModelSpec(depth=2, max_context=512), tokenizer, 0)
    with torch.no_grad():
        model.model.norm.weight.mul_(6.0)
    return LocalPolicy(model, tokenizer)


@pytest.fixture(scope="session")
def door(opinionated):
    """The address of a server over it."""
    with background(make_app(PolicyDesk(opinionated, opinionated.renderer, "small"))) as url:
        yield url


@pytest.fixture(scope="session")
def ask(door):
    """Posts a body to a path and gives the JSON of the answer."""
    with httpx.Client(base_url=door, timeout=60) as client:

        def post(path, **body):
            reply = client.post(path, json={"model": "small", **body})
            assert reply.status_code == 200, reply.text
            return reply.json()

        yield post
