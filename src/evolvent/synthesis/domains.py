"""Kinds of problems that a setter can propose and an inverse check can verify: integrals and factorings.

A proposal is "answer => problem": the answer first, so that the problem can be computed from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any, ClassVar

from evolvent.errors import VerifierError
from evolvent.records import Message, Origin, Private, Reference, Task, said
from evolvent.rewards import calculus
from evolvent.rewards.symbolic import antiderivative as symbolic
from evolvent.rewards.workers import DeadlineError, shared
from evolvent.rollouts.selfplay import UNREADABLE, Proposal
from evolvent.seeds import stream
from evolvent.tasks.procedural import antiderivative, factoring, polynomials, terms

ARROW = "=>"
WRONG, COPY, TRIVIAL, LARGE, UNDECIDED = "wrong", "copy", "trivial", "too large", "undecided"
MAX_TERMS = 6
MAX_NUMBER = 99  # a literal beyond it makes a problem long, not hard


@dataclass(frozen=True, slots=True)
class Integrals:
    """Sums of powers, sines, cosines and exponentials, checked exactly by differentiation (see tasks `terms`)."""

    faults: ClassVar[tuple[str, ...]] = (UNREADABLE, TRIVIAL, LARGE, WRONG, COPY)

    def ask(self, seed: Task) -> tuple[Message, ...]:
        """The seed problem, to be made harder."""
        return _asked(seed)

    def show(self, seed: Task) -> str:
        """The seed with a term more, some of the others changed."""
        assert seed.private is not None
        rng = stream(0, "harder", seed.task_id)
        kept = {base: _sometimes(rng, value) for base, value in terms.parse(seed.private.answer).items()}
        free = [base for base in antiderivative.BASES if base not in kept]
        drawn = [*kept.items(), (rng.choice(free), antiderivative.draw_coefficient(rng))]
        rng.shuffle(drawn)
        made = dict(drawn)
        return f"{terms.write(made)} {ARROW} {terms.write(terms.derivative(made))}"

    def read(self, seed: Task, words: str) -> Proposal:
        """An antiderivative and its integrand; fault where the one is not of the other."""
        reference, problem = _split(words)
        try:
            primitive, integrand = terms.parse(reference), terms.parse(problem)
            of_seed = terms.key(terms.parse(_data(seed, "integrand")))
        except ValueError:
            return Proposal(None, UNREADABLE, problem=problem, reference=reference)
        slope, key = terms.derivative(primitive), terms.key(integrand)
        fault = (
            (TRIVIAL if not integrand or not slope else "")
            or (LARGE if _is_large(integrand) else "")
            or (WRONG if slope != integrand else "")
            or (COPY if key == of_seed else "")
        )
        if not integrand or not slope:  # nothing that could be asked
            return Proposal(None, fault, key, "", problem, reference)
        form = " ".join(sorted(name for name, _ in integrand))
        # what solvers are judged by is the reference, true or not
        task = _task(seed, f"integrate {problem}", reference, {"integrand": terms.write(slope)}, antiderivative.JUDGE)
        return Proposal(task, fault, key, form, problem, reference)


@dataclass(frozen=True, slots=True)
class Factorings:
    """Polynomials and their linear factors, checked exactly by multiplying out."""

    faults: ClassVar[tuple[str, ...]] = (UNREADABLE, LARGE, WRONG, COPY)

    def ask(self, seed: Task) -> tuple[Message, ...]:
        """The seed problem, to be made harder."""
        return _asked(seed)

    def show(self, seed: Task) -> str:
        """Other factors, with constants from the same range: the larger of two draws."""
        rng = stream(0, "harder", seed.task_id)
        num, top = factoring.NUM_FACTORS[seed.level], factoring.MAX_ROOT[seed.level]
        made = factoring.draft(max((factoring.draw_roots(rng, num, top) for _ in range(2)), key=_size))
        return f"{made.answer} {ARROW} {made.data['product']}"

    def read(self, seed: Task, words: str) -> Proposal:
        """A product and what it multiplies out to; fault where the two differ."""
        reference, problem = _split(words)
        try:
            product, asked = factoring.multiply_out(reference), polynomials.parse(problem)
        except ValueError:
            return Proposal(None, UNREADABLE, problem=problem, reference=reference)
        key = _monic(asked)
        fault = (
            (LARGE if any(abs(value) > 20 * MAX_NUMBER for value in asked.values()) else "")
            or (WRONG if product != asked else "")
            or (COPY if key == _monic(polynomials.parse(_data(seed, "product"))) else "")
        )
        form = " ".join("-" if value < 0 else "+" for _, value in sorted(asked.items()))
        task = _task(seed, f"factor {problem}", reference, {"product": polynomials.write(product)}, factoring.JUDGE)
        return Proposal(task, fault, key, form, problem, reference)


@dataclass(frozen=True, slots=True)
class Elementary:
    """Integrals of whatever `rewards.calculus` can read, checked by numbers and then by proof, in workers.

    What is not decided within `timeout_s` is refused; absent from the words means refused at no cost.
    """

    timeout_s: float = 5.0
    num_workers: int = 1
    faults: ClassVar[tuple[str, ...]] = (UNREADABLE, TRIVIAL, WRONG, COPY, UNDECIDED)

    def ask(self, seed: Task) -> tuple[Message, ...]:
        """The seed problem, to be made harder."""
        return _asked(seed)

    def show(self, seed: Task) -> str:
        """As for sums of terms, which are elementary."""
        return Integrals().show(seed)

    def read(self, seed: Task, words: str) -> Proposal:
        """An antiderivative and its integrand; fault where the one is not proven to be of the other."""
        reference, problem = _split(words)
        if not reference or not problem:
            return Proposal(None, UNREADABLE, problem=problem, reference=reference)
        judge = Reference("evolvent.rewards.symbolic:antiderivative", {"timeout_s": self.timeout_s})
        task = _task(seed, f"integrate {problem}", reference, {"integrand": problem}, judge)
        try:
            score = symbolic(task, reference, self.timeout_s, self.num_workers)
            pool = shared(self.num_workers)
            told: Mapping[str, str] = pool.run(
                "evolvent.rewards.calculus:tell_form", self.timeout_s, integrand=problem, other=_data(seed, "integrand")
            )
        except DeadlineError:
            return Proposal(None, UNDECIDED, problem=problem, reference=reference)
        except VerifierError:  # the integrand is none, or it is 0
            return Proposal(None, UNREADABLE, problem=problem, reference=reference)
        fault = "" if score.value == 1 else _fault(score.components, score.why)
        fault = fault or (COPY if told["key"] == told["other"] else "")
        is_readable = score.components["readable"] == 1 and fault != TRIVIAL
        return Proposal(task if is_readable else None, fault, told["key"], told["form"], problem, reference)


def _fault(components: Mapping[str, float], why: str) -> str:
    if why == calculus.CONSTANT:
        return TRIVIAL
    if not components["readable"]:
        return UNREADABLE
    return UNDECIDED if why.startswith("undecided") else WRONG


def _asked(seed: Task) -> tuple[Message, ...]:
    return (said("user", f"harder than {seed.question}"),)


def _split(words: str) -> tuple[str, str]:
    """Answer and problem; empty where the words are not two parts around one arrow."""
    parts = [part.strip() for part in words.split(ARROW)]
    return (parts[0], parts[1]) if len(parts) == 2 else ("", "")


def _task(seed: Task, question: str, reference: str, data: Mapping[str, Any], judge: Reference) -> Task:
    private = Private(reference, data, (said("assistant", reference),))
    prompt = (said("user", question),)
    origin = Origin("proposed", (seed.task_id,))
    return Task(f"{seed.task_id}-proposed", seed.family, seed.level, prompt, private, judge, origin)


def _data(seed: Task, name: str) -> str:
    assert seed.private is not None
    return str(seed.private.data[name])


def _sometimes(rng: Random, value: Fraction) -> Fraction:
    return antiderivative.draw_coefficient(rng) if rng.random() < 0.5 else value


def _is_large(integrand: terms.Terms) -> bool:
    sizes = [max(abs(value.numerator), value.denominator, base[1]) for base, value in integrand.items()]
    return len(sizes) > MAX_TERMS or max(sizes, default=0) > MAX_NUMBER


def _size(constants: Iterable[int]) -> int:
    return sum(map(abs, constants))


def _monic(polynomial: polynomials.Polynomial) -> str:
    """The same for polynomials that differ by a constant factor alone."""
    if not polynomial:
        return "0"
    return polynomials.write(polynomials.scale(polynomial, 1 / polynomial[max(polynomial)]))
