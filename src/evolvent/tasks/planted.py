"""Chains of small steps with one planted mistake, attempted by a writer and told right or wrong by a scorer that errs.

What stands in where models would be too slow: attempts whose first wrong step is known, so that whoever scores steps
from outcomes can be compared with the truth.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from random import Random

from evolvent.records import Message, said

NUM_STEPS = 4  # of each chain
SLIPS = (-1, 1)  # how far a wrong result is off
CLEAN, NOISE = 0.4, 0.35  # the shares of attempts without a mistake, and of outcomes that are told wrongly


@dataclass(frozen=True, slots=True)
class Chain:
    """Named numbers, each 3 more than the one before, of which the last digit is kept."""

    start: int
    names: str

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Such as 7qmzk."""
        return (said("user", f"{self.start}{self.names}"),)

    def steps(self, wrong_at: int, slip: int) -> tuple[str, ...]:
        """q=0; m=3; and so on; the result of one step is off by `slip`, and the later ones follow from that."""
        return tuple(
            f"{name}={(self.start + 3 * (place + 1) + (slip if place >= wrong_at else 0)) % 10};"
            for place, name in enumerate(self.names)
        )


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt at a chain: its steps, where its first mistake is (NUM_STEPS: nowhere), and what its scorer said."""

    steps: tuple[str, ...]
    wrong_at: int
    reward: float


def draw_chain(rng: Random) -> Chain:
    """A chain from a random digit, its numbers named by different letters."""
    return Chain(rng.randrange(10), "".join(rng.sample(string.ascii_lowercase, NUM_STEPS)))


def attempt(chain: Chain, rng: Random, clean: float = CLEAN) -> Try:
    """Without a mistake, or with one anywhere; the outcome is told wrongly now and then."""
    wrong_at = NUM_STEPS if rng.random() < clean else rng.randrange(NUM_STEPS)
    is_right = (wrong_at == NUM_STEPS) != (rng.random() < NOISE)
    return Try(chain.steps(wrong_at, rng.choice(SLIPS)), wrong_at, float(is_right))


@dataclass(frozen=True, slots=True)
class Part:
    """An attempt that has come some steps far."""

    length: int = 0
    wrong_at: int = NUM_STEPS
    slip: int = 0


def go_on(part: Part, rng: Random) -> Part:
    """One step more; mistakes are as frequent at each place as in whole attempts."""
    if part.wrong_at < NUM_STEPS:
        return replace(part, length=part.length + 1)
    here = (1 - CLEAN) / NUM_STEPS
    errs = rng.random() < here / (CLEAN + here * (NUM_STEPS - part.length))
    return Part(part.length + 1, part.length, rng.choice(SLIPS)) if errs else Part(part.length + 1)


def steps_of(chain: Chain, part: Part) -> tuple[str, ...]:
    """What has been said so far."""
    return chain.steps(part.wrong_at, part.slip)[: part.length]
