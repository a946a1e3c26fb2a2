"""Scored episodes to rows to train on: groups formed by key, credit spread to tokens, nothing dropped unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evolvent.credit.advantage import Advantage
from evolvent.records import Episode, Group, Trace, role_of

Credit = float | np.ndarray
"""What a trace deserves: one number, or one for each of its tokens (those of others are not looked at).

In a masked array (numpy.ma) the masked tokens are no targets: no term of a loss looks at them, as if somebody else had
written them.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One stretch of context: ids, who wrote them, what the sampler thought of them, and their credit.

    Arrays of one length T: `tokens` int64, `mask` bool (True where the policy wrote, and may be trained), `known` bool
    (True where the sampler's log-probability was recorded), `sampler_logprobs` float64 (0 where unknown), `credit`
    float32 (0 outside the mask). `is_good` says that its trace scored above 0.
    """

    group: tuple[str | int, ...]
    trace: tuple[str, int, str]
    tokens: np.ndarray
    mask: np.ndarray
    known: np.ndarray
    sampler_logprobs: np.ndarray
    credit: np.ndarray
    versions: tuple[int, ...]
    is_good: bool = False

    @property
    def num_targets(self) -> int:
        """How many tokens can be trained on: those that the policy wrote, behind the first of the context."""
        return int(self.mask[1:].sum())


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to train on, and what was left out and why (in traces)."""

    rows: tuple[Row, ...]
    num_traces: int
    num_groups: int
    num_dead_groups: int
    num_faults: int
    num_untrainable: int
    credits: dict[tuple[str, str], float]
    num_unscored: int = 0

    @property
    def signal_share(self) -> float:
        """The share of groups whose traces differ in score."""
        return 1 - self.num_dead_groups / self.num_groups if self.num_groups else 0.0


def form_groups(episodes: Iterable[Episode], policy: str) -> list[Group]:
    """Traces of one policy that may be compared, by `group_key`; faulty ones are left out."""
    found: dict[tuple[str | int, ...], list[Trace]] = {}
    for episode in episodes:
        for trace in episode.traces:
            if trace.policy == policy and trace.outcome.carries_reward and trace.score is not None:
                found.setdefault(group_key(trace), []).append(trace)
    return [Group(key, tuple(traces)) for key, traces in found.items()]


def group_key(trace: Trace) -> tuple[str | int, ...]:
    """Whom a trace is compared with: the same seat in other attempts at the task, (task, seat).

    Copies of a role ("solver/1", "solver/2") attempt what their own episode has made, so they are compared with each
    other and nobody else: (task, role, sample).
    """
    if "/" in trace.seat:
        return trace.task_id, role_of(trace.seat), trace.sample
    return trace.task_id, trace.seat


def assign(episodes: Sequence[Episode], policy: str, advantage: Advantage, *, keeps_all: bool = False) -> Batch:
    """Credit for every trace of `policy`, from its score among its group.

    Traces without credit make no rows, unless `keeps_all` says that a loss has something to tell them (see
    `training.update.reaches_all_rows`); traces that cannot be trained on never do. Both are counted.
    """
    traces = [t for e in episodes for t in e.traces if t.policy == policy]
    attempts: Counter[tuple[str | int, ...]] = Counter(group_key(t) for t in traces)
    rows: list[Row] = []
    credits: dict[tuple[str, str], float] = {}
    dead = 0
    groups = form_groups(episodes, policy)
    for group, weights in zip(groups, _weigh(groups, attempts, advantage), strict=True):
        dead += not any(_has_signal(weight) for weight in weights)
        for trace, weight in zip(group.traces, weights, strict=True):
            credits[f"{trace.task_id}/{trace.sample}", trace.seat] = _mean_credit(trace, weight)
            if trace.trainable and (keeps_all or _has_signal(weight)):
                rows += rows_of(trace, group.key, weight)
    return Batch(
        rows=tuple(rows),
        num_traces=len(traces),
        num_groups=len(groups),
        num_dead_groups=dead,
        num_faults=sum(not t.outcome.carries_reward for t in traces),
        num_untrainable=sum(not t.trainable for t in traces),
        credits=credits,
        num_unscored=sum(t.outcome.carries_reward and t.score is None for t in traces),
    )


def _weigh(
    groups: Sequence[Group], attempts: Mapping[tuple[str | int, ...], int], advantage: Advantage
) -> Sequence[Sequence[Credit]]:
    """What each trace of each group deserves, by whichever form the advantage has."""
    by_trace: Callable[[Sequence[Group]], Sequence[Sequence[Credit]]] | None = getattr(advantage, "by_trace", None)
    if by_trace is not None:  # it reads whole traces, and may tell their tokens apart
        return by_trace(groups)
    weighed = [_weigh_scores(group, attempts[group.key], advantage) for group in groups]
    across: Callable[..., list[list[float]]] | None = getattr(advantage, "across", None)
    return weighed if across is None else across(weighed, [group.key for group in groups])  # it needs the whole batch


def _weigh_scores(group: Group, num_attempts: int, advantage: Advantage) -> list[float]:
    """One weight per trace; a group that faults left without siblings has no signal, and is no mistake of the plan."""
    scores = [t.score.value for t in group.traces if t.score is not None]
    if len(scores) < getattr(advantage, "min_group", 1) <= num_attempts:
        return [0.0] * len(scores)
    return advantage(scores)


def _has_signal(weight: Credit) -> bool:
    return bool(np.any(np.ma.filled(weight, 0.0)))


def _mean_credit(trace: Trace, weight: Credit) -> float:
    """One number for a trace: over the tokens that its policy wrote and may be trained, where they differ."""
    if isinstance(weight, float | int):
        return weight
    written_T = np.array(trace.mask, dtype=bool) & ~np.ma.getmaskarray(weight)
    return float(np.asarray(weight)[written_T].mean()) if written_T.any() else 0.0


def rows_of(trace: Trace, group: tuple[str | int, ...], weight: Credit) -> list[Row]:
    """A trace as rows: one for each context that was started, ids exactly as recorded."""
    weight_T = np.broadcast_to(np.asarray(weight, dtype=np.float64), len(trace.tokens))
    hidden_T = np.broadcast_to(np.ma.getmaskarray(weight), len(trace.tokens))
    contexts: list[list[int]] = []
    for number, turn in enumerate(trace.turns):
        if turn.starts_context or not contexts:
            contexts.append([])
        contexts[-1].append(number)
    made, start = [], 0
    for numbers in contexts:
        stop = start + sum(len(trace.turns[i].tokens) for i in numbers)
        made.append(_row(trace, numbers, group, weight_T[start:stop], hidden_T[start:stop]))
        start = stop
    return [row for row in made if row.num_targets]


def _row(
    trace: Trace, numbers: Sequence[int], group: tuple[str | int, ...], weight_T: np.ndarray, hidden_T: np.ndarray
) -> Row:
    turns = [trace.turns[i] for i in numbers]
    tokens = np.array([t for turn in turns for t in turn.tokens], dtype=np.int64)
    mask = np.array([m for turn in turns for m in turn.mask], dtype=bool)
    # a recited turn has no log-probabilities, and may stand beside sampled ones
    known = np.array([m and bool(turn.sampled_logprobs) for turn in turns for m in turn.mask], dtype=bool)
    sampler = np.zeros(len(tokens))
    sampler[known] = [p for turn in turns for p in turn.sampled_logprobs]
    mask &= ~hidden_T
    return Row(
        group=group,
        trace=(trace.task_id, trace.sample, trace.seat),
        tokens=tokens,
        mask=mask,
        known=known & mask,
        sampler_logprobs=np.where(mask, sampler, 0.0),
        credit=np.where(mask, weight_T, 0.0).astype(np.float32),
        versions=tuple(sorted({t.version for t in turns if t.version >= 0})),
        is_good=trace.score is not None and trace.score.value > 0,
    )
