"""A supervised step on rows of ragged length: ours beside TRL's SFTTrainer with packing.

Both train the same rows: prompts masked, every completion token weighs the same, same optimizer. TRL packs best-fit
decreasing, which keeps rows apart by their positions; on a CPU it has no variable-length kernel, so attention reads a
block mask as wide as what is fed at once. Of two widths it takes the one that is faster for it, and the data are
packed and collated beforehand; ours packs inside the step. The short run (no `full=true`) has half the rows.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from bench.flops import Shape, training_flops
from bench.inputs import model_folder, our_policy, peer_model, scratch
from bench.our_side import agreement, batch_of, gradient, trained_on
from bench.rows import Bound, Row, Side, beside, compared, in_turn, matmul_rate
from bench.trl_side import COMMON, LR, MAX_GRAD_NORM

NUM_ROWS, LONGEST = 128, 256
WIDTHS = (256, 512)  # tokens that TRL packs into one sequence; 1024 was slower everywhere
TARGET = 1.3
COLD_S = 1.0


def cases(full: bool) -> list[dict[str, Any]]:
    """The grid: sizes, number types, threads."""
    return [
        {"size": size, "dtype": dtype, "threads": threads, "rows": NUM_ROWS // (1 if full else 2)}
        for size in (("0.3M", "3M", "10M") if full else ("0.3M", "3M"))
        for dtype in ("float32", "bfloat16")
        for threads in (1, 2)
    ]


def ragged(num: int, seed: int = 0) -> list[tuple[list[int], int, float]]:
    """Rows as (tokens, length of the prompt, weight): prompts of 12 to 48, completions with a long tail, median 40."""
    rng = random.Random(seed)
    made = []
    for _ in range(num):
        start = rng.randint(12, 48)
        length = max(2, min(LONGEST - start, round(40 * rng.lognormvariate(0, 0.8))))
        made.append(([rng.randrange(32, 127) for _ in range(start + length)], start, 1.0))
    return made


def measure(size: str, dtype: str, threads: int, rows: int, pairs: int = 5, device: str = "cpu") -> list[Row]:
    """One row."""
    folder, made = model_folder(size), ragged(rows)
    num_trained = sum(len(tokens) - start for tokens, start, _ in made)
    theirs = _fastest(folder, dtype, made, device)
    ours = _Ours(folder, dtype, made, device)
    ours.step()
    best = matmul_rate(dtype, device)
    turns = in_turn((Side(ours.step), Side(theirs.step)), pairs, device)
    best = max(best, matmul_rate(dtype, device))
    near = agreement(ours.first_gradient, theirs.first_gradient)
    same = near.holds(dtype) and ours.num_trained == theirs.num_trained == num_trained
    least = training_flops(Shape.of(theirs.model), [(start, [len(tokens) - start]) for tokens, start, _ in made])
    settings = {"size": size, "dtype": dtype, "threads": threads, "rows": rows, "width": theirs.width}
    why = f"gradient: largest difference {near.gap:.1e} of the largest entry, cosine {near.cosine:.6f}"
    return [compared("supervised step, ragged rows", "TRL SFTTrainer (packing bfd)", turns.rates,
                     unit="trained tokens/s", same_work=same, target=TARGET, settings=settings,
                     bound=Bound(least / num_trained, best), memory=beside(*turns.peaks), why=why)]  # fmt: skip


class _Ours:
    """Supervised updates of ours on one batch."""

    def __init__(self, folder: Path, dtype: str, rows: list[tuple[list[int], int, float]], device: str) -> None:
        from evolvent.training.losses import Likelihood, token_mean
        from evolvent.training.optim import AdamW

        self.policy, self.dtype, self.batch = our_policy(folder, dtype, device), dtype, batch_of(rows)
        self.loss = Likelihood(token_mean)
        self.first_gradient = gradient(self.policy, self.batch, dtype, self.loss)
        self.optimizer = AdamW(LR, (0.9, 0.999), 1e-8, 0.0, MAX_GRAD_NORM).begin(self.policy.named_parameters())
        self.num_trained = 0

    def step(self) -> float:
        """One update; how many tokens it trained."""
        self.num_trained = int(trained_on(self.policy, self.optimizer, self.batch, self.dtype, self.loss)["num_tokens"])
        return float(self.num_trained)


class Sft:
    """SFTTrainer on the same rows, packed to `width`, one packed sequence at a time."""

    def __init__(
        self, folder: Path, dtype: str, rows: list[tuple[list[int], int, float]], width: int, device: str
    ) -> None:
        import datasets
        import trl
        from transformers import AutoTokenizer

        self.width = width
        made = trl.SFTConfig(
            output_dir=str(scratch()), packing=True, packing_strategy="bfd", max_length=width,
            per_device_train_batch_size=1, shuffle_dataset=False, use_cpu=device == "cpu", **COMMON,
        )  # fmt: skip
        columns = [{"input_ids": tokens, "labels": [-100] * start + tokens[start:]} for tokens, start, _ in rows]
        self.trainer = trl.SFTTrainer(
            model=peer_model(folder, dtype, device), args=made, train_dataset=datasets.Dataset.from_list(columns),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )  # fmt: skip
        self.model = self.trainer.model
        self.inputs = [self.trainer.data_collator([packed]) for packed in self.trainer.train_dataset]
        self.trainer.current_gradient_accumulation_steps = len(self.inputs)
        self.num_trained = sum(int((part["labels"] != -100).sum()) for part in self.inputs)
        self.optimizer = self.trainer.create_optimizer()
        start = time.perf_counter()
        self.backward()
        self.first_s = time.perf_counter() - start
        self.first_gradient = {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}
        self.model.zero_grad()

    def backward(self) -> None:
        """Leave the gradient in the weights."""
        for part in self.inputs:
            self.trainer.training_step(self.model, dict(part), self.num_trained)

    def step(self) -> float:
        """One update; how many tokens it trained."""
        self.backward()
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self.model.zero_grad()
        return float(self.num_trained)


def _fastest(folder: Path, dtype: str, rows: list[tuple[list[int], int, float]], device: str) -> Sft:
    """TRL at the width at which one step takes it the least time."""
    found = []
    for number, width in enumerate(WIDTHS):
        made = Sft(folder, dtype, rows, width, device)
        if made.first_s < COLD_S:  # where a step is short, the first one says little
            start = time.perf_counter()
            made.step()
            made.first_s = time.perf_counter() - start
        found.append((made.first_s, number, made))
    return min(found)[2]
