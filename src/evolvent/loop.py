"""The circle: draw tasks, play them, score, credit, update, measure, adapt the curriculum - and again."""

from __future__ import annotations

from collections.abc import Mapping

from evolvent.live import Live, Watch
from evolvent.plans import Improve, check
from evolvent.policies.policy import Policy
from evolvent.records import Report
from evolvent.store import Run


def improve(plan: Improve, policies: Mapping[str, Policy], run: Run, watch: Watch = lambda _: None) -> list[Report]:
    """Run a plan from where its directory stands to its end; returns the reports of the last measurement."""
    with run.lock(), Live(check(plan), policies, run, watch) as live:
        for step in live.steps():
            phase = live.phase(step)
            scored = live.refill(step, phase, live.score(step, live.play(step, phase)))
            batches = {name: live.assign(step, scored, phase, name) for name in plan.trained}
            numbers = {name: live.update(phase, name, batch) for name, batch in batches.items()}
            live.observe(step, phase, scored, batches, numbers)
            if live.is_due(step):
                live.measure(step)
            if number := live.round_due(step):
                live.hold_round(step, number)
            live.keep(step)
        return [r for r in run.reports() if r.step == live.last]
