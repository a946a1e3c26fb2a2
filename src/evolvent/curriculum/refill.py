"""Dynamic sampling: tasks whose attempts all fare alike are replaced by others, until the step is full."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from evolvent.credit.admission import Admits, Complete, Spread, admit
from evolvent.credit.batch import form_groups
from evolvent.errors import BadInput
from evolvent.records import Episode


@dataclass(frozen=True, slots=True)
class Refill:
    """Draw as many tasks as are missing, at most `max_draws` times a step, the first included (DAPO, arXiv:2503.14476).

    A task fills its place where some group of its attempts is complete and its scores differ by more than
    `least_spread`. What is missing after the last draw stays so, and the step trains on fewer groups.
    """

    max_draws: int = 4
    least_spread: float = 0.0

    def __post_init__(self) -> None:
        if self.max_draws < 1 or self.least_spread < 0:
            raise BadInput("nothing can be drawn so", where="refill", got=self, wanted="max_draws >= 1, spread >= 0")

    def admitted(self, episodes: Sequence[Episode], policies: Collection[str], group_size: int) -> set[str]:
        """The ids of the tasks that may train: any trained policy's group is enough."""
        predicates: list[Admits] = [Complete(group_size), Spread(self.least_spread)]
        groups = [group for policy in policies for group in form_groups(episodes, policy)]
        return {str(group.key[0]) for group in admit(groups, predicates).groups}

    def keep(self, episodes: Sequence[Episode], policies: Collection[str], group_size: int) -> list[Episode]:
        """The episodes that may train, in order."""
        admitted = self.admitted(episodes, policies, group_size)
        return [e for e in episodes if e.task.task_id in admitted]

    def describe(self, episodes: Sequence[Episode], policies: Collection[str], group_size: int) -> dict[str, float]:
        """What a step drew, what was refused, and the tokens that went into it."""
        admitted = self.admitted(episodes, policies, group_size)
        drawn = {e.task.task_id for e in episodes}
        refused = [t for e in episodes if e.task.task_id not in admitted for t in e.traces]
        return {
            "num_drawn": len(drawn),
            "refused_groups": len(drawn - admitted),
            "admitted_share": len(drawn & admitted) / len(drawn) if drawn else 0.0,
            "refused_tokens": sum(sum(t.mask) for t in refused),
        }
