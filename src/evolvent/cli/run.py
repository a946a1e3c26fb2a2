"""`evolvent run`: from a plan to a finished run directory, with the arithmetic first and the next commands last."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolvent.cli.fit import check_fit, check_source
from evolvent.cli.main import Command
from evolvent.cli.outside import rehearse, stage_of, take_agent, with_agent
from evolvent.cli.screen import Screen, print_summary
from evolvent.cli.ticks import hearing_ctrl_c
from evolvent.cli.values import override, parse_plan, read_plan
from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.evals.summary import summarize_run
from evolvent.plans import Improve, check
from evolvent.serve.agent import OutsideAgent
from evolvent.store import Run, write_report_page, write_text
from evolvent.synthesis.trust import refuse_unproven


def main(command: Command) -> dict[str, Any]:
    """Train; the answer is the summary."""
    screen, agent = Screen(as_json=command.json), None
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
        plan, agent, out = asked_plan(command), named_agent(command), command.fields.get("out")
        source = check_source(plan)
        if command.dry_run:
            return show_arithmetic(plan, screen, out)
        if not plan.unproven:
            refuse_unproven(source, plan.world, plan.workflow, plan.truth)
        run = None
    policies = prepare(plan)
    if run is None:
        check_fit(plan, policies, source)
        if agent is not None:
            rehearse(agent, source, stage_of(plan, policies), screen)
        run = Run.create(to_json(plan, indent=1) + "\n", plan.recipe, plan.seed, Path(out) if out else None)
    show_arithmetic(plan, screen, str(run.path), policies)
    return carry_out(plan, policies, run, screen)


def asked_plan(command: Command) -> Improve:
    """The plan that the words of a command ask for, checked."""
    fields = {key: text for key, text in command.fields.items() if key != "out"}
    agent = take_agent(fields)
    plan = override(read_plan(command.words), fields)
    plan = plan if command.seed is None else replace(plan, seed=command.seed)
    return check(plan if agent is None else with_agent(plan, agent, fields))


def named_agent(command: Command) -> OutsideAgent | None:
    """The agent from outside that a command names."""
    return take_agent(dict(command.fields))


def carry_out(plan: Improve, policies: Mapping[str, Any], run: Run, screen: Screen) -> dict[str, Any]:
    """Run the circle, then write and print what came out."""
    from evolvent.loop import improve

    start = time.perf_counter()
    try:
        with screen.progress(plan), hearing_ctrl_c() as heard:

            def watch(event: Mapping[str, Any]) -> None:
                heard()
                screen.watch(event)

            # the tasks were proven before the folder was made
            reports = improve(replace(plan, unproven=True), policies, run, watch)
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
    from evolvent.effects.arms import build_policies
    from evolvent.models.devices import keep_freed_memory

    keep_freed_memory()
    policies = build_policies(plan)
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
