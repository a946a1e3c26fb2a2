"""Agents that only know a base URL, over a real port with the real openai client; their tokens are those sampled."""

import asyncio
import json
import random

import httpx
import numpy as np
import openai
import pytest
import torch

from evolvent.credit.advantage import Standardized
from evolvent.credit.batch import assign
from evolvent.envs import Toolbox, calc
from evolvent.models import build_tokenizer
from evolvent.records import Outcome, Score
from evolvent.rollouts.gateway import Session
from evolvent.rollouts.play import play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Answer, tool_loop
from evolvent.serve.agent import OutsideAgent
from evolvent.serve.gateway import open_gateway
from evolvent.training import gates
from evolvent.training.losses import Clip, PolicyLoss, per_token, token_mean
from evolvent.training.optim import AdamW
from evolvent.training.update import update
from outside import EXAMPLES, attempts, clever, nano, played, stage

PLAIN = f"{EXAMPLES / 'plain_openai.py'}:agent"
CALC = {
    "type": "function",
    "function": {
        "name": "calc",
        "description": "Computes.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}},
        "strict": True,
    },
}


def visits(visit, made=None):
    """A workflow that hands a base URL to a test's own coroutine."""

    async def workflow(task, team, world):
        session, gateway = Session(team["agent"]), open_gateway()
        if made is not None:
            made.append(session)
        with gateway.desk.admit(session, world) as name:
            try:
                words = await visit(task, gateway.base_url(name))
            finally:
                await session.close()
        return Answer(words or "done", {"notes": tuple(session.notes)})

    return workflow


def client(base_url, **more):
    http = openai.DefaultAsyncHttpxClient(verify=False)  # certificates take long to read, and loopback has none
    return openai.AsyncOpenAI(base_url=base_url, api_key="none", http_client=http, **{"max_retries": 0, **more})


async def ask(base_url, messages, **more):
    async with client(base_url) as one:
        return await one.chat.completions.create(model="gpt-4o", messages=messages, **more)


def user(text):
    return {"role": "user", "content": text}


def test_an_agent_on_the_openai_client_leaves_the_trace_that_our_own_loop_would():
    policy = clever()
    [theirs] = played(policy, OutsideAgent(PLAIN))
    [ours] = played(policy, tool_loop)
    assert theirs.answer == ours.answer and theirs.outcome == Outcome.OK
    assert theirs.traces[0].tokens == ours.traces[0].tokens and theirs.traces[0].mask == ours.traces[0].mask
    assert (theirs.info["calls"], theirs.info["contexts"]) == (2, 1) and "notes" not in theirs.info
    assert [tool["name"] for tool in theirs.info["tools"]] == ["calc"]


def test_the_same_seed_gives_the_same_episodes_through_the_door():
    policy, agent = nano(), OutsideAgent(PLAIN)
    one, other = played(policy, agent, 6), played(policy, agent, 6)
    assert [e.traces for e in one] == [e.traces for e in other] and len({e.traces[0].tokens for e in one}) > 1


def test_ids_and_log_probabilities_that_the_client_gets_are_those_in_the_record():
    async def visit(task, url):
        got.append(await ask(url, [user("1+1?")], max_tokens=9, logprobs=True, extra_body={"return_token_ids": True}))

    got = []
    [episode] = played(nano(), visits(visit))
    turn = episode.traces[0].turns[-1]
    choice = got[0].choices[0]
    assert tuple(choice.token_ids) == turn.tokens
    assert tuple(e.logprob for e in choice.logprobs.content) == turn.sampled_logprobs
    assert tuple(got[0].prompt_token_ids) == episode.traces[0].tokens[: -len(turn.tokens)]


def test_streaming_says_the_same_as_one_piece():
    async def visit(task, url):
        async with client(url) as one:
            parts = await one.chat.completions.create(model="x", messages=[user("1+1?")], stream=True, max_tokens=12)
            text = "".join([p.choices[0].delta.content or "" async for p in parts if p.choices])
        return json.dumps(text)

    [episode] = played(nano(), visits(visit))
    assert json.loads(episode.answer) == episode.traces[0].turns[-1].message.text


def test_fifty_sessions_at_once_never_mix():
    """Every agent writes its own marker into every request; each trace holds its own and no other."""

    async def visit(task, url):
        marker = f"<{task.task_id}>"
        messages = [user(f"{marker} 1")]
        async with client(url) as one:
            for turn in range(3):
                answer = await one.chat.completions.create(model="m", messages=messages, max_tokens=4)
                messages += [answer.choices[0].message.model_dump(exclude_none=True), user(f"{marker} {turn}")]

    policy = nano()
    for patience_s in (None, 0.005):
        found = played(policy, visits(visit), 50, patience_s=patience_s)
        for episode in found:
            text = policy.renderer.text(episode.traces[0].tokens)
            others = {e.task.task_id for e in found} - {episode.task.task_id}
            assert text.count(f"<{episode.task.task_id}>") == 3 and not any(f"<{o}>" in text for o in others)
            assert len([t for t in episode.traces[0].turns if t.starts_context]) == 1


def test_a_client_that_gives_up_leaves_nothing_and_its_retry_is_answered():
    """The agent's own time limit is shorter than the first answer takes; the client of openai sends it again."""

    class Slow:
        def __init__(self, policy):
            self.policy, self.renderer, self.name, self.num = policy, policy.renderer, "agent", 0
            self.version = 0

        async def sample(self, prompts, how):
            self.num += 1
            if self.num == 1:
                await asyncio.sleep(0.6)
            return await self.policy.sample(prompts, how)

    async def visit(task, url):
        async with client(url, timeout=0.3, max_retries=2) as one:
            answer = await one.chat.completions.create(model="m", messages=[user("1+1?")])
            return answer.choices[0].message.content

    sessions = []
    [episode] = played(Slow(clever()), visits(visit, sessions))
    assert len(sessions[0].calls) == 1 and len(episode.traces[0].turns) == 2


def test_a_session_may_be_named_in_a_header_and_a_key_makes_a_request_the_same_one():
    async def visit(task, url):
        home, name = f"{open_gateway().url}/v1", url.split("/")[-2]
        async with client(home, default_headers={"X-Evolvent-Session": name}) as one:
            ask_once = {"model": "m", "messages": [user("1+1?")], "max_tokens": 6}
            keyed = {"Idempotency-Key": "k1"}
            same = [await one.chat.completions.create(**ask_once, extra_headers=keyed) for _ in range(2)]
            other = await one.chat.completions.create(**ask_once, extra_headers={"Idempotency-Key": "k2"})
            assert same[0].choices[0].message.content == same[1].choices[0].message.content
            assert other.id not in {s.id for s in same}

    sessions = []
    played(nano(), visits(visit, sessions))
    assert len(sessions[0].calls) == 2


def test_other_sampling_is_overruled_and_noted():
    async def visit(task, url):
        for number in range(2):
            await ask(url, [user(f"{number}+1?")], temperature=0.2, top_p=0.9, seed=3, max_tokens=3)

    [episode] = played(nano(), visits(visit))
    assert all(t.sampling.temperature == 1.0 for t in episode.traces[0].turns if t.sampling)
    assert [n.split(";")[0] for n in episode.info["notes"]][:3] == [
        "the agent asked for temperature 0.2",
        "the agent asked for top_p 0.9",
        "the agent asked for a seed",
    ]


def test_a_session_that_is_over_or_was_never_there_is_not_found():
    async def visit(task, url):
        addresses.append(url)
        guessed = url.rsplit("/", 2)[0] + "/guess/v1"
        for other in (guessed, f"{open_gateway().url}/v1"):
            with pytest.raises(openai.NotFoundError, match="session"):
                await ask(other, [user("1+1?")])
        await ask(url, [user("1+1?")], max_tokens=2)

    addresses = []
    played(nano(), visits(visit))
    with pytest.raises(openai.NotFoundError, match="over"):
        asyncio.run(ask(addresses[0], [user("1+1?")]))
    assert len({*addresses}) == 1 and len(addresses[0].split("/")[-2]) >= 24


def test_what_a_session_cannot_keep_is_refused_by_name():
    async def visit(task, url):
        async with client(url) as one:
            with pytest.raises(openai.BadRequestError, match="conversation"):
                await one.completions.create(model="m", prompt="1+1")
        with pytest.raises(openai.BadRequestError, match="top_logprobs"):
            await ask(url, [user("x")], logprobs=True, top_logprobs=2)
        with pytest.raises(openai.BadRequestError, match="own words"):
            await ask(url, [user("x"), {"role": "assistant", "content": "so"}])

    [episode] = played(nano(), visits(visit))
    assert not episode.traces[0].turns


def test_an_agent_may_call_the_tools_of_its_world():
    async def visit(task, url):
        home = url.removesuffix("/v1")
        async with httpx.AsyncClient() as http:
            offered = (await http.get(f"{home}/tools")).json()["tools"]
            result = (await http.post(f"{home}/tools/calc", json={"expression": "6*7"})).json()
            wrong = (await http.post(f"{home}/tools/clac", json={})).json()
        assert wrong["is_error"] and "calc" in wrong["text"]
        await ask(url, [user("6*7?")], tools=offered, max_tokens=4)
        async with httpx.AsyncClient() as http:
            [told] = (await http.get(f"{home}/calls")).json()["calls"]
        assert told["completion_tokens"] <= 4 and told["latency_s"] > 0 and told["turn_id"].endswith("/1")
        return result["text"]

    [episode] = played(nano(), visits(visit), world=Toolbox((calc,)))
    assert episode.answer == "42"


def test_where_a_budget_is_spent_the_client_reads_which():
    async def visit(task, url):
        with pytest.raises(openai.BadRequestError, match="context budget is spent"):
            await ask(url, [user("x" * 300)])

    [episode] = played(nano(), visits(visit))
    assert episode.traces[0].truncation == "context" and not episode.traces[0].turns


# ---------------------------------------------------------------- what is trained on


def scored(episodes):
    from dataclasses import replace

    found = []
    for i, episode in enumerate(episodes):
        traces = tuple(replace(t, score=Score(float(i % 3 == 0))) for t in episode.traces)
        found.append(replace(episode, traces=traces))
    return found


async def turns(task, url):
    """Three turns of one conversation, with another conversation between them."""
    messages = [user(task.question)]
    async with client(url) as one:
        for number in range(3):
            answer = await one.chat.completions.create(model="m", messages=messages, tools=[CALC], max_tokens=10)
            message = answer.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls or ():
                messages.append({"role": "tool", "tool_call_id": call.id, "content": str(number)})
            if not message.tool_calls:
                messages.append(user("and?"))
    return "x"


def multi_turn(policy, num=6):
    group = [*attempts(1, num)]
    return scored(play(group, stage(policy, visits(turns), budgets=Budgets(12, 250, 120))))


class Peek:
    """An optimizer that shows the gradient before it is clipped."""

    def __init__(self, optimizer, policy):
        self.optimizer, self.policy, self.seen = optimizer, policy, None
        self.clear, self.step = optimizer.clear, optimizer.step

    def clip(self):
        self.seen = torch.cat([p.grad.flatten() for p in self.policy.parameters() if p.grad is not None])
        return self.optimizer.clip()


def gradient(policy, episodes):
    """The gradient of a first update, and what it says of itself."""
    batch = assign(episodes, "agent", Standardized(ddof=1, eps=1e-4))
    loss = PolicyLoss(ratio=per_token, gain=Clip(0.2, 0.28), reduce=token_mean)
    optimizer = Peek(AdamW(lr=0.0).begin(policy.named_parameters()), policy)
    numbers = update(policy, optimizer, batch, loss, micro_tokens=4096, max_logprob_gap=1e-4)
    return optimizer.seen, numbers, batch


def unmerged(episode):
    """Each reply as a context of its own, behind all that was heard and said before it."""
    from dataclasses import replace

    trace, before, found = episode.traces[0], (), []
    for turn in trace.turns:
        if any(turn.mask):
            head = replace(turn, tokens=before, mask=(False,) * len(before), starts_context=True, sampled_logprobs=(),
                           model_logprobs=(), message=trace.turns[0].message, sampling=None)  # fmt: skip
            found += [head, replace(turn, starts_context=False)]
        before += turn.tokens
    return replace(episode, traces=(replace(trace, turns=tuple(found)),))


@pytest.mark.parametrize("engine", ["fast", "generic"])
def test_recorded_log_probabilities_are_those_of_a_fresh_forward_pass_and_the_first_ratio_is_one(engine):
    policy = nano()
    episodes = multi_turn(policy)
    assert all(len([t for t in e.traces[0].turns if any(t.mask)]) == 3 for e in episodes)
    gates.check_masks(episodes)
    gates.check_round_trip(episodes, {"agent": policy})
    from evolvent.policies import LocalPolicy

    _, numbers, batch = gradient(LocalPolicy(policy.model, policy.tokenizer, engine=engine), episodes)
    assert numbers["num_tokens"] == sum(row.num_targets for row in batch.rows) > 50
    assert numbers["max_logprob_gap"] < 1e-4 and np.expm1(numbers["max_logprob_gap"]) < 1e-5, numbers


def test_merged_and_unmerged_turns_have_the_same_gradient():
    policy = nano()
    episodes = multi_turn(policy)
    one, numbers, batch = gradient(policy, episodes)
    other, _, apart = gradient(policy, [unmerged(e) for e in episodes])
    assert len(apart.rows) == 3 * len(batch.rows) and numbers["grad_norm"] > 0
    assert torch.allclose(one, other, atol=1e-6, rtol=1e-4)


def test_an_ambiguous_merge_is_trained_on_as_it_was_sampled():
    """A learned vocabulary spells most words in several ways; words that come back never decide which."""
    rng = random.Random(0)
    tokenizer = build_tokenizer(1500, ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=2000)) for _ in range(30)])
    policy = nano(tokenizer=tokenizer)
    episodes = scored(play(attempts(1, 8), stage(policy, visits(turns), budgets=Budgets(12, 250, 120))))
    changed = 0
    for episode in episodes:
        trace = episode.traces[0]
        assert len([t for t in trace.turns if t.starts_context]) == 1 and not episode.info["notes"]
        for turn in trace.turns:
            if any(turn.mask):
                words = [t for t in turn.tokens if t not in policy.renderer.added.values()]
                text = policy.renderer.text(words)
                changed += "\ufffd" not in text and policy.renderer.plain(text) != tuple(words)
    assert changed, "no sample was spelt in another way than the tokenizer would: the test shows nothing"
    rows = assign(episodes, "agent", Standardized(ddof=1, eps=1e-4)).rows
    assert [tuple(r.tokens) for r in rows] == [e.traces[0].tokens for e in episodes]
    _, numbers, _ = gradient(policy, episodes)
    assert numbers["max_logprob_gap"] < 1e-4
