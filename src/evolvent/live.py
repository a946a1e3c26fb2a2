"""A plan at work: its policies, optimizers and curricula, and the run directory that they write to."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from evolvent import tasks
from evolvent.credit.batch import Batch, assign
from evolvent.curriculum.draw import draw_tasks
from evolvent.errors import EvolventError
from evolvent.evals.arena import Rounds
from evolvent.evals.describe import describe
from evolvent.evals.measure import VIEWS_AFTER, View, hold_out, measure, sample_evenly, views_before
from evolvent.plans import Improve, Phase, check_contexts, part
from evolvent.policies.policy import Policy
from evolvent.records import Episode, Sampling
from evolvent.rewards import judge_episodes, lift, training_scores
from evolvent.rollouts.play import Attempt, Pace, Stage, play
from evolvent.seeds import derive, stream
from evolvent.store import Run
from evolvent.store.sinks import open_sinks
from evolvent.synthesis.trust import refuse_unproven
from evolvent.training import gates
from evolvent.training.state import load_state, save_state
from evolvent.training.update import reaches_all_rows, update

NUM_KEPT = 64  # episodes kept of each measurement, spread over its cells

Watch = Callable[[Mapping[str, Any]], None]


class Live:
    """A plan at work: its policies, optimizers and curricula, and the run directory that they write to."""

    def __init__(self, plan: Improve, policies: Mapping[str, Policy], run: Run, watch: Watch) -> None:
        self.plan, self.policies, self.run, self.watch = plan, policies, run, watch
        self.judge = lift(plan.reward)
        self.truth = self.judge if plan.truth is None else lift(plan.truth)
        self.source = tasks.source(plan.source, plan.seed) if isinstance(plan.source, str) else plan.source
        if not plan.unproven and run.last_checkpoint() is None:
            refuse_unproven(self.source, plan.world, plan.workflow, plan.truth)
        self.held_out = hold_out(plan.suite, self.source)
        self.questions = {task.problem for cell in self.held_out.values() for task in cell}
        self.rounds = Rounds(plan.arena, self.source, plan.num_steps, seed=plan.seed, held_out=self.questions)
        self.questions |= self.rounds.problems
        self.last, self.num_tokens = 0, 0
        check_contexts(plan, policies)
        self.sinks = open_sinks(run, plan.sinks)
        self.resume()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.sinks.close()
        if isinstance(error, EvolventError):
            self.run.note_stop(self.last, error)

    def resume(self) -> None:
        """Begin, or go on behind the last checkpoint: everything after it is written again, byte for byte."""
        kept = self.run.last_checkpoint()
        self.last = kept[0] if kept else 0
        self.run.rewind(self.last if kept else -1)
        self.run.note_stop(self.last, None)
        self.run.prune(self.plan.keep_checkpoints)  # a kill may have come between the last checkpoint and this
        self.begin(self.phase(max(self.last, 1)))
        if kept:
            memory = load_state(kept[1], self.trained(), *self.remembered())
            self.curriculum.restore(memory["curriculum"])
            for name, state in memory.get("advantages", {}).items():
                self.advantages[name].restore(state)
            # a cold start that arms share was judged by the truth alone
            if "judge" in memory and hasattr(self.judge, "restore"):
                self.judge.restore(memory["judge"])
            self.num_tokens = memory["num_tokens"]
        if not self.plan.num_cold and not kept:
            self.measure(0)
            self.keep(0)

    def begin(self, phase: Phase) -> None:
        """Bring the remembering parts of a phase to life."""
        if phase == self.plan.practice:
            for name, other in self.plan.copies.items():
                self.policies[name].take_weights(self.policies[other])  # type: ignore[attr-defined]
        self.curriculum = phase.curriculum.begin(self.source)
        self.optimizers = {n: part(phase.optimizer, n).begin(p.named_parameters()) for n, p in self.trained().items()}
        self.references = {
            n: p.copy() for n, p in self.trained().items() if "reference_N" in getattr(part(phase.loss, n), "needs", ())
        }
        advantages = {n: part(phase.advantage, n) for n in self.trained()}
        self.advantages = {n: _awake(a, self.policies[n]) for n, a in advantages.items()}
        self.num_tokens = 0

    def remembered(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Optimizers, and weights beside the trained: references, copies, and critics with an optimizer each."""
        critics = {f"{n}.critic": a for n, a in self.advantages.items() if hasattr(a, "optimizer")}
        copies = {f"{n}.copy": self.policies[n] for n in self.plan.copies}
        return self.optimizers | {n: c.optimizer for n, c in critics.items()}, self.references | critics | copies

    def steps(self) -> Iterator[int]:
        """The steps that are left; a new phase begins with fresh parts."""
        while not self.is_over(self.last):
            if self.last == self.plan.num_cold:
                self.begin(self.plan.practice)
            self.last += 1
            yield self.last

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        cold = self.plan.cold_start
        return cold if cold is not None and step <= cold.num_steps else self.plan.practice

    def in_practice(self, step: int) -> int:
        """How many steps of practice are done, or -1 during the cold start."""
        return step - self.plan.num_cold if step > self.plan.num_cold else -1

    def is_over(self, step: int) -> bool:
        """Whether the run ends with this step: its steps are done, or its tokens are spent."""
        spent = self.plan.max_tokens is not None and self.num_tokens >= self.plan.max_tokens
        return step >= self.plan.num_cold + self.plan.num_steps or (self.in_practice(step) > 0 and spent)

    def trained(self) -> dict[str, Any]:
        """The policies that learn."""
        return {name: self.policies[name] for name in self.plan.trained}

    def stage(self, purpose: str, step: int, **changes: Any) -> Stage:
        """How episodes are played for a purpose; each purpose and step has random streams of its own."""
        plan = self.plan
        how = Sampling(plan.budgets.turn_tokens, plan.temperature, seed=derive(plan.seed, purpose, step) >> 1)
        made = {"workflow": plan.workflow, "how": how, "patience_s": plan.patience_s, **changes}
        return Stage(world=plan.world, policies=self.policies, seats=plan.seats, budgets=plan.budgets, **made)

    def play(self, step: int, phase: Phase) -> list[Episode]:
        """Draw tasks and play a group of attempts at each."""
        return self.play_new(step, phase, phase.tasks_per_step)

    def play_new(self, step: int, phase: Phase, num: int, draw: int = 0, seen: Collection[str] = ()) -> list[Episode]:
        """Play at `num` tasks, less those `seen` in the step; each draw of a step has random streams of its own."""
        seed, purpose = (derive(self.plan.seed, "refill", draw), f"refill {draw}") if draw else (self.plan.seed, "play")
        with self.clock(step, "play_s"):
            source, held_out = self.source, self.questions
            drawn = draw_tasks(self.curriculum, source, num=num, seed=seed, step=step, held_out=held_out)
            self.rounds.refuse(drawn)
            new = [task for task in drawn if task.problem not in seen]
            attempts = [Attempt(task, sample) for task in new for sample in range(phase.group_size)]
            pace = Pace()
            played = play(attempts, self.stage(purpose, step, workflow=phase.workflow, pace=pace)) if attempts else []
        for policy in self.trained().values():
            if hasattr(policy, "take_seconds"):
                self.run.time(step, policy.take_seconds())
        self.run.time(step, {"tool_calls": pace.tool_calls, "idle_share": pace.idle_share})
        return played

    def refill(self, step: int, phase: Phase, scored: list[Episode]) -> list[Episode]:
        """What was scored, and more of it until the step is full, where the phase asks for that."""
        if phase.refill is None:
            return scored
        for draw in range(1, phase.refill.max_draws):
            missing = phase.tasks_per_step - len(phase.refill.admitted(scored, self.plan.trained, phase.group_size))
            if missing <= 0:
                break
            new = self.play_new(step, phase, missing, draw, {e.task.problem for e in scored})
            scored = scored + self.score(step, new) if new else scored
        return scored

    def score(self, step: int, episodes: list[Episode]) -> list[Episode]:
        """Judge every episode; the gates look at all of them before any is trained on."""
        with self.clock(step, "judge_s"):
            scored = judge_episodes(self.judge if self.in_practice(step) > 0 else self.truth, episodes)
        gates.check_masks(scored)
        gates.check_versions(scored, self.policies)
        gates.check_round_trip(scored, self.policies)
        broken = sum(not e.outcome.carries_reward for e in scored)
        why = next((t.fault.why for e in scored for t in e.traces if t.fault is not None), "")
        gates.check_faults(broken, len(scored), self.plan.gates.max_fault_share, why.replace("\n", "\n        "))
        return scored

    def assign(self, step: int, scored: list[Episode], phase: Phase, name: str) -> Batch:
        """Scores to credit, as far as training may see them."""
        if phase.refill:
            scored = phase.refill.keep(scored, self.plan.trained, phase.group_size)
        seen = training_scores(self.judge, scored, stream(self.plan.seed, "training scores", step))
        return assign(seen, name, self.advantages[name], keeps_all=reaches_all_rows(part(phase.loss, name)))

    def update(self, phase: Phase, name: str, batch: Batch) -> dict[str, float]:
        """Credit to weights."""
        policy = self.policies[name]
        before = getattr(policy, "version", 0)
        with self.clock(self.last, "update_s"):
            numbers = update(
                policy,
                self.optimizers[name],
                batch,
                part(phase.loss, name),
                micro_tokens=self.plan.micro_tokens,
                max_logprob_gap=self.plan.max_logprob_gap,
                reference=self.references.get(name),
                num_parts=phase.updates_per_batch,
            )
        if batch.rows:
            gates.check_new_version(before, policy)
        return numbers | getattr(self.advantages[name], "numbers", {}) | getattr(policy, "numbers", {})

    def observe(
        self,
        step: int,
        phase: Phase,
        scored: list[Episode],
        batches: Mapping[str, Batch],
        numbers: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Write the step down, and let the curriculum see the true scores."""
        told = describe(scored, batches, numbers, self.true_scores(step, phase, scored))
        self.curriculum.observe(told.scores)
        self.num_tokens += told.num_written
        refill = phase.refill.describe(scored, self.plan.trained, phase.group_size) if phase.refill else {}
        line = {
            "phase": "cold start" if self.in_practice(step) < 0 else "practice",
            **told.numbers,
            **refill,
            "events": "; ".join(self.curriculum.events),
        }
        self.curriculum.events.clear()
        self.run.log(step, line)
        self.sinks.log(step, line)
        if step % self.plan.keep_episodes_every == 0 or self.is_over(step) or step == self.plan.num_cold:
            self.run.keep_episodes(step, scored, credit=told.credit)
        self.watch({"step": step, "num_steps": self.plan.num_cold + self.plan.num_steps, **line})

    def true_scores(self, step: int, phase: Phase, scored: list[Episode]) -> list[Episode]:
        """The episodes as a measurement would judge them, where they were played as in one; else as they are."""
        if self.plan.truth is None or phase.workflow != self.plan.workflow:
            return scored
        with self.clock(step, "judge_s"):
            return judge_episodes(self.truth, scored)

    def is_due(self, step: int) -> bool:
        """Whether this step ends with a measurement: at both ends of practice, and every `eval_every` steps of it."""
        at_an_end = step == self.plan.num_cold or self.is_over(step)
        return at_an_end or (self.in_practice(step) > 0 and self.in_practice(step) % self.plan.eval_every == 0)

    def measure(self, step: int) -> None:
        """Measure on held-out tasks: in full at both ends of practice, on a few tasks in between."""
        plan, is_before, is_after = self.plan, step == self.plan.num_cold, self.is_over(step)
        views = views_before(plan.suite.best_of) if is_before else VIEWS_AFTER if is_after else (View("heldout"),)
        few = plan.suite.num_tasks_during
        held_out = self.held_out if is_before or is_after else {c: t[:few] for c, t in self.held_out.items()}
        for view in views:
            self.watch({"step": step, "measuring": view.name})
            with self.clock(step, "measure_s"):
                how = Sampling(plan.budgets.turn_tokens, view.temperature, seed=derive(plan.seed, "measure") >> 1)
                stage = self.stage("measure", step, how=how, forces_call=view.given_call)
                report, episodes = measure(held_out, stage, self.truth, step=step, view=view)
            self.run.keep_report(report)
            self.run.log(step, {f"{view.name}/{k}": e.value for k, e in report.metrics.items()})
            if not view.name.startswith("best"):
                self.run.keep_episodes(step, sample_evenly(episodes, NUM_KEPT), name=view.name)
            if view.metric == "sampled":
                self.curriculum.adapt(report)
            self.watch({"step": step, "report": report})

    def round_due(self, step: int) -> int:
        """The number of the round of the arena that this step ends with, or 0; none where practice is over."""
        return 0 if self.is_over(step) else self.rounds.due(self.in_practice(step))

    def hold_round(self, step: int, number: int) -> None:
        """Play a round of the arena, write down what it found, and tell the curriculum."""
        self.watch({"step": step, "measuring": f"arena {number}"})
        with self.clock(step, "arena_s"):
            report, found, episodes = self.rounds.play(number, self.stage(f"arena {number}", step), self.truth, step)
        self.run.keep_report(report)
        self.run.keep_diagnosis(step, found)
        self.run.log(step, {f"arena/{one.family}": one.success.value for one in found.classes})
        self.run.keep_episodes(step, sample_evenly(episodes, NUM_KEPT), name=report.name)
        if hasattr(self.curriculum, "target"):
            self.curriculum.target(found)
        self.watch({"step": step, "report": report})

    def keep(self, step: int) -> None:
        """Write a checkpoint where one is due; always the last thing of a step."""
        due = step % self.plan.checkpoint_every == 0 or step == self.plan.num_cold or self.is_over(step)
        if due:
            advantages = {n: a.state() for n, a in self.advantages.items() if hasattr(a, "state")}
            memory = {"curriculum": self.curriculum.state(), "num_tokens": self.num_tokens, "advantages": advantages}
            memory |= {"judge": self.judge.state()} if hasattr(self.judge, "state") else {}
            with self.clock(step, "checkpoint_s"):
                self.run.keep_checkpoint(step, lambda f: save_state(f, self.trained(), *self.remembered(), memory))
            self.run.prune(self.plan.keep_checkpoints)

    @contextmanager
    def clock(self, step: int, name: str) -> Iterator[None]:
        """Seconds go into a file of their own, so that everything else can be compared byte for byte."""
        start = time.perf_counter()
        yield
        self.run.time(step, {name: time.perf_counter() - start})


def _awake(advantage: Any, policy: Any) -> Any:
    """The living twin of an advantage that remembers; a critic begins with the weights of its policy."""
    if hasattr(advantage, "begin_beside"):
        return advantage.begin_beside(policy)
    return advantage.begin() if hasattr(advantage, "begin") else advantage
