"""What tests of agents from outside share: a stage, attempts, a policy that knows what to say, and agent files."""

from dataclasses import dataclass, replace
from pathlib import Path

from evolvent.envs import Toolbox, calc
from evolvent.models import ModelSpec, Renderer, build, build_tokenizer
from evolvent.policies import LocalPolicy
from evolvent.records import Completion, Finish, Message, Sampling, ToolCall, said
from evolvent.rollouts.play import Attempt, Stage, play
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import tool_loop
from evolvent.tasks import source

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "train_any_agent"
BUDGETS = Budgets(turn_tokens=40, context_tokens=250, episode_tokens=120)
CHAIN = source("chain", 0)


@dataclass
class Clever:
    """Token ids of a real renderer: it asks the calculator for the question, then says what that answered."""

    renderer: Renderer
    name: str = "agent"
    version: int = 0
    num_asked: int = 0

    async def sample(self, prompts, how):
        self.num_asked += len(prompts)
        return [self.say(prompt) for prompt in prompts]

    def say(self, prompt):
        last = prompt.messages[-1]
        message = said("assistant", last.text.split()[-1].strip())
        if last.role != "tool" and prompt.tools:
            expression = last.text.split()[-1].rstrip("?")
            message = Message("assistant", (ToolCall(prompt.tools[0].name, {"expression": expression}),))
        tokens = self.renderer.reply(message, prompt.tools)
        read = self.renderer.parse(tokens, prompt.tools)
        logprobs = tuple(-0.1 - 0.001 * (t % 7) for t in tokens)
        finish = Finish.CALL if read.calls else Finish.STOP
        return Completion(tokens, read.text, logprobs, logprobs, self.version, finish, f"{prompt.stream}", read)


def clever():
    return Clever(Renderer(build_tokenizer()))


def nano(depth=1, seed=0, tokenizer=None):
    tokenizer = tokenizer or build_tokenizer()
    return LocalPolicy(build(ModelSpec(depth=depth, max_context=256), tokenizer, seed), tokenizer)


def stage(policy, workflow=tool_loop, **changes):
    how = Sampling(BUDGETS.turn_tokens, seed=7)
    made = Stage(workflow, Toolbox((calc,)), {"agent": policy}, {"agent": "agent"}, how, BUDGETS)
    return replace(made, **changes)


def attempts(num, samples=1, level=1):
    return [Attempt(CHAIN.task("chain", level, i), s) for i in range(num) for s in range(samples)]


def played(policy, workflow, num=1, **changes):
    return play(attempts(num), stage(policy, workflow, **changes))


def fault(episode):
    return episode.traces[0].fault.why if episode.traces[0].fault else ""
