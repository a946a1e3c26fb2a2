"""What makes a manufactured task harder, as numbers: Agent-World, arXiv:2604.18292, section on difficulty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evolvent.errors import BadInput
from evolvent.synthesis.tool_graph import LONGEST, SHORTEST, WEIGHTS


@dataclass(frozen=True)
class Difficulty:
    """Longer walks, looser edges, more calls and distinct tools, branches and tables in a program, a hidden way."""

    shortest: int = SHORTEST
    longest: int = LONGEST
    weak: float = WEIGHTS["weak"]
    independent: float = WEIGHTS["independent"]
    min_steps: int = 3
    min_tools: int = 3
    min_branches: int = 0
    min_tables: int = 1
    hides_workflow: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest or self.min_steps > self.longest or self.min_tools > self.longest:
            raise BadInput(
                "no walk can be that long",
                where="Difficulty",
                got=self,
                wanted="1 <= shortest <= longest, min_steps <= longest, min_tools <= longest",
            )
        if min(self.weak, self.independent) < 0:
            raise BadInput("a weight below 0", where="Difficulty", got=self)

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of edges by kind."""
        return {"strong": WEIGHTS["strong"], "weak": self.weak, "independent": self.independent}


LEVELS = {
    1: Difficulty(),
    2: Difficulty(shortest=4, min_steps=4, min_branches=1, hides_workflow=True),
    3: Difficulty(5, 10, 3, 2, 5, 4, 2, 2, hides_workflow=True),
}
"""By level: the published defaults, then every dial turned."""
