"""`evolvent run`: from a plan to a finished run directory, with the arithmetic first and the next commands last."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolvent.cli.fit import check_fit, check_source
from evolvent.cli.main import Command
from evolvent.cli.screen import Screen, print_summary
from evolvent.cli.values import override, parse_plan, read_plan
from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.evals.summary import summarize_run
from evolvent.plans import Improve, check
from evolvent.store import Run, write_report_page, write_text

NUM_TEXTS = 2000  # training tasks that teach a learned vocabulary


def main(command: Command) -> dict[str, Any]:
    """Train; the answer is the summary."""
    screen = Screen(as_json=command.json)
    if command.resume:
        if command.words or command.fields or command.seed is not None:
            raise BadInput(
                "a resumed run keeps its plan",
                where="--resume",
                got=" ".join([*command.words, *command.fields]),
                cure="leave the other words out, or start a new run",
            )
        run = Run.reopen(Path(command.resume))
        plan = parse_plan(run.plan_json, str(run.path / "plan.json"))
    else:
        fields = dict(command.fields)
        out = fields.pop("out", None)
        plan = override(read_plan(command.words), fields)
        plan = check(plan if command.seed is None else replace(plan, seed=command.seed))
        source = check_source(plan)
        if command.dry_run:
            return show_arithmetic(plan, screen, out)
        run = None
    policies = prepare(plan)
    if run is None:
        check_fit(plan, policies, source)
        run = Run.create(to_json(plan, indent=1) + "\n", plan.recipe, plan.seed, Path(out) if out else None)
    show_arithmetic(plan, screen, str(run.path), policies)
    return carry_out(plan, policies, run, screen)


def carry_out(plan: Improve, policies: Mapping[str, Any], run: Run, screen: Screen) -> dict[str, Any]:
    """Run the circle, then write and print what came out."""
    from evolvent.loop import improve

    start = time.perf_counter()
    try:
        with screen.progress(plan):
            reports = improve(plan, policies, run, screen.watch)
        run.time(reports[0].step, {"total_s": time.perf_counter() - start})
    except KeyboardInterrupt:
        kept = run.last_checkpoint()
        at = f"step {kept[0]}" if kept else "nothing (it starts again from the beginning)"
        print(f"\nstopped; kept: {at}\n  go on with: evolvent run --resume {run.path}", file=sys.stderr)
        raise SystemExit(130) from None
    return finish(run, screen)


def finish(run: Run, screen: Screen) -> dict[str, Any]:
    """Summary, page and next commands of a finished run."""
    summary = summarize_run(run, find_control(run))
    write_text(run.path / "summary.json", json.dumps(summary, indent=1) + "\n")
    page = write_report_page(run, summary)
    print_summary(screen, summary, page)
    return summary


def prepare(plan: Improve) -> dict[str, Any]:
    """The policies that a plan names, with threads set as the plan says."""
    import torch

    from evolvent import tasks
    from evolvent.models.devices import keep_freed_memory
    from evolvent.policies.build import build_policy

    torch.set_num_threads(plan.num_threads)
    keep_freed_memory()
    source = tasks.source(plan.source, plan.seed) if isinstance(plan.source, str) else plan.source
    policies = {}
    for number, name in enumerate(sorted(set(plan.seats.values()))):
        model = plan.model[name] if isinstance(plan.model, Mapping) else plan.model
        policies[name] = build_policy(
            model,
            name=name,
            seed=plan.seed + number,  # two new policies do not begin as one
            texts=training_texts(source),
            dtype=plan.dtype,
            device=plan.device,
            adapter=plan.adapter,
            engine=plan.engine,
            gradient_checkpointing=plan.gradient_checkpointing,
        )
    for name in plan.trained:
        if not hasattr(policies[name], "logprobs"):
            raise BadInput(
                "this model cannot be trained",
                where=f"model of {name!r}",
                got=type(policies[name]).__name__,
                wanted="local weights",
                cure="`evolvent eval` measures an endpoint",
            )
    return policies


def training_texts(source: Any) -> Iterable[str]:
    """Words of the training split, and of nothing else."""
    cells = [(f, level) for f in source.families for level in source.levels(f)]
    for i, (family, level) in zip(range(NUM_TEXTS), itertools.cycle(cells), strict=False):
        limit = source.num_tasks(family, level, "train")
        task = source.task(family, level, i if limit is None else i % limit, "train")
        yield task.question
        if task.private is not None:
            yield from (m.text for m in task.private.solution)


def find_control(run: Run) -> Run | None:
    """A finished imitation run beside this one, from the same cold start, if there is one."""
    plan = from_json(run.plan_json)
    if plan.practice_workflow is not None:
        return None
    for path in sorted(run.path.parent.glob(f"*-{run.seed}-*"), reverse=True):
        try:
            other = Run.reopen(path)
            theirs = from_json(other.plan_json)
        except (OSError, ValueError):
            continue
        same = all(getattr(plan, f) == getattr(theirs, f) for f in ("model", "source", "cold_start", "suite", "seed"))
        if same and theirs.practice_workflow is not None and (path / "summary.json").exists():
            return other
    return None


def show_arithmetic(
    plan: Improve, screen: Screen, out: str | None, policies: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the plan amounts to, before anything is spent."""
    from evolvent.cli.arithmetic import derive_arithmetic

    derived = derive_arithmetic(plan, policies)
    screen.print_arithmetic(plan, derived, out or f"runs/{plan.recipe}-{plan.seed}-<n>")
    return {"plan": json.loads(to_json(plan)), "arithmetic": derived}
