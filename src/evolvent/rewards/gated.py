"""What a setter earns for a problem that a gate let through and solvers failed at, and what solvers earn."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.errors import BadInput
from evolvent.records import Episode, Score, Task, role_of


@dataclass(frozen=True, slots=True)
class Gated:
    """R_Q = 1[accepted] 1[new] (1 - Acc) (1 - w s): arXiv:2605.06660, with novelty and coverage beside it.

    Acc is the share of attempts by the seats of `against` that are right: an anchor that does not learn tells
    difficulty apart from the solver's progress. A problem whose key somebody else proposed before earns nothing; s is
    the share of problems of its form among the last `memory` accepted ones, w is `coverage`. (refused, 0) earns 0,
    (accepted, 0) 1, (accepted, 3/8) 5/8, (accepted, 1) 0, each for the first problem ever. A solver earns what the
    check of the task that it attempted says. `faults` are the reasons for refusal that are counted by name.
    """

    against: tuple[str, ...]
    coverage: float
    faults: tuple[str, ...]
    setter: str = "setter"
    solver: str = "solver"
    memory: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.coverage <= 1:
            raise BadInput("not a share", where="coverage", got=self.coverage, wanted="0 to 1")

    def __call__(self, episodes: Sequence[Episode]) -> list[dict[str, Score]]:
        """Judged as if nothing had been proposed before."""
        return self.begin()(episodes)

    def begin(self) -> LiveGated:
        """The judge at work, its archive empty."""
        return LiveGated(self)


class LiveGated:
    """Remembers who proposed what first, and which forms came lately; judging an episode again changes nothing.

    Its `archive` holds, by key, each accepted problem with its reference, its Acc, the setter's `call` that proposed it
    and the share s of its form at that time: a set of challenges.
    """

    def __init__(self, plan: Gated) -> None:
        self.plan = plan
        self.archive: dict[str, dict[str, Any]] = {}
        self.forms: deque[str] = deque(maxlen=plan.memory)

    def __call__(self, episodes: Sequence[Episode]) -> list[dict[str, Score]]:
        """One score for the setter and one for each solver of an episode."""
        return [self.judge(episode) for episode in episodes]

    def judge(self, episode: Episode) -> dict[str, Score]:
        """The scores of one episode, by role and seat."""
        info = episode.info
        if "attempts" not in info:
            raise BadInput("nobody played against anybody", where=episode.episode_id, wanted="a self-play workflow")
        rights = {seat: solved(info["posed"], text) for seat, text in info["attempts"].items()}
        scores: dict[str, Score] = {}
        if "refused" in info:  # else solvers practise alone
            scores[self.plan.setter] = self._of_setter(info, rights)
        posed = "seed" if info.get("refused", "nothing proposed") else "proposal"
        for seat, right in rights.items():
            if role_of(seat) == self.plan.solver:
                scores[seat] = Score(right, {"solved": right, f"solved_{posed}": right}, f"attempts the {posed}")
        return scores

    def _of_setter(self, info: Mapping[str, Any], rights: Mapping[str, float]) -> Score:
        is_accepted = not info["refused"]
        parts = {"valid": float(not info["fault"]), "accepted": float(is_accepted)}
        reason = info["refused"] or info["fault"]
        parts |= {f"fault_{name.replace(' ', '_')}": float(reason == name) for name in self.plan.faults}
        parts["agrees"] = float(info["agrees"])
        if not is_accepted:
            return Score(0.0, parts, f"refused: {info['refused']}")
        judged = [right for seat, right in rights.items() if role_of(seat) in self.plan.against]
        if not judged:
            raise BadInput("nobody attempted what was accepted", got=sorted(rights), wanted=self.plan.against)
        accuracy = sum(judged) / len(judged)
        first = self._first(info, accuracy)
        is_new = first["call"] == info["call"]
        share = first["share"] if is_new else 0.0
        parts |= {"acc": accuracy, "unsolved": float(accuracy == 0), "new": float(is_new), "common": share}
        parts["clean"] = float(not info["fault"])
        value = is_new * (1 - accuracy) * (1 - self.plan.coverage * share)
        return Score(
            value, parts, f"solved by {accuracy:.0%}{'' if is_new else ', proposed before'}: {info['problem']}"
        )

    def _first(self, info: Mapping[str, Any], accuracy: float) -> dict[str, Any]:
        """Who proposed this problem first: an entry of the archive, made now where there was none."""
        if info["key"] not in self.archive:
            share = Counter(self.forms)[info["form"]] / len(self.forms) if self.forms else 0.0
            told = {name: info[name] for name in ("problem", "reference", "call")}
            self.archive[info["key"]] = {**told, "acc": accuracy, "share": share}
            self.forms.append(info["form"])
        return self.archive[info["key"]]

    def state(self) -> dict[str, Any]:
        """Everything that is remembered, as JSON values."""
        return {"archive": self.archive, "forms": list(self.forms)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.archive = {key: dict(entry) for key, entry in state["archive"].items()}
        self.forms = deque(state["forms"], maxlen=self.plan.memory)


def solved(task: Task | None, answer: str) -> float:
    """Whether an answer passes the check of the task that was attempted."""
    return 0.0 if task is None else float(task.judge.load()(task, answer).value >= 1.0)
