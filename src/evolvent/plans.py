"""What one can run, as frozen data: a choice of parts and numbers that goes through JSON and back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evolvent.credit.advantage import imitate_all
from evolvent.curriculum import Frontier, Uniform
from evolvent.curriculum.refill import Refill
from evolvent.envs import Toolbox, calc
from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput, nearest
from evolvent.evals.arena import Arena
from evolvent.evals.measure import Suite
from evolvent.models.spec import NANO, ModelSpec
from evolvent.rewards import Judge, by_task
from evolvent.rollouts.play import Workflow
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Demonstrate, tool_loop
from evolvent.tasks.source import Source

Slot = Any | Mapping[str, Any]
"""One part for every trained policy, or a mapping from policy name to part."""


@dataclass(frozen=True, slots=True)
class Card:
    """A method's identity: what it is called, where it was published, which stages it changes, what it claims.

    `verdict` is `shown`, `not shown` or `unstable` as `evolvent effect` measured it, `not measured` before; `note` says
    what else was tried where the published sign does not show.
    """

    name: str
    title: str
    paper: str
    changes: tuple[str, ...]
    claim: str
    verdict: str = "not measured"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of steps: which tasks, how they are played, how credit becomes weights.

    `updates_per_batch` is how many parts a batch is split into, whole groups each, with one update a part. With
    `refill`, tasks that tell nothing apart are replaced by others within the step.
    """

    num_steps: int
    tasks_per_step: int
    group_size: int
    workflow: Workflow
    curriculum: Any
    advantage: Slot
    loss: Slot
    optimizer: Slot
    max_tokens: int | None = None
    updates_per_batch: int = 1
    refill: Refill | None = None


@dataclass(frozen=True, slots=True)
class Gates:
    """Bounds that stop a run: nats between sampler and trainer on one token, and the share of broken episodes.

    The first is 0.002 in float32 and 0.2 in shorter numbers where it is None.
    """

    max_logprob_gap: float | None = None
    max_fault_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Improve:
    """A whole run. Fields without a phase in front belong to practice, which follows the cold start.

    `workflow` is how the agent plays, in practice and whenever it is measured; `practice_workflow` plays practice
    where that is something else, such as reciting demonstrations. `reward` is trained on, from the end of the cold
    start; `truth` is what is measured and steers the curriculum, where that is something else. Each policy in `copies`
    is frozen, and takes the weights of the other that it names as practice begins. An `arena` stops practice now and
    then to find out what is weak. `unproven` trains on tasks that fail the trust suite, such as ones mislabelled on
    purpose. With `patience_s` a policy speaks once a seat has waited so long, instead of when every episode waits: slow
    tools hold nobody up, and a run is no longer the same to the last bit. A `sampler` is an engine that samples what is
    trained (`policies.vllm`); None lets the weights sample themselves.
    """

    recipe: str
    source: Source | str
    advantage: Slot
    loss: Slot
    optimizer: Slot
    num_steps: int
    tasks_per_step: int
    group_size: int
    budgets: Budgets
    model: ModelSpec | str | Mapping[str, Any] = NANO
    cold_start: Phase | None = None
    curriculum: Any = Frontier()
    workflow: Workflow = tool_loop
    practice_workflow: Workflow | None = None
    world: WorldPlan = Toolbox((calc,))
    reward: Judge = by_task
    truth: Judge | None = None
    suite: Suite = Suite()
    arena: Arena | None = None
    seats: Mapping[str, str] = field(default_factory=lambda: {"agent": "agent"})
    frozen: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    updates_per_batch: int = 1
    refill: Refill | None = None
    temperature: float = 1.0
    seed: int = 0
    eval_every: int = 25
    checkpoint_every: int = 25
    keep_checkpoints: int = 3
    keep_episodes_every: int = 10
    micro_tokens: int = 4096
    num_threads: int = 2
    engine: str = "auto"
    device: str = "auto"
    dtype: str = "float32"
    adapter: str | None = None
    gradient_checkpointing: bool = False
    gates: Gates = Gates()
    sinks: tuple[str, ...] | None = None
    unproven: bool = False
    patience_s: float | None = None
    sampler: Slot = None

    @property
    def max_logprob_gap(self) -> float:
        """How far sampler and trainer may differ on one token, in nats."""
        given = self.gates.max_logprob_gap
        return given if given is not None else 2e-3 if self.dtype == "float32" else 0.2

    @property
    def num_cold(self) -> int:
        """How many steps the cold start has."""
        return self.cold_start.num_steps if self.cold_start else 0

    @property
    def measured_by(self) -> Judge:
        """What held-out tasks are judged by."""
        return self.reward if self.truth is None else self.truth

    @property
    def practice(self) -> Phase:
        """The phase after the cold start."""
        return Phase(
            self.num_steps,
            self.tasks_per_step,
            self.group_size,
            self.practice_workflow or self.workflow,
            self.curriculum,
            self.advantage,
            self.loss,
            self.optimizer,
            self.max_tokens,
            self.updates_per_batch,
            self.refill,
        )

    @property
    def trained(self) -> tuple[str, ...]:
        """The policies whose weights change, by name."""
        return tuple(sorted(set(self.seats.values()) - set(self.frozen)))


def part(slot: Slot, policy: str) -> Any:
    """The part of a slot that belongs to one policy."""
    return slot[policy] if isinstance(slot, Mapping) else slot


def check(plan: Improve) -> Improve:
    """The plan itself, or BadInput that says which field cannot be."""
    _check_slots(plan)
    for name, phase in (("cold_start.", plan.cold_start), ("", plan.practice)):
        if phase is None:
            continue
        _check_phase(name, phase, plan.trained)
    _check_numbers(plan)
    _check_samplers(plan)
    return plan


def _check_phase(name: str, phase: Phase, trained: tuple[str, ...]) -> None:
    for number in ("num_steps", "tasks_per_step", "group_size", "updates_per_batch"):
        least = 0 if number == "num_steps" else 1
        if getattr(phase, number) < least:
            raise BadInput("too small", where=name + number, got=getattr(phase, number), wanted=f">= {least}")
    needs = [getattr(part(phase.advantage, p), "min_group", 1) for p in trained]
    least = max([*needs, 2 if phase.refill else 1])  # a group of one has no spread, so every draw would be refused
    if phase.group_size < least:
        raise BadInput(
            f"a group of {phase.group_size} has no baseline, so nothing could be learned",
            where=f"{name}group_size",
            got=phase.group_size,
            wanted=f">= {least}",
            cure=f"{name}group_size=8, or an advantage that needs no group",
        )


def _check_numbers(plan: Improve) -> None:
    budgets = plan.budgets
    if plan.temperature != 1.0:
        raise BadInput(
            "training samples at temperature 1",
            where="temperature",
            got=plan.temperature,
            wanted=1.0,
            cure="the recorded log-probabilities are those of the policy that is trained; `evolvent eval` takes others",
        )
    if min(budgets.turn_tokens, budgets.context_tokens, budgets.episode_tokens) < 1:
        raise BadInput("a budget of no tokens", where="budgets", got=budgets, wanted=">= 1 each")
    if budgets.context_tokens > plan.micro_tokens:
        raise BadInput(
            "a trace could be longer than a micro-batch",
            where="micro_tokens",
            got=plan.micro_tokens,
            wanted=f">= budgets.context_tokens = {budgets.context_tokens}",
            cure=f"micro_tokens={budgets.context_tokens}",
        )
    for name in ("eval_every", "checkpoint_every", "keep_episodes_every", "num_threads", "keep_checkpoints"):
        if getattr(plan, name) < 1:
            raise BadInput("too small", where=name, got=getattr(plan, name), wanted=">= 1")
    if plan.patience_s is not None and not plan.patience_s >= 0:
        raise BadInput("no such patience", where="patience_s", got=plan.patience_s, wanted=">= 0 seconds, or null")
    if not plan.seats:
        raise BadInput("nobody plays", where="seats", got={}, wanted='for example {"agent": "agent"}')
    if isinstance(plan.model, Mapping) and set(plan.model) != set(plan.seats.values()):
        raise BadInput(
            "models and seats differ", where="model", got=sorted(plan.model), wanted=sorted(set(plan.seats.values()))
        )


def _check_samplers(plan: Improve) -> None:
    """Each trained policy has an engine of its own, and a loss that can be corrected for it."""
    if plan.sampler is None:
        return
    from evolvent.training.mismatch import needs_correction

    given = plan.sampler if isinstance(plan.sampler, Mapping) else dict.fromkeys(plan.trained, plan.sampler)
    for name, sampler in given.items():
        if sampler is not None and (isinstance(sampler, type) or not hasattr(sampler, "begin")):
            raise BadInput(
                "not a sampler",
                where="sampler",
                got=repr(sampler)[:80],
                wanted="Vllm(), VllmServer(url=...), Twin() or null",
                cure="sampler='Vllm()', or sampler='VllmServer(url=\"http://127.0.0.1:8000\")'",
            )
        if sampler is not None:
            needs_correction(part(plan.practice.loss, name))
    if len(given) > 1 and not isinstance(plan.sampler, Mapping):
        raise BadInput(
            "an engine holds the weights of one policy",
            where="sampler",
            got=f"one for {', '.join(given)}",
            wanted="an engine for each, or null",
            cure='sampler={"POLICY": ..., "OTHER": null}',
        )


def check_contexts(plan: Improve, policies: Mapping[str, Any]) -> None:
    """Every policy at a seat must be able to hold what the budgets allow."""
    for name in sorted(set(plan.seats.values())):
        if name not in policies:
            raise BadInput("a seat names a policy that does not exist", got=name, wanted=sorted(policies))
        longest = getattr(policies[name], "max_context", None)
        if longest is not None and plan.budgets.context_tokens > longest:
            raise BadInput(
                "the context budget is longer than the context of the model",
                where="budgets.context_tokens",
                got=plan.budgets.context_tokens,
                wanted=f"<= {longest}, what policy {name!r} was made for",
                cure=f"budgets.context_tokens={longest}, or a model with a longer context",
            )


def _check_slots(plan: Improve) -> None:
    """What is given per policy names the policies that learn."""
    known = sorted(set(plan.seats.values()))
    odd = sorted(set(plan.frozen) - set(known))
    if odd:
        raise BadInput("no such policy", where="frozen", got=odd[0], wanted=known, cure=nearest(odd[0], known))
    for name, other in plan.copies.items():
        if name not in plan.frozen or other not in plan.trained:
            raise BadInput(
                "a copy is a frozen policy, of one that learns",
                where="copies",
                got=f"{name}: {other}",
                wanted=f"one of {', '.join(plan.frozen) or 'no frozen policies'}: one of {', '.join(plan.trained)}",
            )
    for before, phase in (("cold_start.", plan.cold_start), ("", plan.practice)):
        for slot in ("advantage", "loss", "optimizer", "sampler"):
            given = getattr(plan if slot == "sampler" else phase, slot, None)
            if isinstance(given, Mapping) and set(given) != set(plan.trained):
                raise BadInput(
                    "parts and trained policies differ", where=before + slot, got=sorted(given), wanted=plan.trained
                )


def cold_start(num_steps: int, optimizer: Any, loss: Any, *, levels: int, direct_frac: float, batch: int = 32) -> Phase:
    """Supervised steps on worked solutions of the first `levels` levels, a share of them answered without a tool."""
    return Phase(
        num_steps=num_steps,
        tasks_per_step=batch,
        group_size=1,
        workflow=Demonstrate(direct_frac),
        curriculum=Uniform(levels),
        advantage=imitate_all,
        loss=loss,
        optimizer=optimizer,
    )
