"""Measures a challenger and the incumbent side by side on seeds that nobody has seen, and decides which one stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evolvent.hive.noise import Decision, KeepRule, fresh_seeds
from evolvent.hive.sealed import SealedResult
from evolvent.hive.task import HiveTask
from evolvent.records import Finding

Measure = Callable[[Sequence[int]], SealedResult]  # an artifact at work: `Bench.measure` bound to its commit


@dataclass(frozen=True, slots=True)
class Challenge:
    """What came of one comparison. Without a decision one of the two was invalid on the fresh seeds, and `why` says it.

    Both results are official measurements of that moment; neither changes what the leaderboard shows.
    """

    number: int
    challenger: SealedResult
    incumbent: SealedResult
    decision: Decision | None
    why: str

    def tell(self, change: str, parents: tuple[str, ...] = ()) -> Finding:
        """The experiment for those who come after: what was tried, what it cost, what came out."""
        seeds = (*self.challenger.seeds, *self.incumbent.seeds)
        gain = self.decision.gain if self.decision else None
        return Finding(
            finding_id=f"{self.challenger.task}-{self.number}",
            change=change,
            budget={"measurements": len(seeds), "seconds": sum(one.wall_s for one in seeds)},
            result={
                "challenger": self.challenger.value,
                "incumbent": self.incumbent.value,
                "gain": (gain.value, gain.low, gain.high) if gain else None,
                "p": self.decision.p if self.decision else None,
                "commit": self.challenger.commit,
            },
            kept=self.is_kept,
            why=self.why,
            parents=parents,
        )

    @property
    def is_kept(self) -> bool:
        """Whether the challenger is the incumbent from now on."""
        return self.decision is not None and self.decision.is_kept


def challenge(
    task: HiveTask, challenger: Measure, incumbent: Measure, *, number: int, secret: int, rule: KeepRule
) -> Challenge:
    """Comparison `number` of this task, counted from 1 over all challengers: no number may be used twice."""
    seeds = fresh_seeds(secret, task.digest, number, rule.num_pairs(number) + rule.num_spare)
    new, old = challenger(seeds), incumbent(seeds)
    if not new.values:
        return Challenge(number, new, old, None, f"the challenger is invalid: {new.why}")
    if not old.values:
        return Challenge(number, new, old, None, f"the incumbent is invalid on fresh seeds: {old.why}")
    decision = rule.decide(new.values, old.values, number=number, direction=task.direction)
    return Challenge(number, new, old, decision, decision.why)
