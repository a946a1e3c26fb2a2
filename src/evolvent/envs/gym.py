"""Gymnasium environments with text or discrete actions as worlds (extra `[worlds]`): one tool `act`, or plain words.

A snapshot is the list of actions so far, and restoring plays them again from the same seed: that needs no copy of an
environment, and one that does not repeat itself is found out and refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from evolvent.envs.digest import digest_of
from evolvent.envs.gym_words import ACTIONS, describe, family_of
from evolvent.envs.one_seat import OneSeat
from evolvent.envs.toolbox import SEAT, cut, explain
from evolvent.envs.tools import validate
from evolvent.envs.world import WorldStep
from evolvent.errors import BadInput, MissingExtra, ToolError, nearest
from evolvent.records import Block, Message, Task, Text, Tool

KEY = "gym"  # where a task keeps which environment it is about, in its private data


@dataclass(frozen=True)
class Gym:
    """A Gymnasium environment by its id; a task that names one itself (synthesis.gym_tasks) is played there instead.

    The agent is told of rewards only where `tells_reward` says so.
    """

    env_id: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    max_calls: int = 200  # the longest time limit among the tables, Taxi's
    max_bytes: int = 2048
    tells_reward: bool = False

    def open(self, task: Task, seed: int) -> OpenGym:
        """A fresh environment for one episode, reset with the task's seed, else with `seed`."""
        own = {"env_id": self.env_id, "arguments": self.arguments, "seed": seed % 2**31}
        named = task.private.data.get(KEY) if task.private else None
        asked = {"start": None, **own, **(named or {})}
        if not asked["env_id"]:
            raise BadInput("neither the world nor the task names an environment", where=task.task_id, got=self)
        return OpenGym(self, asked)


class OpenGym(OneSeat):
    """The live environment of one episode."""

    def __init__(self, plan: Gym, asked: Mapping[str, Any]) -> None:
        super().__init__(plan.max_calls, plan.max_bytes)
        self._plan, self._asked = plan, asked
        self.env_id: str = asked["env_id"]
        self.env = make(self.env_id, asked["arguments"])
        self.names = ACTIONS.get(family_of(self.env_id), ())
        self._tool = _tool(self.env, self.names)
        self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.env.close()

    @property
    def offered(self) -> tuple[Tool, ...]:
        """One tool: act."""
        return (self._tool,)

    @property
    def is_over(self) -> bool:
        """Whether the environment has ended or its time is up."""
        return self.terminated or self.truncated

    def observe(self, seat: str) -> tuple[Block, ...]:
        """What the environment shows."""
        self.check(seat)
        return (Text(cut(describe(self.env_id, self.env, self._seen), self.max_bytes)),)

    async def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Take one action."""
        validate(self._tool, arguments)
        return self._acted(arguments["action"])

    async def step(self, actions: Mapping[str, Message]) -> Mapping[str, WorldStep]:
        """Take the actions that are called for; a message without a call is an action in words."""
        self.check(*actions)
        before, message = self.total, actions[SEAT]
        if message.calls:
            blocks: tuple[Block, ...] = tuple([await self.call(SEAT, call) for call in message.calls])
        else:
            try:
                blocks = (Text(self._acted(message.text.strip())),)
            except ToolError as error:
                blocks = (Text(f"error: {explain(error)}"),)
        gain = {"return": self.total - before}
        return {SEAT: WorldStep(blocks, gain, done=self.terminated, truncated=self.truncated)}

    def evidence(self) -> dict[str, Any]:
        """The return, the number of actions, and how it ended."""
        over = {"terminated": self.terminated, "truncated": self.truncated}
        return {"return": self.total, "num_steps": len(self.taken), **over}

    def snapshot(self) -> bytes:
        """The actions so far, and what they must lead to."""
        return json.dumps({"num_calls": self.num_calls, "taken": self.taken, "digest": self.state_digest()}).encode()

    def restore(self, state: bytes) -> None:
        """Start again and take the same actions."""
        found = json.loads(state)
        self._start()
        for action in found["taken"]:
            self._take(action)
        self.num_calls = found["num_calls"]
        if self.state_digest() != found["digest"]:
            raise BadInput(
                f"{self.env_id} does not repeat itself, so no snapshot of it can be restored",
                cure="search over this world is not possible: play it from the start instead",
            )

    def state_digest(self) -> str:
        """SHA-256 of the environment's state with its random numbers, the return so far, and the time that is left."""
        inner = self.env.unwrapped
        state = {"s": inner.s} if hasattr(inner, "s") else vars(inner)  # the tables keep all that changes in `s`
        limit = self.env.spec.max_episode_steps if self.env.spec else None
        left = None if limit is None else limit - len(self.taken)
        return digest_of([state, inner.np_random, left, self.total, self.terminated, self.truncated, self.num_calls])

    def _start(self) -> None:
        self.taken: list[int | str] = []
        self.terminated = self.truncated = False
        self._seen, _ = self.env.reset(seed=self._asked["seed"])
        if self._asked["start"] is not None:  # a state of a table, in place of the one that reset has drawn
            self._seen = self.env.unwrapped.s = self._asked["start"]
        self.total = 0.0

    def _acted(self, said: object) -> str:
        if self.is_over:
            raise ToolError("the episode is over", cure="answer now")
        reward = self._take(self._read(said))
        words = [describe(self.env_id, self.env, self._seen)]
        words += [f"reward {reward:g}"] if self._plan.tells_reward else []
        words += ["the episode is over" + (": out of time" if self.truncated else "")] if self.is_over else []
        return "\n".join(words)

    def _take(self, action: int | str) -> float:
        self._seen, reward, self.terminated, self.truncated, _ = self.env.step(action)
        self.taken.append(action)
        self.total += float(reward)
        return float(reward)

    def _read(self, said: object) -> int | str:
        """The action behind a name or a number."""
        if _is_text(self.env.action_space):
            return str(said)
        if isinstance(said, str) and said.lower() in self.names:
            said = self.names.index(said.lower())
        elif isinstance(said, str) and re.fullmatch(r"-?\d+", said):
            said = int(said)
        space = self.env.action_space
        first, last = int(space.start), int(space.start) + int(space.n) - 1
        if not isinstance(said, int) or not first <= said <= last:
            wanted = f"{', '.join(self.names)}, or " if self.names else ""
            cure = nearest(str(said), list(self.names)) if self.names else ""
            raise ToolError(f"there is no action {said!r}", wanted=f"{wanted}{first} to {last}", cure=cure)
        return said


def make(env_id: str, arguments: Mapping[str, Any]) -> Any:
    """A Gymnasium environment; BadInput where there is none, or where its actions are neither text nor discrete."""
    try:
        import gymnasium
    except ImportError as error:
        raise MissingExtra(
            "gymnasium is not installed", where=f"gym:{env_id}", got=str(error), cure="pip install 'evolvent[worlds]'"
        ) from error
    try:
        env = gymnasium.make(env_id, **{"disable_env_checker": True, **arguments})
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        known = [name for name in gymnasium.registry if ":" not in name]
        cure = nearest(env_id, known)
        raise BadInput(f"gymnasium cannot make {env_id!r}", where="gym:NAME", got=str(error), cure=cure) from error
    if not _is_text(env.action_space) and not isinstance(env.action_space, gymnasium.spaces.Discrete):
        got, env_id = env.action_space, env.spec.id
        env.close()
        raise BadInput(f"the actions of {env_id} cannot be said", got=got, wanted="text or discrete actions")
    return env


def _is_text(space: Any) -> bool:
    return type(space).__name__ == "Text"


def _tool(env: Any, names: tuple[str, ...]) -> Tool:
    """The one tool: an action by name or number, or in words."""
    if _is_text(env.action_space):
        action: dict[str, Any] = {"type": "string"}
    elif names:
        action = {"anyOf": [{"type": "string", "enum": list(names)}, {"type": "integer"}]}
    else:
        last = int(env.action_space.start) + int(env.action_space.n) - 1
        action = {"type": "integer", "description": f"{env.action_space.start} to {last}"}
    parameters = {"type": "object", "properties": {"action": action}, "required": ["action"]}
    return Tool("act", "Take one action and see what comes of it.", parameters)
