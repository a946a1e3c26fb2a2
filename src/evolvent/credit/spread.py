"""From scores of a trace's steps to credit for its tokens."""

# T tokens of a trace, turn after turn

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evolvent.credit.advantage import check_deviation, deviation
from evolvent.errors import BadInput
from evolvent.records import Group, Span, Trace

Floats = NDArray[np.float64]


def spread_evenly(spans: Sequence[Span], turn_lengths: Sequence[int]) -> Floats:
    """Each token of a step has that step's value, others 0; overlapping steps add up, (T,)."""
    credit_T = np.zeros(sum(turn_lengths))
    for span in spans:
        start, stop = _place(span, turn_lengths)
        credit_T[start:stop] += span.value
    return credit_T


def spread_to_go(spans: Sequence[Span], turn_lengths: Sequence[int]) -> Floats:
    """Each token has the sum of the values of all steps that end behind it, (T,): what was still to be gained.

    Process supervision of DeepSeekMath, arXiv:2402.03300, section 4.1.3.
    """
    credit_T = np.zeros(sum(turn_lengths))
    for span in spans:
        credit_T[: _place(span, turn_lengths)[1]] += span.value
    return credit_T


def standardize_steps(steps: Sequence[Sequence[float]], ddof: int, eps: float) -> list[list[float]]:
    """(value - mean) / (std + eps) over all steps of all traces of a group; equal values give zeros."""
    check_deviation(ddof, eps)
    values = [v for trace in steps for v in trace]
    if len(values) < 2 or min(values) == max(values):
        return [[0.0] * len(trace) for trace in steps]
    mean, scale = math.fsum(values) / len(values), deviation(values, ddof) + eps
    return [[(v - mean) / scale for v in trace] for trace in steps]


def credit_steps(group: Group, ddof: int, eps: float) -> list[Floats]:
    """Per-token credit of every trace of a group from the spans of its score: standardised, then to go.

    A trace without spans has one step, its whole length, worth its score.
    """
    spans = [_spans(trace) for trace in group.traces]
    made = standardize_steps([[s.value for s in found] for found in spans], ddof, eps)
    credits = []
    for trace, found, values in zip(group.traces, spans, made, strict=True):
        scored = [Span(s.turn, s.start, s.stop, v) for s, v in zip(found, values, strict=True)]
        credits.append(spread_to_go(scored, [len(turn.tokens) for turn in trace.turns]))
    return credits


def _spans(trace: Trace) -> Sequence[Span]:
    """The scored steps of a trace."""
    if trace.score is None or not trace.turns:
        return ()
    last = len(trace.turns) - 1
    return trace.score.spans or (Span(last, 0, len(trace.turns[last].tokens), trace.score.value),)


def _place(span: Span, turn_lengths: Sequence[int]) -> tuple[int, int]:
    """Where a step begins and ends among the tokens of its trace."""
    if not (0 <= span.turn < len(turn_lengths) and 0 <= span.start <= span.stop <= turn_lengths[span.turn]):
        raise BadInput(
            "a step lies outside its trace",
            where=f"span of turn {span.turn}",
            got=f"tokens {span.start} to {span.stop}",
            wanted=f"within turns of lengths {list(turn_lengths)}",
        )
    before = sum(turn_lengths[: span.turn])
    return before + span.start, before + span.stop
