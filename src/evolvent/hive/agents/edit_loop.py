"""Makes any policy an agent of the hive: it reads, proposes an edit, and the edit is tried in the sandbox.

Every edit that can be carried out is submitted, better or not; what is better by the own measure is built upon until
the hub has measured it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from evolvent.envs.sandbox import Sandbox, best
from evolvent.errors import BadInput
from evolvent.hive.agents.edit_format import Edit, Room, read_edit
from evolvent.hive.agents.edit_prompt import Matter, complain_to, write_prompt
from evolvent.hive.agents.own_score import OwnScore, measure_tree, read_tree, write_files
from evolvent.hive.agents.proposer import Context, Proposal, Wire
from evolvent.hive.agents.words import finite, plain
from evolvent.hive.task import digest_files
from evolvent.policies.policy import Policy
from evolvent.records import Completion, Message, Prompt, Sampling, said

CHARS_PER_TOKEN = 3.0  # of a tokenizer that is not here; fewer than code has with most of them
BY_COUNT = (1e6, 1e6)  # prices by which the cost of an answer is its number of tokens
MAX_MESSAGE = 8000
UNMEASURED = ("pending", "running")


@dataclass
class Spent:
    """What one try cost."""

    tokens: int = 0
    money: float = 0.0


@dataclass
class EditLoop:
    """A policy as a Proposer. `price` is of a million tokens, in and out, and makes its tokens money.

    It measures for itself at most `limit_s`, and gives up after `max_idle` tries in a row without an edit.
    """

    policy: Policy
    context_tokens: int = 16384
    answer_tokens: int = 2048
    temperature: float = 1.0
    price: tuple[float, float] = (0.0, 0.0)
    limit_s: float = 120.0
    max_idle: int = 10
    sandbox: Sandbox | None = None
    tell: Callable[[str], None] = print
    _known: dict[str, OwnScore] = field(default_factory=dict, init=False, repr=False)
    _num_idle: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.answer_tokens < self.context_tokens:
            got, wanted = f"{self.answer_tokens} of {self.context_tokens}", "0 < answer_tokens < context_tokens"
            raise BadInput("the answer leaves no room for a question", where="answer_tokens", got=got, wanted=wanted)

    def propose(self, tree: Path, context: Context, rng: Random) -> Proposal | None:
        """One edit in the tree, with what it reached by the own measure."""
        if self._num_idle >= self.max_idle:
            self.tell(f"{context.agent}: {self.max_idle} tries in a row without an edit")
            return None
        parent = self._stand(tree, context)
        matter = Matter(context, read_texts(tree, context.mutable), self._measure(tree, context.task))
        spent = Spent()
        edit = self._ask(matter, rng.getrandbits(31), spent)
        if isinstance(edit, BadInput):
            self._num_idle += 1
            return Proposal("no edit", str(edit), parent, None, spent.tokens, spent.money)
        self._num_idle = 0
        write_files(tree, {path: text.encode() for path, text in edit.files.items()})
        after = self._measure(tree, context.task)
        words = tell_try(edit, matter.own, after, context)
        self.tell(f"{context.agent}: {words.splitlines()[0]}")
        return Proposal(edit.idea, words, parent, after.value, spent.tokens, spent.money)

    def _stand(self, tree: Path, context: Context) -> str:
        """The own try that is better so far and not measured by the hub yet, else the base; the tree stands on it."""
        base = self._measure(tree, context.task).value
        waiting = [run for run in context.runs if is_open(run, context.agent)]
        kept = max(waiting, key=lambda run: context.sign * run["score"], default=None)
        if kept is None or (base is not None and context.sign * kept["score"] <= context.sign * base):
            return context.base
        context.desk.stand_on(str(kept["id"]))
        return str(kept["id"])

    def _measure(self, tree: Path, task: Wire) -> OwnScore:
        key = digest_files(read_tree(tree))
        if key not in self._known:
            self._known[key] = measure_tree(self.sandbox or best(), tree, task, self.limit_s)
        return self._known[key]

    def _ask(self, matter: Matter, seed: int, spent: Spent) -> Edit | BadInput:
        """The edit; one that cannot be read is asked for once more, with what is wrong with it."""
        room = _room(matter)
        talk: tuple[Message, ...] = (
            said("user", write_prompt(matter, lambda text: self._fits((said("user", text),)))),
        )
        for attempt in range(2):
            completion = self._say(talk, seed, attempt, spent)
            reply = completion.message.text if completion.message else completion.text
            try:
                return read_edit(reply, matter.files, room)
            except BadInput as error:
                complaint = error
                talk = (*talk, said("assistant", reply), said("user", complain_to(error)))
        return complaint

    def _say(self, talk: tuple[Message, ...], seed: int, attempt: int, spent: Spent) -> Completion:
        if not self._fits(talk):
            talk = talk[:1]  # a reply of full length leaves no room for a talk about it
        prompt = Prompt(talk, tokens=self._tokens(talk), stream=("edit", attempt))
        how = Sampling(self.answer_tokens, self.temperature, seed=seed)
        [completion] = asyncio.run(self.policy.sample([prompt], how))
        num_read = completion.prompt_tokens
        num_said = len(completion.tokens) or max(0, round(completion.cost) - num_read)
        spent.tokens += num_read + num_said
        spent.money += (self.price[0] * num_read + self.price[1] * num_said) / 1e6
        return completion

    def _tokens(self, talk: tuple[Message, ...]) -> tuple[int, ...] | None:
        renderer: Any = getattr(self.policy, "renderer", None)
        return None if renderer is None else tuple(renderer.open(talk, ()))

    def _fits(self, talk: tuple[Message, ...]) -> bool:
        tokens = self._tokens(talk)
        num = sum(len(one.text) for one in talk) / CHARS_PER_TOKEN if tokens is None else len(tokens)
        return num + self.answer_tokens <= self.context_tokens


def tell_try(edit: Edit, before: OwnScore, after: OwnScore, context: Context) -> str:
    """What came of an edit, for those who come after."""
    metric = context.task["metric"]
    if after.value is None:
        words = f"{edit.idea}: eval/eval.sh measured nothing ({after.why})\n\n{after.tail[-1000:]}"
        return plain(words.strip(), MAX_MESSAGE)
    was = "nothing" if before.value is None else f"{before.value:.6g}"
    is_better = before.value is None or context.sign * after.value > context.sign * before.value
    verdict = "kept until the hub has measured it" if is_better else "not built upon"
    return f"{edit.idea}: own {metric} {after.value:.6g}, before {was}; {verdict}"


def read_texts(tree: Path, mutable: tuple[str, ...]) -> dict[str, str]:
    """The files of the artifact that are text."""
    texts = {}
    for path, content in read_tree(tree, mutable).items():
        try:
            texts[path] = content.decode()
        except UnicodeDecodeError:
            continue
    return texts


def is_open(run: Wire, agent: str) -> bool:
    """Whether a run is this agent's own, with a claim that the hub has not looked at yet."""
    waits = run.get("verification_status") in UNMEASURED and run.get("valid") is not False
    return waits and run.get("agent_id") == agent and finite(run.get("score")) is not None


def _room(matter: Matter) -> Room:
    budget = matter.context.task.get("budget") or {}
    return Room(matter.context.mutable, int(budget.get("artifact_bytes", 2**20)), int(budget.get("num_files", 256)))
