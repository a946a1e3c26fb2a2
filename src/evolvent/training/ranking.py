"""A reward model that learns from pairs: of two continuations of one prefix, the better shall have the higher score."""

# P pairs, B rows, T tokens

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from evolvent.errors import BadInput
from evolvent.models.heads import with_scalar_head
from evolvent.models.spec import own_generator
from evolvent.records import Message
from evolvent.seeds import stream
from evolvent.training.gates import check_finite

HEAD_STD = 0.1

Asked = tuple[Sequence[Message], Sequence[str]]
"""A prompt, and the steps of an answer to it; joined, they are the answer as far as it goes."""


def ranking_loss(better_P: Tensor, worse_P: Tensor) -> Tensor:
    """-log sigmoid(r_better - r_worse), a mean over pairs (Bradley-Terry); log 2 where scores are equal."""
    return -logsigmoid(better_P - worse_P).mean()


@dataclass(frozen=True, slots=True)
class Ranking:
    """How a reward model is fitted: `num_steps` updates on `pairs_per_step` pairs each, drawn without repetition."""

    optimizer: Any
    num_steps: int
    pairs_per_step: int

    def __call__(self, model: RewardModel, pairs: Sequence[tuple[Asked, Asked]], seed: int) -> list[float]:
        """Fit to pairs (better, worse), all seen before one comes again; returns the loss of every update."""
        if not pairs:
            raise BadInput("nothing to rank", where="pairs", got=0, cure="more attempts a task, or a smaller delta")
        optimizer = self.optimizer.begin(model.named_parameters())
        order: list[int] = []
        losses = []
        for step in range(self.num_steps):
            while len(order) < self.pairs_per_step:
                again = list(range(len(pairs)))
                stream(seed, "pairs", step).shuffle(again)
                order += again
            drawn, order = order[: self.pairs_per_step], order[self.pairs_per_step :]
            optimizer.clear()
            score_B = model([pairs[i][side] for side in (0, 1) for i in drawn])
            loss = ranking_loss(score_B[: len(drawn)], score_B[len(drawn) :])
            check_finite(float(loss.detach()), model.twin)
            loss.backward()  # type: ignore[no-untyped-call]
            check_finite(optimizer.clip(), model.twin)
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses


class RewardModel:
    """A score after every step of an answer: a scalar head drawn from `seed`, on a copy of a policy's weights."""

    def __init__(self, policy: Any, seed: int = 0) -> None:
        self.twin = policy.copy()
        self.twin.name = f"{policy.name}.reward"
        for name, parameter in self.twin.model.named_parameters():
            # scores of the vocabulary are not read; where they are the embedding too, that has its own name
            parameter.requires_grad_(not name.startswith("lm_head"))
        self.model = with_scalar_head(self.twin.model)
        with own_generator(seed):  # from a head of zeros, what is behind it has no gradient for a long while
            torch.nn.init.normal_(self.model.head.weight, std=HEAD_STD)
        self.num_tokens = 0  # read so far, padding aside

    def __call__(self, asked: Sequence[Asked]) -> Tensor:
        """The score of each answer at the end of its last step (B,), with gradient."""
        rows = [self.lay_out(*one) for one in asked]
        value_BT = self._read([tokens for tokens, _ in rows])
        last_B = torch.tensor([ends[-1] for _, ends in rows], device=value_BT.device)
        return value_BT.gather(1, last_B[:, None])[:, 0]

    def steps(self, asked: Sequence[Asked], rows_at_once: int = 64) -> list[list[float]]:
        """The score after each step of every answer."""
        rows = [self.lay_out(*one) for one in asked]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))  # rows of one length need no padding
        found: dict[int, list[float]] = {}
        with torch.no_grad():
            for start in range(0, len(rows), rows_at_once):
                places = order[start : start + rows_at_once]
                value_BT = self._read([rows[i][0] for i in places]).cpu()
                for i, value_T in zip(places, value_BT, strict=True):
                    found[i] = value_T[rows[i][1]].tolist()
        return [found[i] for i in range(len(rows))]

    def lay_out(self, prompt: Sequence[Message], steps: Sequence[str]) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and an answer, and where each step ends; steps are encoded apart, so prefixes agree."""
        renderer = self.twin.renderer
        tokens, ends = list(renderer.open(prompt)), []
        for step in steps:
            tokens += renderer.plain(step)
            ends.append(len(tokens) - 1)
        if not ends:
            raise BadInput("an answer without a step has no score", wanted="at least one step")
        return tokens, ends

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """The weights that an optimizer may change, by name."""
        return [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]

    def _read(self, rows: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(row) for row in rows]
        token_BT = np.full((len(rows), max(lengths)), self.twin.pad_id, dtype=np.int64)
        for i, row in enumerate(rows):
            token_BT[i, : len(row)] = row
        self.num_tokens += sum(lengths)
        place = self.model.head.weight.device
        return self.model(torch.from_numpy(token_BT).to(place), torch.tensor(lengths, device=place))  # type: ignore[no-any-return]
