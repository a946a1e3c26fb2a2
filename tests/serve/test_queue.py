"""Where requests wait: in front of a flow of real weights, and of a policy that breaks."""

import asyncio

import pytest

from evolvent.errors import BadInput, InfrastructureError
from evolvent.policies import LocalPolicy
from evolvent.policies.policy import Step
from evolvent.records import Completion, Finish, Prompt, Sampling, said
from evolvent.serve.meters import Meters
from evolvent.serve.queue import Queue
from evolvent.serve.refusals import Busy


@pytest.fixture
def policy(opinionated):
    """The same weights with a version of its own."""
    return LocalPolicy(opinionated.model, opinionated.tokenizer)


def prompt(policy, i, room):
    tokens = policy.renderer.open([said("user", f"{i}+{i}=")])
    return Prompt((), tokens=tokens, stream=("q", i), max_tokens=room)


async def long_ask(queue, policy, i, heard=None):
    """A request whose rows do not end on their own before their room does, by taking many streams."""
    prompts = [prompt(policy, 1000 * i + k, 150) for k in range(4)]
    return await queue.ask(prompts, Sampling(150, 0.9, seed=1), heard)


def test_requests_that_come_while_others_are_answered_join_them_and_leave_first(policy):
    async def play():
        queue, ends = Queue(policy, Meters()), []
        heard = asyncio.Event()

        async def noted(name, asking):
            made = await asking
            ends.append(name)
            return made

        slow = asyncio.create_task(noted("long", long_ask(queue, policy, 1, lambda _: heard.set())))
        await heard.wait()
        how = Sampling(3, 0.0)
        quick = await noted("short", queue.ask([prompt(policy, 7, 3)], how))
        await slow
        return ends, quick, policy.sample_now([prompt(policy, 7, 3)], how)

    ends, quick, alone = asyncio.run(play())
    assert ends == ["short", "long"] and quick[0].tokens == alone[0].tokens


def test_a_function_runs_alone_when_all_live_rows_have_ended_and_the_next_ones_see_it(policy):
    async def play():
        queue, heard = Queue(policy, Meters()), asyncio.Event()
        before = asyncio.create_task(long_ask(queue, policy, 1, lambda _: heard.set()))
        await heard.wait()
        update = asyncio.create_task(queue.alone(policy.updated))
        await asyncio.sleep(0)
        after = asyncio.create_task(long_ask(queue, policy, 2))
        await update
        return before.done(), after.done(), [m.version for m in (*await before, *await after)]

    assert asyncio.run(play()) == (True, False, [0] * 4 + [1] * 4)


def test_a_caller_that_is_cancelled_is_not_sampled_any_further(policy):
    async def play():
        queue, steps, heard = Queue(policy, Meters()), [], asyncio.Event()

        def hear(news):
            steps.append(len(news))
            heard.set()

        asking = asyncio.create_task(long_ask(queue, policy, 1, hear))
        await heard.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        rows = queue.meters.rows
        await queue.ask([prompt(policy, 3, 2)], Sampling(2, 0.0))
        await queue.alone(lambda: None)
        return len(steps), rows.sums[()]

    num_steps, num_rows = asyncio.run(play())
    assert num_steps < 100 and num_rows <= 4 + 5  # the second came to at most four rows on their way out


def test_a_wrong_prompt_is_refused_alone_while_others_flow(policy):
    async def play():
        queue = Queue(policy, Meters())
        good = [asyncio.create_task(queue.ask([prompt(policy, i, 5)], Sampling(5, seed=i))) for i in range(4)]
        wrong = asyncio.create_task(queue.ask([Prompt((), tokens=(65,) * 600)], Sampling(5)))
        return await asyncio.gather(*good, wrong, return_exceptions=True)

    *good, wrong = asyncio.run(play())
    assert isinstance(wrong, BadInput) and all(1 <= len(made[0].tokens) <= 5 for made in good)


class Breaks:
    """A policy whose flow breaks at the third step of every flow that is asked for `bad`."""

    name, version = "breaks", 0

    def flow(self):
        return self

    def __init__(self):
        self.live, self.num, self.steps = {}, 0, 0

    @property
    def num_live(self):
        return len(self.live)

    def admit(self, prompts, how):
        numbers = list(range(self.num, self.num + len(prompts)))
        self.live |= dict(zip(numbers, prompts, strict=True))
        self.num, self.steps = self.num + len(prompts), 0
        return numbers

    def end(self, rows):
        for row in rows:
            self.live.pop(row, None)

    def step(self):
        self.steps += 1
        if self.steps == 3 and any(p.stream == ("bad",) for p in self.live.values()):
            self.live = {}
            raise InfrastructureError("the flow broke")
        rows = list(self.live)
        ended = dict.fromkeys(rows if self.steps == 5 else (), Completion((65,), "A", (), (), 0, Finish.STOP, "c"))
        self.live = {} if ended else self.live
        return Step(rows, [65] * len(rows), [0.0] * len(rows), [0.0] * len(rows), None), ended

    async def sample(self, prompts, how):
        raise AssertionError("it has a flow")


def test_a_step_that_breaks_is_told_to_all_whose_rows_are_live_and_the_next_are_answered():
    async def play():
        queue = Queue(Breaks(), Meters())
        asking = [queue.ask([Prompt((), stream=(name,))], Sampling(9)) for name in ("good", "bad")]
        broken = await asyncio.gather(*asking, return_exceptions=True)
        return broken, await queue.ask([Prompt((), stream=("good",))], Sampling(9))

    broken, [made] = asyncio.run(play())
    assert all(isinstance(error, InfrastructureError) for error in broken) and made.text == "A"


def test_more_prompts_than_may_wait_are_told_to_come_back(policy):
    async def play():
        queue = Queue(policy, Meters(), max_waiting=6)
        asking = [asyncio.create_task(long_ask(queue, policy, i)) for i in range(2)]
        found = await asyncio.gather(*asking, return_exceptions=True)
        return [isinstance(one, Busy) for one in found], found

    refused, found = asyncio.run(play())
    # both came in one tick, so nobody was answered yet: four wait, and four more are too many
    assert refused == [False, True] and len(found[0]) == 4
