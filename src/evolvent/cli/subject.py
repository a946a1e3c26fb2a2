"""From the word POLICY to the thing itself: a run, a checkpoint, a model folder, nano or a URL, and how it plays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

from evolvent.cli.fit import check_context
from evolvent.cli.main import Command
from evolvent.cli.values import override, parse_plan
from evolvent.envs import Toolbox, calc
from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput, StoreError, nearest
from evolvent.evals.measure import Suite
from evolvent.models.spec import NANO
from evolvent.plans import Improve
from evolvent.policies.policy import Policy
from evolvent.rewards import Judge, by_task
from evolvent.rollouts.play import Workflow
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import tool_loop
from evolvent.store import Run
from evolvent.tasks.source import Source

LOCAL_ONLY = ("device", "dtype", "engine", "num_threads")
ENDPOINT_ONLY = ("max_concurrent", "api_key_env")
ENDPOINT_BUDGETS = Budgets(turn_tokens=1024, context_tokens=16384, episode_tokens=4096)


@dataclass(frozen=True)
class Setting:
    """How a policy is asked: its tasks, tools, judge and budgets; each field may be set on the command line."""

    source: Source | str
    workflow: Workflow
    world: WorldPlan
    reward: Judge
    budgets: Budgets
    temperature: float = 1.0
    seed: int = 0
    num_threads: int = 2
    engine: str = "auto"
    device: str = "auto"
    dtype: str = "float32"
    max_concurrent: int = 8
    api_key_env: str | None = None


@dataclass(frozen=True)
class Subject:
    """What POLICY stands for: what to build for each policy name, who sits where, and the run that it came from."""

    policy: str
    models: Mapping[str, Any]
    seats: Mapping[str, str]
    setting: Setting
    run: Run | None = None
    suite: Suite | None = None
    step: int | None = None

    @property
    def is_endpoint(self) -> bool:
        """Whether somebody else's server answers."""
        return self.policy.startswith(("http://", "https://"))


def find_subject(word: str) -> Subject:
    """What the word stands for; a checkpoint inside a run directory brings the run's plan with it."""
    if word.startswith(("http://", "https://")):
        longest = _served_context(word)
        return _alone(word, word, ENDPOINT_BUDGETS if longest is None else fitting_budgets(longest))
    if word == "nano":
        return _alone(word, NANO, fitting_budgets(NANO.max_context))
    path = Path(word).expanduser()
    if not path.is_dir():
        _check_hub_id(word, path)
        return _alone(word, word, fitting_budgets(4096))
    path = path.resolve()
    if (path / "run.json").is_file():
        return _of_run(Run.reopen(path), None, None)
    home = path if re.match(r"step-\d+$", path.name) else path.parent
    run = home.parent.parent
    if home.parent.name == "checkpoints" and (run / "run.json").is_file():
        return _of_run(Run.reopen(run), home, path if path != home else None)
    return _alone(str(path), str(path), fitting_budgets(_max_context(path)))


def settle(subject: Subject, command: Command, own: tuple[str, ...] = ()) -> Setting:
    """The subject's Setting with the command's fields put in; `own` are keys that the verb reads itself."""
    fields = {k: v for k, v in command.fields.items() if k not in own}
    for key, value in fields.items():
        if key in (LOCAL_ONLY if subject.is_endpoint else ENDPOINT_ONLY):
            kind = "an endpoint" if subject.is_endpoint else "local weights"
            raise BadInput(
                f"{key} has no effect on {kind}",
                where=f"evolvent {command.verb}",
                got=f"{key}={value}",
                cure="leave it out",
            )
    known = [*own, *(f for f in Setting.__dataclass_fields__)]
    unknown = next((k for k in fields if k.split(".")[0] not in known), None)
    if unknown is not None:
        raise BadInput(
            f"no field {unknown!r}", where=f"evolvent {command.verb}", got=unknown, cure=nearest(unknown, known)
        )
    setting: Setting = override(subject.setting, fields)
    return setting if command.seed is None else replace(setting, seed=command.seed)


def build_policies(subject: Subject, setting: Setting) -> dict[str, Policy]:
    """The policies at work, with threads and device as the setting says."""
    from evolvent.policies.build import build_policy, endpoint_at

    if subject.is_endpoint:
        server = endpoint_at(subject.policy, "agent")
        return {"agent": replace(server, max_concurrent=setting.max_concurrent, api_key_env=setting.api_key_env)}
    import torch

    from evolvent.models.devices import keep_freed_memory

    torch.set_num_threads(setting.num_threads)
    keep_freed_memory()
    policies = {
        name: build_policy(
            model,
            name=name,
            seed=setting.seed,
            dtype=setting.dtype,
            device=setting.device,
            engine=setting.engine,
        )
        for name, model in subject.models.items()
    }
    for name, policy in policies.items():
        check_context(name, policy, setting.budgets)
    return policies


def fitting_budgets(max_context: int) -> Budgets:
    """Budgets for a model about which only its context is known: a quarter a turn, half an episode."""
    context = min(max_context, 8192)
    return Budgets(max(1, min(1024, context // 4)), context, max(1, min(4096, context // 2)))


def one_word(command: Command, wanted: str) -> str:
    """The one word that a verb is about."""
    if len(command.words) != 1:
        raise BadInput(
            f"{command.verb} takes one {wanted}",
            where=f"evolvent {command.verb}",
            got=" ".join(command.words) or "nothing",
            wanted=wanted,
            cure=f"evolvent {command.verb} --help",
        )
    return command.words[0]


# ---------------------------------------------------------------- the kinds


def _alone(policy: str, model: Any, budgets: Budgets) -> Subject:
    setting = Setting("chain", tool_loop, Toolbox((calc,)), by_task, budgets)
    return Subject(policy, {"agent": model}, {"agent": "agent"}, setting)


def _of_run(run: Run, checkpoint: Path | None, chosen: Path | None) -> Subject:
    """A run's policies from a checkpoint (its last one), each from its own folder; frozen ones as the plan says."""
    kept = run.last_checkpoint()
    if checkpoint is None:
        if kept is None:
            raise StoreError(
                "the run has no checkpoint yet",
                where=str(run.path),
                wanted="a folder in checkpoints/",
                cure=f"go on with it: evolvent run --resume {run.path}",
            )
        checkpoint = kept[1]
    plan = parse_plan(run.plan_json, str(run.path / "plan.json"))
    models = {name: _model_of(plan, name, checkpoint) for name in sorted(set(plan.seats.values()))}
    if chosen is not None and chosen.name not in models:
        raise BadInput(
            "the plan of this run has no such policy", where=str(chosen), got=chosen.name, wanted=", ".join(models)
        )
    setting = Setting(
        plan.source,
        plan.workflow,
        plan.world,
        plan.measured_by,
        plan.budgets,
        plan.temperature,
        plan.seed,
        plan.num_threads,
        plan.engine,
        plan.device,
        plan.dtype,
    )
    shown = chosen or (checkpoint / next(iter(models)) if len(models) == 1 else checkpoint)
    step = int(checkpoint.name.rpartition("-")[2])
    return Subject(str(shown.absolute()), models, plan.seats, setting, run, plan.suite, step)


def _model_of(plan: Improve, name: str, checkpoint: Path) -> Any:
    if name in plan.trained:
        return str(checkpoint / name)
    return plan.model[name] if isinstance(plan.model, Mapping) else plan.model


def _check_hub_id(word: str, path: Path) -> None:
    """A word that is no folder may be owner/name of the hub, unless it looks like a path that should be there."""
    if re.fullmatch(r"[\w-]+/[\w.-]+", word) and not path.parent.is_dir():
        return
    homes = [path.parent] if path.parent != Path() else [Path("runs"), Path()]
    beside = [str(p) for home in homes if home.is_dir() for p in home.iterdir() if _holds_weights(p)]
    raise BadInput(
        "no such policy",
        where=word,
        got="a file" if path.is_file() else "no such folder",
        wanted="a run, a checkpoint, a model folder, owner/name of the hub, nano, or a URL such as http://127.0.0.1:8000/v1",
        cure=nearest(word, beside) if beside else "evolvent run makes one",
    )


def _holds_weights(path: Path) -> bool:
    return (path / "run.json").is_file() or (path / "config.json").is_file()


def _served_context(url: str) -> int | None:
    """The context of a served model where the server tells it (vLLM and `evolvent serve` do, as max_model_len)."""
    import httpx

    base, model = urldefrag(url)
    try:
        listed = httpx.get(f"{base.rstrip('/')}/models", timeout=5).raise_for_status().json()["data"]
        found = next(m for m in listed if not model or m["id"] == model)
        return int(found["max_model_len"])
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError, StopIteration):
        return None


def _max_context(folder: Path) -> int:
    """What config.json says, read without loading anything; what is wrong with a folder is found when it is loaded."""
    try:
        return int(json.loads((folder / "config.json").read_text("utf-8"))["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 512
