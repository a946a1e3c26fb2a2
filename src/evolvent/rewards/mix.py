"""Several judges as one: a weighted sum of named parts, closed by gates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolvent.errors import BadInput
from evolvent.records import Episode, Score
from evolvent.rewards.by_task import lift
from evolvent.rewards.judge import Check, Judge, Judgement


@dataclass(frozen=True)
class Mix:
    """value = product of gates * sum of weight * part; `components` keep every part as it was before mixing."""

    parts: tuple[tuple[str, float, Judge | Check], ...]
    gates: tuple[Judge | Check, ...] = ()

    def __post_init__(self) -> None:
        names = [name for name, _, _ in self.parts]
        if not names or len(set(names)) < len(names):
            raise BadInput("the parts of a mix need one name each", got=names)
        if any(hasattr(judge, "begin") for judge in [*(judge for _, _, judge in self.parts), *self.gates]):
            raise BadInput("a part of a mix cannot remember", got=names, cure="mix inside the judge that remembers")
        if not all(math.isfinite(weight) for _, weight, _ in self.parts):
            raise BadInput("a weight of a mix is not a finite number", got=self.parts)

    @property
    def judges_alone(self) -> bool:
        """Each score depends on its own episode alone: so it does where it does for every part."""
        judges = [judge for _, _, judge in self.parts] + list(self.gates)
        return all(getattr(lift(judge), "judges_alone", False) for judge in judges)

    def __call__(self, episodes: Sequence[Episode]) -> list[Score]:
        """One score per episode."""
        parts = [_alike(lift(judge)(episodes)) for _, _, judge in self.parts]
        gates = [_alike(lift(judge)(episodes)) for judge in self.gates]
        return [self._mixed([p[i] for p in parts], [g[i] for g in gates]) for i in range(len(episodes))]

    def _mixed(self, parts: Sequence[Score], gates: Sequence[Score]) -> Score:
        components: dict[str, float] = {}
        for (name, _, _), score in zip(self.parts, parts, strict=True):
            components[name] = score.value
            components |= {f"{name}.{inner}": value for inner, value in score.components.items()}
        components |= {f"gate {number}": gate.value for number, gate in enumerate(gates, start=1)}
        opening = math.prod(gate.value for gate in gates)
        weights = [weight for _, weight, _ in self.parts]
        value = opening * math.fsum(w * score.value for w, score in zip(weights, parts, strict=True))
        said = [f"{name}: {score.why}" for (name, _, _), score in zip(self.parts, parts, strict=True) if score.why]
        shut = [f"gate {number}: {gate.why}" for number, gate in enumerate(gates, start=1) if gate.value != 1.0]
        spans = tuple(
            replace(span, value=opening * w * span.value)
            for w, score in zip(weights, parts, strict=True)
            for span in score.spans
        )
        return Score(value, components, "; ".join(shut + said), spans)


def _alike(given: Sequence[Judgement]) -> list[Score]:
    """Judgements that are the same for every role."""
    found = [score for score in given if isinstance(score, Score)]
    if len(found) < len(given):
        raise BadInput("a mix takes judges that score an episode as a whole", got="one score a role")
    return found
