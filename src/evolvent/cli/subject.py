"""From the word POLICY to the thing itself: a run, a checkpoint, a model folder, nano or a URL, and how it is played."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command
from evolvent.cli.values import override
from evolvent.envs import Toolbox, calc
from evolvent.envs.world import WorldPlan
from evolvent.errors import BadInput, EvolventError, StoreError, nearest
from evolvent.evals.measure import Suite
from evolvent.models.spec import NANO
from evolvent.plans import Improve
from evolvent.policies.policy import Policy
from evolvent.records import from_json
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
        return _alone(word, word, ENDPOINT_BUDGETS)
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
    for key in fields:
        if key in (LOCAL_ONLY if subject.is_endpoint else ENDPOINT_ONLY):
            kind = "an endpoint" if subject.is_endpoint else "local weights"
            raise BadInput(f"{key} has no effect on {kind}", where=f"evolvent {command.verb}", got=f"{key}={fields[key]}",
                           cure="leave it out")  # fmt: skip
    known = [*own, *(f for f in Setting.__dataclass_fields__)]
    unknown = next((k for k in fields if k.split(".")[0] not in known), None)
    if unknown is not None:
        raise BadInput(f"no field {unknown!r}", where=f"evolvent {command.verb}", got=unknown, cure=nearest(unknown, known))
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
    how = {"seed": setting.seed, "dtype": setting.dtype, "device": setting.device, "engine": setting.engine}
    policies = {name: build_policy(model, name=name, **how) for name, model in subject.models.items()}
    for name, policy in policies.items():
        check_context(name, policy, setting.budgets)
    return policies


def check_context(name: str, policy: Policy, budgets: Budgets) -> None:
    """BadInput where a trace could grow longer than what the model can read."""
    longest = getattr(policy, "max_context", None)
    if longest is not None and budgets.context_tokens > longest:
        raise BadInput("a trace could be longer than the context of the model", where="budgets.context_tokens",
                       got=budgets.context_tokens, wanted=f"at most {longest} for policy {name!r}",
                       cure=f"budgets.context_tokens={longest}, or a model with a longer context")  # fmt: skip


def read_stored_plan(run: Run) -> Improve:
    """The plan that a run wrote down before its first step."""
    try:
        plan = from_json(run.plan_json)
    except EvolventError:
        raise
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise StoreError("plan.json is broken", where=str(run.path / "plan.json"), got=str(error),
                         cure="restore the file from a copy") from error  # fmt: skip
    if not isinstance(plan, Improve):
        raise StoreError("plan.json holds no plan", where=str(run.path / "plan.json"), got=type(plan).__name__, wanted="Improve")
    return plan


def fitting_budgets(max_context: int) -> Budgets:
    """Budgets for a model about which only its context is known: a quarter a turn, half an episode."""
    context = min(max_context, 8192)
    return Budgets(max(1, min(1024, context // 4)), context, max(1, min(4096, context // 2)))


def one_word(command: Command, wanted: str) -> str:
    """The one word that a verb is about."""
    if len(command.words) != 1:
        raise BadInput(f"{command.verb} takes one {wanted}", where=f"evolvent {command.verb}", got=" ".join(command.words) or "nothing",
                       wanted=wanted, cure=f"evolvent {command.verb} --help")  # fmt: skip
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
            raise StoreError("the run has no checkpoint yet", where=str(run.path), wanted="a folder in checkpoints/",
                             cure=f"go on with it: evolvent run --resume {run.path}")  # fmt: skip
        checkpoint = kept[1]
    plan = read_stored_plan(run)
    models = {name: _model_of(plan, name, checkpoint) for name in sorted(set(plan.seats.values()))}
    if chosen is not None and chosen.name not in models:
        raise BadInput("the plan of this run has no such policy", where=str(chosen), got=chosen.name, wanted=", ".join(models))
    setting = Setting(
        plan.source, plan.workflow, plan.world, plan.reward, plan.budgets, plan.temperature, plan.seed,
        plan.num_threads, plan.engine, plan.device, plan.dtype,
    )  # fmt: skip
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


def _max_context(folder: Path) -> int:
    """What config.json says, read without loading anything; what is wrong with the folder is found when it is loaded."""
    try:
        return int(json.loads((folder / "config.json").read_text("utf-8"))["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 512
