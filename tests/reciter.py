"""A policy that says what it is told, token by token, and can be held up between two tokens."""

import asyncio
import threading
import time
from dataclasses import dataclass, field

from evolvent.models.render import Renderer
from evolvent.models.tokenizer import build_tokenizer
from evolvent.policies.policy import Step
from evolvent.records import Completion, Finish

RENDERER = Renderer(build_tokenizer())


@dataclass
class Reciter:
    """Says `says` of the last message, one token a step with its own log-probability; a step takes `pause_s`.

    `steps` counts the steps of all calls, `live` are the rows of the last one.
    """

    says: dict[str, tuple[int, ...]] = field(default_factory=dict)
    pause_s: float = 0.0
    name: str = "reciter"
    version: int = 2
    max_context: int = 4096
    steps: int = 0
    live: tuple[int, ...] = ()
    may_speak: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.may_speak.set()

    async def sample(self, prompts, how):
        return await asyncio.to_thread(self.sample_now, prompts, how)

    def sample_now(self, prompts, how, watch=None):
        rows = {i: self.words_for(p)[: p.max_tokens] for i, p in enumerate(prompts)}
        ends = {}
        for t in range(max(map(len, rows.values()))):
            assert self.may_speak.wait(30)
            time.sleep(self.pause_s)
            self.live = tuple(i for i in rows if i not in ends and t < len(rows[i]))
            self.steps += 1
            if not self.live:
                break
            drawn = [rows[i][t] for i in self.live]
            own = [-0.01 * (t + 1)] * len(drawn)
            over = watch(Step(list(self.live), drawn, own, own, None)) if watch else ()
            ends |= {i: t + 1 for i in over if i in self.live}
        self.live = ()
        return [self.completion(p, rows[i][: ends.get(i)]) for i, p in enumerate(prompts)]

    def words_for(self, prompt):
        words = prompt.messages[-1].text if prompt.messages else RENDERER.text(prompt.tokens)
        return self.says.get(words, tuple(b"no idea"))

    def completion(self, prompt, tokens):
        own = tuple(-0.01 * (t + 1) for t in range(len(tokens)))
        message = RENDERER.parse(tokens, prompt.tools)
        ended = tokens[-1] in RENDERER.stop_ids
        finish = Finish.CALL if ended and message.calls else Finish.STOP if ended else Finish.LENGTH
        return Completion(tokens, message.text, own, own, self.version, finish, "c", message)


def until(true, seconds=20):
    """Waits for something to come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
