"""A critic that grows beside its policy: values of tokens, advantages by GAE, and updates of its own."""

# N tokens that the policy wrote (flat over rows), T those of one trace, W width

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolvent.credit.advantage import as_scored
from evolvent.credit.batch import Credit, Row, rows_of
from evolvent.credit.gae import GAE, Floats, at_the_end, explained_variance, returns
from evolvent.credit.packing import pack_by_group, pack_by_length
from evolvent.errors import BadInput
from evolvent.models import fast
from evolvent.models.heads import with_scalar_head
from evolvent.models.layout import Layout
from evolvent.records import Group, Trace
from evolvent.training.gates import check_finite
from evolvent.training.losses import Loss, Tokens, Totals
from evolvent.training.update import Micro


@dataclass(frozen=True, slots=True)
class Critic:
    """An advantage by a learned critic: a value head on a copy of the policy's weights (PPO, arXiv:1707.06347).

    The score of a trace is a reward at its last token. After each batch the critic makes `num_passes` updates towards
    the targets of `gae`, each on the whole batch. The first `pretrain_batches` train the critic alone: credits are
    zero (VC-PPO, arXiv:2503.01491). `whitens` brings the advantages of a batch to mean 0 and deviation 1.
    """

    gae: GAE
    loss: Loss
    optimizer: Any
    num_passes: int = 1
    pretrain_batches: int = 0
    whitens: bool = False
    micro_tokens: int = 16384

    def __post_init__(self) -> None:
        if self.num_passes < 1 or self.pretrain_batches < 0:
            got = f"num_passes={self.num_passes}, pretrain_batches={self.pretrain_batches}"
            raise BadInput(
                "no such critic", where="advantage", got=got, wanted="num_passes >= 1, pretrain_batches >= 0"
            )

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """What is left of it where there is no critic: the scores themselves."""
        return as_scored(scores)

    def begin_beside(self, policy: Any) -> LiveCritic:
        """The critic at work, with the weights that the policy has now and values that are all zero."""
        return LiveCritic(self, policy)


class LiveCritic:
    """A critic at work; what it remembers is weights (`model`), an `optimizer`, and how many batches it saw."""

    def __init__(self, plan: Critic, policy: Any) -> None:
        self.plan = plan
        self.twin = policy.copy()
        self.twin.name = f"{policy.name}.critic"
        learns = {name for name, _ in policy.named_parameters()}
        for name, parameter in self.twin.model.named_parameters():
            # scores of the vocabulary are not read; where they are the embedding too, that has its own name
            parameter.requires_grad_(name in learns and not name.startswith("lm_head"))
        self.model = with_scalar_head(self.twin.model)
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.optimizer = plan.optimizer.begin(named)
        self.num_batches = 0
        self.numbers: dict[str, float] = {}

    def __call__(self, scores: Sequence[float]) -> list[float]:
        """Without traces there is nothing to value."""
        return as_scored(scores)

    def by_trace(self, groups: Sequence[Group]) -> list[list[Credit]]:
        """Advantages of every token by the critic as it stands; then it learns from the same traces."""
        rows = {id(t): rows_of(t, g.key, 1.0) for g in groups for t in g.traces if t.trainable}
        rows = {key: mine for key, mine in rows.items() if mine}
        values = self.values([row for mine in rows.values() for row in mine])
        traces = {id(t): t for g in groups for t in g.traces if id(t) in rows}
        advantages, targets, expected, earned = {}, {}, [], []
        for key, trace in traces.items():
            assert trace.score is not None
            value_T = np.concatenate([values[id(row)] for row in rows[key]])
            reward_T = at_the_end(trace.score.value, len(value_T)).tolist()
            advantages[key], target_T = self.plan.gae(reward_T, value_T.tolist())
            stops = np.cumsum([row.num_targets for row in rows[key]])[:-1]
            targets.update({id(r): part for r, part in zip(rows[key], np.split(target_T, stops), strict=True)})
            expected.extend(value_T.tolist())
            earned.extend(returns(reward_T, gamma=self.plan.gae.gamma).tolist())
        is_pretraining = self.num_batches < self.plan.pretrain_batches
        if rows:
            self.learn([row for mine in rows.values() for row in mine], values, targets)
            explained = explained_variance(expected, earned)  # targets hold the critic's own values where lambda < 1
            self.numbers["explained_variance"] = explained if math.isfinite(explained) else 0.0
            self.num_batches += 1
        if is_pretraining:
            return [[0.0] * len(g.traces) for g in groups]
        placed = _place(traces, whitened(advantages) if self.plan.whitens else advantages)
        return [[placed.get(id(t), 0.0) for t in g.traces] for g in groups]

    def values(self, rows: Sequence[Row]) -> dict[int, Floats]:
        """What the critic expects before each written token, by the identity of the row."""
        found: dict[int, Floats] = {}
        with torch.no_grad():
            for pack in self._pack(rows):
                value_N = self.read(Micro.of(pack, self.twin, self.model.head.weight.device).layout).cpu().double()
                found.update({id(r): v.numpy() for r, v in zip(pack, _split(value_N, pack), strict=True)})
        return found

    def read(self, layout: Layout) -> Tensor:
        """Values (N,) with gradient, each from what stands before its token."""
        model, engine = self.twin.model, self.twin.engine
        if self.twin.shares_starts:
            hidden_NW = fast.flat_hidden(engine.weights, layout.token_N, layout.position_N, layout.blocks)
        else:
            token_BT = layout.token_N.view(layout.blocks[0].rows, -1)
            hidden_NW = model.get_decoder()(input_ids=token_BT, use_cache=False).last_hidden_state.flatten(0, 1)
        value_N: Tensor = self.model.head(hidden_NW.index_select(0, layout.read_M).float())[..., 0]
        return value_N

    def learn(self, rows: Sequence[Row], values: Mapping[int, Floats], targets: Mapping[int, Floats]) -> None:
        """Updates towards the targets; what they were like is kept in `numbers`."""
        totals = Totals(sum(r.num_targets for r in rows), len(rows))
        losses, norms = [], []
        for _ in range(self.plan.num_passes):
            self.optimizer.clear()
            losses.append(sum(self._backward(pack, values, targets, totals) for pack in self._pack(rows)))
            check_finite(losses[-1], self.twin)
            norms.append(self.optimizer.clip())
            check_finite(norms[-1], self.twin)
            self.optimizer.step()
            self.twin.updated()
        self.numbers = {
            "value_loss": losses[0],
            "value_mean": float(np.concatenate([values[id(r)] for r in rows]).mean()),
            "critic_grad_norm": sum(norms) / len(norms),
        }

    def _backward(
        self, pack: Sequence[Row], values: Mapping[int, Floats], targets: Mapping[int, Floats], totals: Totals
    ) -> float:
        micro = Micro.of(pack, self.twin, self.model.head.weight.device)
        value_N = self.read(micro.layout)
        old_N, target_N = (
            torch.from_numpy(np.concatenate([of[id(r)] for r in pack])).to(value_N) for of in (values, targets)
        )
        still_N = value_N.detach()
        loss = self.plan.loss(
            Tokens(
                still_N,
                still_N,
                micro.credit_N,
                micro.row_N,
                len(pack),
                value_N=value_N,
                old_value_N=old_N,
                target_N=target_N,
            ),
            totals,
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _pack(self, rows: Sequence[Row]) -> list[tuple[Row, ...]]:
        return (pack_by_group if self.twin.shares_starts else pack_by_length)(rows, self.plan.micro_tokens)

    def forget(self) -> None:
        """Drop what was computed with former weights."""
        self.twin.forget()

    def state(self) -> dict[str, Any]:
        """What must be saved beside `model` and `optimizer`."""
        return {"num_batches": self.num_batches}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what was saved."""
        self.num_batches = int(state["num_batches"])


def whitened(advantages: Mapping[int, Floats]) -> dict[int, Floats]:
    """(A - mean) / (std + 1e-8) over all tokens, the population's deviation; zeros where all are equal."""
    if not advantages:
        return {}
    whole = np.concatenate(list(advantages.values()))
    if whole.min() == whole.max():
        return {key: np.zeros_like(a) for key, a in advantages.items()}
    return {key: (a - whole.mean()) / (whole.std() + 1e-8) for key, a in advantages.items()}


def _place(traces: Mapping[int, Trace], advantages: Mapping[int, Floats]) -> dict[int, Credit]:
    """Advantages at their tokens; what begins a context is predicted by nothing, and has none."""
    placed: dict[int, Credit] = {}
    for key, trace in traces.items():
        is_written = np.array(trace.mask, dtype=bool)
        start = 0
        for number, turn in enumerate(trace.turns):
            if (turn.starts_context or number == 0) and start < len(is_written):
                is_written[start] = False
            start += len(turn.tokens)
        credit = np.zeros(len(is_written))
        credit[is_written] = advantages[key]
        placed[key] = credit
    return placed


def _split(value_N: Tensor, rows: Sequence[Row]) -> tuple[Tensor, ...]:
    return torch.split(value_N, [row.num_targets for row in rows])
