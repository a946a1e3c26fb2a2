import math
from dataclasses import dataclass, field, replace

import pytest
import torch

from evolvent.envs import Toolbox, calc
from evolvent.models import ModelSpec, Renderer, build, build_tokenizer
from evolvent.policies import LocalPolicy
from evolvent.records import Completion, Finish, Message, Prompt, Sampling, ToolCall, said
from evolvent.rollouts.play import Attempt, Stage
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import tool_loop
from evolvent.tasks import source

torch.set_num_threads(1)


@dataclass
class Puppet:
    """A policy with a real renderer that writes token ids of the test's choice, and remembers what it wrote."""

    renderer: Renderer
    speak: object
    name: str = "agent"
    version: int = 0
    made: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    async def sample(self, prompts, how):
        self.asked.append(list(prompts))
        return [self._one(p, how) for p in prompts]

    def _one(self, prompt: Prompt, how: Sampling) -> Completion:
        tokens = tuple(self.speak(prompt))[: prompt.room(how)]
        stopped = tokens[-1] in self.renderer.stop_ids or any(s in self.renderer.text(tokens) for s in prompt.stops)
        message = self.renderer.parse(tokens, prompt.tools)
        finish = Finish.LENGTH if not stopped else Finish.CALL if message.calls else Finish.STOP
        logprobs = tuple(-0.1 - 0.01 * math.sin(t) for t in tokens)
        call_id = f"{prompt.stream}"
        made = Completion(tokens, message.text, logprobs, logprobs, self.version, finish, call_id, message)
        self.made.append((prompt, made))
        return made


def calls(renderer, expression, tools):
    return renderer.reply(Message("assistant", (ToolCall("calc", {"expression": expression}),)), tools)


def uses_the_tool(renderer):
    """Asks the calculator for the question, then says what it answered."""

    def speak(prompt):
        if prompt.messages[-1].role == "tool":
            return renderer.reply(said("assistant", prompt.messages[-1].text), prompt.tools)
        return calls(renderer, prompt.messages[-1].text.rstrip("?"), prompt.tools)

    return speak


@pytest.fixture
def puppet():
    renderer = Renderer(build_tokenizer())
    return Puppet(renderer, uses_the_tool(renderer))


@pytest.fixture(scope="session")
def nano():
    tokenizer = build_tokenizer()
    return LocalPolicy(build(ModelSpec(depth=1, max_context=256), tokenizer, 0), tokenizer)


BUDGETS = Budgets(turn_tokens=40, context_tokens=250, episode_tokens=120)


@pytest.fixture
def stage():
    def make(policy, **changes):
        made = Stage(
            workflow=tool_loop,
            world=Toolbox((calc,)),
            policies={"agent": policy},
            seats={"agent": "agent"},
            how=Sampling(BUDGETS.turn_tokens, seed=7),
            budgets=BUDGETS,
        )
        return replace(made, **changes)

    return make


@pytest.fixture
def attempts():
    def make(num, samples=1, level=1):
        chain = source("chain", 0)
        return [Attempt(chain.task("chain", level, i), s) for i in range(num) for s in range(samples)]

    return make
