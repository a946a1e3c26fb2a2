"""From the word agent= to a proposer: a command line in a room of its own, or a policy with the built-in edit loop."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput

if TYPE_CHECKING:
    from evolvent.hive.agents.command_agent import CommandAgent
    from evolvent.hive.agents.edit_loop import EditLoop
    from evolvent.hive.agents.files import Seat

COMMAND_FIELDS = ("mode", "limit_s", "grace_s", "isolate", "see", "env", "memory_mb", "processes")
EDIT_FIELDS = ("context_tokens", "answer_tokens", "temperature", "price", "api_key_env", "eval_s", "timeout_s")
SCRIPTS = (".py", ".sh", ".js", ".mjs", ".rb", ".pl")
Tell = Callable[[str], None]


def build_command_agent(command: str, fields: dict[str, str], seat: Seat, tell: Tell = print) -> CommandAgent:
    """A command line as an agent; takes its own fields out of `fields`."""
    from evolvent.hive.agents.bounds import Bounds
    from evolvent.hive.agents.command_agent import CommandAgent, Mode
    from evolvent.hive.agents.room import check_sight, choose

    own = {name: fields.pop(name) for name in COMMAND_FIELDS if name in fields}
    mode = own.get("mode", Mode.ONCE)
    if mode not in list(Mode):
        raise BadInput("unknown mode", where="mode", got=mode, wanted=" | ".join(Mode))
    isolate, warning = choose(own.get("isolate"))
    if warning:
        tell(f"warning: {warning}")
    command, named = settle_command(command)
    see = tuple(check_sight(path, seat.folder) for path in (*named, *map(Path, _words(own.get("see", "")))))
    return CommandAgent(
        command=command,
        seat=seat,
        isolate=isolate,
        mode=Mode(mode),
        limit_s=_number(own, "limit_s", 1800.0),
        grace_s=_number(own, "grace_s", 5.0),
        bounds=Bounds(int(_number(own, "memory_mb", 4096)), int(_number(own, "processes", 1024))),
        see=see,
        env=tuple(_words(own.get("env", ""))),
        tell=tell,
    )


def settle_command(command: str) -> tuple[str, list[Path]]:
    """The command with the files that it names by whole paths, and these: it runs in a tree, and not where we are."""
    from evolvent.hive.agents.command_agent import split

    words, named = split(command), []
    for place, word in enumerate(words):
        path = Path(word).expanduser()
        if ("/" in word or path.suffix in SCRIPTS) and path.is_file():
            words[place] = str(path.absolute())  # a link stays a link: that is how a virtual environment knows its home
            named.append(path.absolute())
    return shlex.join(words), named


def build_edit_loop(word: str, fields: dict[str, str], tell: Tell = print) -> EditLoop:
    """A policy as an agent: URL#MODEL, a run, checkpoint, hub id or nano; takes its own fields out of `fields`."""
    from evolvent.hive.agents.edit_loop import EditLoop

    own = {name: fields.pop(name) for name in EDIT_FIELDS if name in fields}
    policy, context = _build_policy(word, own)
    context_tokens = int(_number(own, "context_tokens", context))
    return EditLoop(
        policy=policy,
        context_tokens=context_tokens,
        answer_tokens=int(_number(own, "answer_tokens", min(2048, context_tokens // 4))),
        temperature=_number(own, "temperature", 1.0),
        price=_price(own.get("price")),
        limit_s=_number(own, "eval_s", 120.0),
        tell=tell,
    )


def _build_policy(word: str, own: dict[str, str]) -> tuple[Any, int]:
    """The policy, and how many tokens it can read and write together."""
    from evolvent.cli.subject import build_policies, find_subject
    from evolvent.hive.agents.edit_loop import BY_COUNT

    subject = find_subject(word)
    idle = [name for name in ("api_key_env", "price", "timeout_s") if name in own and not subject.is_endpoint]
    if idle:
        raise BadInput(f"{idle[0]} has no effect on local weights", where=f"agent={word}", cure="leave it out")
    policies = build_policies(subject, subject.setting)
    if len(policies) != 1:
        got, cure = ", ".join(policies), "name the folder of one of them in checkpoints/step-NNNNNN/"
        raise BadInput("several policies, one agent", where=f"agent={word}", got=got, cure=cure)
    [policy] = policies.values()
    if not subject.is_endpoint:
        return policy, int(getattr(policy, "max_context", 4096))
    timeout_s, key = _number(own, "timeout_s", 300.0), own.get("api_key_env")
    served: Any = policy
    endpoint = replace(served, api_key_env=key, timeout_s=timeout_s, price_per_million=BY_COUNT)
    return endpoint, subject.setting.budgets.context_tokens


def _price(text: str | None) -> tuple[float, float]:
    """What a million tokens cost, in and out; one number is both."""
    if text is None:
        return 0.0, 0.0
    try:
        prices = [float(word) for word in text.split(",")]
    except ValueError:
        prices = []
    if len(prices) not in (1, 2) or not all(math.isfinite(price) and price >= 0 for price in prices):
        raise BadInput("this is no price", where="price", got=text, wanted="IN,OUT of a million tokens, such as 0.25,2")
    return prices[0], prices[-1]


def _number(own: dict[str, str], name: str, default: float) -> float:
    try:
        value = float(own.get(name, default))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise BadInput("not a number", where=name, got=own.get(name), wanted="a number >= 0")
    return value


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]
