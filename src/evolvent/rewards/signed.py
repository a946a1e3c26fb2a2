"""From right or wrong to plus or minus: what a wrong answer costs may depend on how the attempt went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evolvent.errors import BadInput
from evolvent.records import Episode, Score
from evolvent.rewards.by_task import by_task
from evolvent.rewards.judge import Judge


def minus_one(num_turns: int) -> float:
    """-1, whatever was tried (ReTool, arXiv:2504.11536, equation 2)."""
    return -1.0


def less_for_trying(num_turns: int) -> float:
    """min(-0.6, -1 + 0.1 (turns - 2) / 2): a wrong answer costs less after calls (ReTool's released training in verl).

    The bound keeps calls without end from paying.
    """
    return min(-0.6, -1 + 0.1 * (num_turns - 2) / 2)


@dataclass(frozen=True)
class Signed:
    """1 where `judge` says right (a score of 1), else `wrong` of the number of turns.

    A question answered at once has two turns; each round of calls adds two, what the agent says and what it hears.
    """

    judge: Judge = by_task
    wrong: Callable[[int], float] = minus_one

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone, where it does for the judge."""
        return bool(getattr(self.judge, "judges_alone", False))

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode; the judge's own value stays among the components."""
        return [self._signed(e, given) for e, given in zip(episodes, self.judge(episodes), strict=True)]

    def _signed(self, episode: Episode, given: object) -> Score:
        if not isinstance(given, Score):
            raise BadInput("a sign belongs to an episode as a whole", got="one score a role", wanted="a Score")
        value = 1.0 if given.value >= 1.0 else self.wrong(num_turns(episode))
        return replace(given, value=value, components={**given.components, "unsigned": given.value})


def num_turns(episode: Episode) -> int:
    """Turns of the longest trace as verl counts them: two for each time that the agent speaks."""
    return max((2 * sum(t.message.role == "assistant" for t in trace.turns) for trace in episode.traces), default=0)
