"""The cold start of a team: every seat recites what it could say, having heard attempts that somebody made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from evolvent.envs.world import World
from evolvent.errors import BadInput
from evolvent.records import Task, said
from evolvent.rollouts.graph import Step
from evolvent.rollouts.team import Teamwork
from evolvent.rollouts.workflows import Answer, Team
from evolvent.seeds import stream

YES, NO = VERDICTS = ("yes", "no")


@dataclass(frozen=True, slots=True)
class RehearseTeam:
    """Whoever reads nobody recites an `attempt`, right or not; what others read was made up in the same way.

    A share `heeds_frac` of those recite the worked answer, or the true verdict where they are `verifiers`; the rest
    say again something that they heard, or a verdict by lot: they know how a team talks, and not yet what for.
    """

    play: Teamwork
    attempt: Callable[[Task, Random], str]
    heeds_frac: float
    verifiers: tuple[str, ...] = ()

    async def __call__(self, task: Task, team: Team, world: World) -> Answer:
        """Play one demonstration."""
        if task.private is None:
            raise BadInput("a task without its private part cannot be demonstrated", where=task.task_id)
        answer, script = task.private.answer, self.play.graph.script()
        for step in script:
            rng = stream(0, "rehearsal", task.task_id, step.seat, step.round)
            heard = self._made_up(task, script, step, rng)
            reply = self._reply(answer, step, heard, rng) if heard else self.attempt(task, rng)
            agent = team[step.seat]
            agent.go_back()
            agent.recite(said("assistant", reply), *task.prompt, *self.play.tell(step.seat, [w for _, w in heard]))
        return Answer(answer)

    def _made_up(self, task: Task, script: tuple[Step, ...], step: Step, rng: Random) -> list[tuple[str, str]]:
        """(seat, words) of everything that a turn reads."""
        attempts = {i: self.attempt(task, rng) for i in step.reads}
        heard = []
        for i in self.play.chosen(task, step, 0):
            words = attempts[i]
            if script[i].seat in self.verifiers:
                judged = [attempts[k] for k in script[i].reads if k in attempts]
                words = self._verdict(judged, task, rng)
            heard.append((script[i].seat, words))
        return heard

    def _verdict(self, judged: list[str], task: Task, rng: Random) -> str:
        assert task.private is not None
        true = VERDICTS[not judged or judged[-1] != task.private.answer]
        return true if rng.random() < self.heeds_frac else rng.choice(VERDICTS)

    def _reply(self, answer: str, step: Step, heard: list[tuple[str, str]], rng: Random) -> str:
        attempts = [words for seat, words in heard if seat not in self.verifiers]
        heeds = rng.random() < self.heeds_frac
        if step.seat in self.verifiers:
            return VERDICTS[answer not in attempts] if heeds else rng.choice(VERDICTS)
        return answer if heeds else rng.choice(attempts)
