"""A whole step of practice: sample groups, score, credit, update; ours beside TRL's GRPOTrainer.

Same model file, prompts, number of rows, prescribed length of every row (so exactly as many tokens), loss, optimizer
and settings; TRL trains in one micro-batch or in several of MICRO_ROWS rows, whichever is faster for it. Three rows:
all rows trained at a fixed length; all rows trained at real lengths; and as it really runs, where two groups of five
have no signal, which we leave out of the update while TRL trains on them with zeros. TRL does the same in the last
two, so they share its runs: a round is ours, TRL's, ours with groups left out.

The short run (no `full=true`) has 16 prompts (0.3M) or 8 (3M) instead of 32, so that it ends within six minutes, and
measures the fixed length on the 0.3M model and one thread only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.flops import Shape, sampling_flops, training_flops
from bench.inputs import lengths, model_folder, our_policy, prompts
from bench.our_side import Agreement, Practice, agreement, batch_of, gradient
from bench.rows import Bound, Row, Side, beside, compared, in_turn, matmul_rate
from bench.trl_side import Grpo, Trained

SHORT_PROMPTS = {"0.3M": 16, "3M": 8}
GROUP, MICRO_ROWS = 8, 64
PEER = "TRL GRPOTrainer"
NAMES = {
    "fixed": "RL step, all rows trained, fixed length",
    "real": "RL step, all rows trained, real lengths",
    "run": "RL step as it really runs",
}
TARGETS = {"fixed": 2.0, "real": 2.0, "run": 3.0}
MEMORY_TARGET = 0.5  # of what TRL's step takes, as it really runs


def cases(full: bool) -> list[dict[str, Any]]:
    """The grid: sizes, number types, threads, lengths."""
    return [
        {"size": size, "dtype": dtype, "threads": threads, "prompts": 32 if full else SHORT_PROMPTS[size],
         "new": new, "lengths": kinds}
        for size in (("0.3M", "3M", "10M") if full else ("0.3M", "3M"))
        for dtype in ("float32", "bfloat16")
        for threads in (1, 2)
        for new in ((64, 128) if full else (64,))
        for kinds in (("fixed", "real") if full else (_short_kinds(size, threads),))
    ]  # fmt: skip


def _short_kinds(size: str, threads: int) -> str:
    return "fixed+real" if (size, threads) == ("0.3M", 1) else "real"


def measure(
    *, size: str, dtype: str, threads: int, prompts: int, new: int, lengths: str, pairs: int = 5, device: str = "cpu"
) -> list[Row]:
    """One row for a fixed length, two for real ones."""
    folder = model_folder(size)
    theirs = Grpo(folder, dtype, GROUP, prompts * GROUP, new, scored_with_gaps, device)
    ours = Practice(folder, dtype, GROUP, device)
    settings = {"size": size, "dtype": dtype, "threads": threads, "prompts": prompts, "group": GROUP, "new": new}
    return [row for kind in lengths.split("+") for row in _Steps(ours, theirs, kind, settings).rows(pairs)]


def scored(tokens: Sequence[int], group: int) -> float:
    """A score that differs between the rows of a group: a checksum."""
    return (sum(tokens) % 1009) / 1009


def scored_with_gaps(tokens: Sequence[int], group: int) -> float:
    """The same, but two groups of five are solved by all their rows."""
    return 1.0 if group % 5 in (1, 3) else scored(tokens, group)


@dataclass(frozen=True)
class _Step:
    """What our last step of one kind did."""

    drawn: list[int]
    num_trained: int
    num_rows: int
    sampling_share: float


class _Steps:
    """Both sides on one set of prompts and lengths."""

    def __init__(self, ours: Practice, theirs: Grpo, kind: str, settings: dict[str, Any]) -> None:
        self.ours, self.theirs, self.kind, self.settings = ours, theirs, kind, settings
        self.dtype, self.device = settings["dtype"], ours.device
        num = settings["prompts"]
        self.asked = prompts(num, *((24, 24) if kind == "fixed" else (12, 48)))
        self.row_lengths = lengths(kind, num * GROUP, settings["new"])
        theirs.asked, theirs.row_lengths = self.asked, self.row_lengths
        self.last: dict[str, _Step] = {}

    def rows(self, pairs: int) -> list[Row]:
        """Check, then measure in turn."""
        names = ["fixed"] if self.kind == "fixed" else ["real", "run"]
        trained = self._trained()
        near = {name: self._agreement(name, trained) for name in names}
        self._settle()
        steps = {name: self._step(name) for name in names}
        steps[names[0]]()  # what is made once and stays is no growth of a step
        best = matmul_rate(self.dtype, self.device)
        sides = [Side(steps[names[0]]), Side(self.theirs.step), *(Side(steps[n]) for n in names[1:])]
        turns = in_turn(sides, pairs, self.device)
        best = max(best, matmul_rate(self.dtype, self.device))
        made = []
        for name, mine in zip(names, (0, 2), strict=False):
            held = beside(turns.peaks[mine], turns.peaks[1])
            same = near[name].holds(self.dtype) and self._same_tokens(name, trained)
            made.append(
                compared(
                    NAMES[name], PEER, (turns.rates[mine], turns.rates[1]), unit="steps/s", same_work=same,
                    target=TARGETS[name], settings=self._described(name), bound=Bound(self._flops(name), best),
                    memory=held, why=_said(near[name], held),
                )
            )  # fmt: skip
        return made

    def _trained(self) -> Trained:
        """What TRL trains on with the weights of the file, and the gradient that it takes."""
        self.theirs.restore()
        self.theirs.split(self._splits()[-1])
        self.theirs.backward()
        trained = self.theirs.trained()
        self.theirs.model.zero_grad()
        return trained

    def _agreement(self, name: str, trained: Trained) -> Agreement:
        """Our gradient on TRL's own rows and advantages beside TRL's."""
        rows = [row for row in trained.rows if row[2]] if name == "run" else trained.rows
        policy = our_policy(self.ours.folder, self.dtype, self.device)
        num = sum(len(tokens) - start for tokens, start, _ in rows)
        share = num / trained.num_tokens  # TRL divides by all tokens, we by those that are trained
        mine = {n: g * share for n, g in gradient(policy, batch_of(rows), self.dtype).items()}
        return agreement(mine, trained.gradient)

    def _splits(self) -> list[int]:
        return sorted({1, max(1, len(self.row_lengths) // MICRO_ROWS)})

    def _settle(self) -> None:
        """Let TRL cut its rows in the way that is faster for it."""
        found = []
        for num in self._splits() if len(self._splits()) > 1 else []:
            self.theirs.split(num)
            start = time.perf_counter()
            self.theirs.step()
            found.append((time.perf_counter() - start, num))
        if found:
            self.theirs.split(min(found)[1])

    def _step(self, name: str) -> Callable[[], float]:
        reward = scored_with_gaps if name == "run" else scored

        def run() -> float:
            made = self.ours.step(self.asked, self.row_lengths, reward)
            self.last[name] = _Step(self.ours.drawn, int(self.ours.numbers["num_tokens"]), self.ours.num_rows,
                                    self.ours.sampling_s / self.ours.step_s)  # fmt: skip
            return made

        return run

    def _same_tokens(self, name: str, trained: Trained) -> bool:
        """Whether both drew what was prescribed, and we trained on all of it that has a signal."""
        last = self.last[name]
        drawn = last.drawn == self.row_lengths and trained.num_tokens == sum(self.row_lengths)
        return drawn and last.num_trained == sum(self._kept_lengths(name))

    def _lone(self, name: str) -> set[int]:
        """Groups without a signal."""
        return {i for i in range(len(self.asked)) if name == "run" and scored_with_gaps((), i) == 1.0}

    def _kept_lengths(self, name: str) -> list[int]:
        lone = self._lone(name)
        return [n for row, n in enumerate(self.row_lengths) if row // GROUP not in lone]

    def _described(self, name: str) -> dict[str, Any]:
        last = self.last[name]
        parts = [last.sampling_share, self.theirs.sampling_s / self.theirs.step_s]
        return {
            **self.settings, "mean": round(sum(self.row_lengths) / len(self.row_lengths), 1),
            "kept": f"{100 * last.num_rows / len(self.row_lengths):.0f}%", "micro-batches": self.theirs.num_micro,
            "sampling": "/".join(f"{100 * p:.0f}%" for p in parts),
        }  # fmt: skip

    def _flops(self, name: str) -> float:
        """Least arithmetic of our step: prompts read once per group, in sampling and in training."""
        shape = Shape.of(self.theirs.model)
        lone = self._lone(name)
        groups = [
            (len(p), self.row_lengths[i * GROUP : (i + 1) * GROUP]) for i, p in enumerate(self.asked) if i not in lone
        ]
        return sampling_flops(shape, self.asked, self.row_lengths) + training_flops(shape, groups)


def _said(found: Agreement, held: Mapping[str, float] | None) -> str:
    words = f"gradient: largest difference {found.gap:.1e} of the largest entry, cosine {found.cosine:.6f}"
    if held and held["ratio"] > MEMORY_TARGET:
        words += f"; memory {held['ratio']:.2f} of TRL's, wanted {MEMORY_TARGET} as it really runs"
    return words
