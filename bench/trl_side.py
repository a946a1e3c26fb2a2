"""TRL's trainers, driven step by step: no logging, no checkpoint, no data loader."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.inputs import peer_model, prescribed, scratch

LR, CLIP_LOW, CLIP_HIGH, MAX_GRAD_NORM = 1e-5, 0.2, 0.28, 1.0
COMMON = {
    "learning_rate": LR, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.0,
    "max_grad_norm": MAX_GRAD_NORM, "bf16": False, "gradient_checkpointing": False, "report_to": "none",
    "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no",
}  # fmt: skip


@dataclass
class Trained:
    """What a step of TRL trained on: padded ids and masks, advantages by row, and the gradient by weight."""

    rows: list[tuple[list[int], int, float]]  # tokens, of which so many are the prompt's, advantage
    gradient: dict[str, Any]

    @property
    def num_tokens(self) -> int:
        """Tokens that were trained."""
        return sum(len(tokens) - start for tokens, start, _ in self.rows)


@dataclass
class Grpo:
    """GRPOTrainer on one model file; `asked` and `row_lengths` say what the next step samples."""

    folder: Path
    dtype: str
    group: int
    num_rows: int
    new: int
    reward: Callable[[Sequence[int], int], float]
    device: str = "cpu"
    asked: list[list[int]] = field(default_factory=list)
    row_lengths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        import datasets
        import trl
        from transformers import AutoTokenizer

        made = trl.GRPOConfig(
            output_dir=str(scratch()), loss_type="dapo", epsilon=CLIP_LOW, epsilon_high=CLIP_HIGH,
            beta=0.0, temperature=1.0, top_p=1.0, top_k=0, num_generations=self.group,
            max_completion_length=self.new, per_device_train_batch_size=self.num_rows,
            use_cpu=self.device == "cpu", **COMMON,
        )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.trainer = trl.GRPOTrainer(
            model=peer_model(self.folder, self.dtype, self.device), reward_funcs=self._rewards, args=made,
            train_dataset=datasets.Dataset.from_list([{"prompt": "a"}] * self.num_rows), processing_class=tokenizer,
        )  # fmt: skip
        self.model = self.trainer.model
        self.optimizer = self.trainer.create_optimizer()
        self.end_id = tokenizer.eos_token_id
        self._plain_generate = self.model.generate
        self.model.generate = self._generate
        self.sampling_s = self.step_s = 0.0
        self.split(1)

    def split(self, num: int) -> None:
        """Train a step's rows in `num` micro-batches; they are sampled together all the same."""
        self.num_micro = num
        args, trainer = self.trainer.args, self.trainer
        args.per_device_train_batch_size = self.num_rows // num
        args.gradient_accumulation_steps = args.steps_per_generation = num
        trainer.current_gradient_accumulation_steps = num
        trainer._step, trainer._buffered_inputs = 0, None

    def restore(self) -> None:
        """The weights of the file again."""
        self.model.load_state_dict(peer_model(self.folder, self.dtype, self.device).state_dict())

    def backward(self) -> None:
        """Sample, score and leave the gradient in the weights."""
        inputs = [{"prompt": "".join(map(chr, p)), "number": i} for i, p in enumerate(self.asked)
                  for _ in range(self.group)]  # fmt: skip
        for _ in range(self.num_micro):
            self.trainer.training_step(self.model, inputs, None)

    def step(self) -> float:
        """One whole step."""
        start = time.perf_counter()
        self.backward()
        self.trainer.accelerator.clip_grad_norm_(self.model.parameters(), MAX_GRAD_NORM)
        self.optimizer.step()
        self.model.zero_grad()
        self.step_s = time.perf_counter() - start
        return 1.0

    def trained(self) -> Trained:
        """What the last `backward` trained on and what came of it."""
        rows = []
        for part in self.trainer._buffered_inputs:
            for i, advantage in enumerate(part["advantages"].tolist()):
                prompt = part["prompt_ids"][i][part["prompt_mask"][i].bool()].tolist()
                completion = part["completion_ids"][i][part["completion_mask"][i].bool()].tolist()
                rows.append((prompt + completion, len(prompt), advantage))
        return Trained(rows, {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None})

    def _generate(self, **how: Any) -> Any:
        ends = prescribed(self.row_lengths, how["input_ids"].shape[1], self.end_id, self.device)
        start = time.perf_counter()
        made = self._plain_generate(**how, logits_processor=[ends])
        self.sampling_s = time.perf_counter() - start
        return made

    def _rewards(self, completion_ids: list[list[int]], number: list[int], **_: Any) -> list[float]:
        return [self.reward(ids, i) for ids, i in zip(completion_ids, number, strict=True)]
