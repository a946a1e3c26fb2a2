"""Sampling groups: our engine beside transformers' generate, at fixed lengths and where rows end at different times."""

from __future__ import annotations

from typing import Any

from bench.inputs import SIZES, model_folder, num_matmul_weights, our_policy, peer_model, prompts
from bench.rows import Row, Side, alternate, compared, matmul_rate

NUM_PROMPTS, GROUP = 64, 8
NUM_ENDS = 16  # so many ids end a row, which gives lengths a long tail around 264 / 16
TARGETS = {"fixed": 1.6, "real": 2.5}


def cases(full: bool) -> list[dict[str, Any]]:
    """The grid: sizes, number types, threads, lengths, and the peer's two kinds of cache."""
    sizes, news = (list(SIZES), (64, 128)) if full else (["0.3M", "3M"], (64,))
    grid = [
        {"size": size, "dtype": dtype, "threads": threads, "new": new, "lengths": "fixed", "cache": cache}
        for size in sizes for dtype in ("float32", "bfloat16") for threads in (1, 2) for new in news
        for cache in (("dynamic", "static") if full else ("dynamic",))
    ]  # fmt: skip
    real = [
        {"size": size, "dtype": "float32", "threads": threads, "new": 128, "lengths": "real", "cache": "dynamic"}
        for size in sizes for threads in (1, 2)
    ]  # fmt: skip
    return grid + real


def measure(size: str, dtype: str, threads: int, new: int, lengths: str, cache: str, pairs: int = 5) -> list[Row]:
    """One row."""
    import torch

    folder = model_folder(size)
    policy, peer = our_policy(folder, dtype), peer_model(folder, dtype)
    ends = frozenset(range(128, 128 + NUM_ENDS)) if lengths == "real" else frozenset()
    policy.renderer.stop_ids = ends
    asked = prompts(NUM_PROMPTS, *((24, 24) if lengths == "fixed" else (12, 48)))
    ours, sampled = _ours(policy, asked, new)
    theirs = _theirs(peer, asked, new, ends, cache, policy.pad_id)
    ours.run()
    same = _same_logprobs(peer, sampled, 1e-4 if dtype == "float32" else 0.15)
    rates = alternate(ours, theirs, pairs)
    settings = {"size": size, "dtype": dtype, "threads": threads, "new": new, "cache": cache}
    name = f"sampling, {lengths} length" if lengths == "fixed" else "sampling, real lengths"
    rate = matmul_rate(getattr(torch, dtype))
    why = "" if lengths == "fixed" else "rows end at random, so both sides draw as many rows, not the same tokens"
    return [compared(name, f"transformers generate ({cache} cache)", rates, unit="tokens/s", same_work=same,
                     target=TARGETS[lengths], settings=settings, why=why,
                     flops_per_unit=2 * num_matmul_weights(peer), flops_per_s=rate)]  # fmt: skip


def _ours(policy: Any, asked: list[list[int]], new: int) -> tuple[Side, list[Any]]:
    from evolvent.records import Prompt, Sampling

    rows = [Prompt((), tokens=tuple(p), stream=(i, j)) for i, p in enumerate(asked) for j in range(GROUP)]
    last: list[Any] = []

    def run() -> float:
        made = policy.sample_now(rows, Sampling(new, seed=1))
        policy.forget()
        last[:] = list(zip(rows, made, strict=True))
        return float(sum(len(c.tokens) for c in made))

    return Side(run), last


def _theirs(peer: Any, asked: list[list[int]], new: int, ends: frozenset[int], cache: str, pad_id: int) -> Side:
    import torch

    longest = max(map(len, asked))
    token_BT = torch.tensor([[pad_id] * (longest - len(p)) + p for p in asked])
    seen_BT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in asked])
    how = {
        "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": new, "pad_token_id": pad_id,
        "num_return_sequences": GROUP, "eos_token_id": sorted(ends) or None,
        **({"cache_implementation": "static", "disable_compile": True} if cache == "static" else {}),
    }  # fmt: skip
    peer.generation_config.eos_token_id = None

    def run() -> float:
        torch.manual_seed(1)
        with torch.no_grad():
            made = peer.generate(input_ids=token_BT, attention_mask=seen_BT, **how)[:, longest:]
        if not ends:
            return float(made.numel())
        stopped = torch.isin(made, torch.tensor(sorted(ends))).int()
        before = (stopped.cumsum(-1) - stopped) == 0
        return float(before.sum())

    return Side(run)


def _same_logprobs(peer: Any, sampled: list[Any], tolerance: float) -> bool:
    """Whether plain transformers gives our recorded tokens the log-probabilities that we recorded."""
    import torch

    worst = 0.0
    for prompt, made in sampled[:: max(1, len(sampled) // 24)]:
        tokens = torch.tensor([[*prompt.tokens, *made.tokens]])
        with torch.no_grad():
            logprob_TV = peer(tokens).logits[0, len(prompt.tokens) - 1 : -1].float().log_softmax(-1)
        own = logprob_TV.gather(-1, torch.tensor(made.tokens)[:, None])[:, 0]
        worst = max(worst, float((own - torch.tensor(made.model_logprobs)).abs().max()))
    return worst <= tolerance
