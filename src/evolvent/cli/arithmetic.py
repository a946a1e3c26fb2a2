"""What a plan amounts to: rows, tokens, micro-batches, memory, and a guess of the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolvent.models.spec import ModelSpec
from evolvent.plans import Improve, Phase

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FLOPS_PER_S = 60e9  # what one CPU thread of 2024 gives small float32 matrix products, roughly
SHARE_OF_BUDGET = 0.1  # how much of its context budget a trace uses, roughly


def derive_arithmetic(plan: Improve, policies: Mapping[str, Any] | None) -> dict[str, Any]:
    """Numbers for one step of practice and for the whole run; estimates are named so."""
    weights = _num_weights(plan, policies)
    phases = {"practice": plan.practice, **({"cold_start": plan.cold_start} if plan.cold_start else {})}
    derived: dict[str, Any] = {name: _of_phase(plan, phase) for name, phase in phases.items()}
    num_bytes = BYTES.get(plan.dtype, 4)
    activations = plan.micro_tokens * _width(plan, policies) * 40 * num_bytes
    derived["weights"] = weights
    local = [p for p in (policies or {}).values() if hasattr(p, "engine")]
    derived["engine"] = ", ".join(sorted({p.engine.name for p in local})) or plan.engine
    derived["device"] = ", ".join(sorted({str(p.parameters()[0].device) for p in local})) or plan.device
    derived["estimated_memory_mb"] = round((weights * (num_bytes * 2 + 8) + activations) / 1e6 + 450)
    phases_alone = [d for d in derived.values() if isinstance(d, dict)]
    tokens = sum(d["max_tokens_per_step"] * d["steps"] * SHARE_OF_BUDGET for d in phases_alone)
    threads = min(plan.num_threads, 8)
    derived["estimated_minutes"] = round(tokens * weights * 8 / (FLOPS_PER_S * threads) / 60, 1)
    return derived


def _of_phase(plan: Improve, phase: Phase) -> dict[str, int]:
    rows = phase.tasks_per_step * phase.group_size * len(plan.seats)
    most = rows * plan.budgets.context_tokens
    return {
        "steps": phase.num_steps,
        "tasks_per_step": phase.tasks_per_step,
        "group_size": phase.group_size,
        "rows_per_step": rows,
        "max_tokens_per_step": most,
        "max_micro_batches": -(-most // plan.micro_tokens),
    }


def _num_weights(plan: Improve, policies: Mapping[str, Any] | None) -> int:
    if policies:
        local = [policy.model for policy in policies.values() if hasattr(policy, "engine")]
        return sum(p.numel() for model in local for p in model.parameters())
    if isinstance(plan.model, ModelSpec):
        spec = plan.model
        width, inner = spec.width, spec.feedforward_width
        return spec.depth * (4 * width * width + 3 * width * inner) + (spec.vocab_size or 265) * width
    return 0


def _width(plan: Improve, policies: Mapping[str, Any] | None) -> int:
    if isinstance(plan.model, ModelSpec):
        return plan.model.width * plan.model.depth
    widths = [p.model.config.hidden_size * p.model.config.num_hidden_layers for p in (policies or {}).values()
              if hasattr(getattr(p, "model", None), "config")]  # fmt: skip
    return max(widths, default=0)
