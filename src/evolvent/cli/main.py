"""Reads the words of a command, hands them to a verb, and turns what went wrong into a message."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolvent import __version__
from evolvent.errors import BadInput, EvolventError, MissingExtra, nearest

VERBS = {
    "run": ("train: a recipe or a plan.json, from first step to report", "[recipe|plan.json] [field=value ...]"),
    "eval": ("measure a checkpoint or an endpoint on held-out tasks", "POLICY [source=... num_tasks=... k=...]"),
    "collect": (
        "episodes of an agent as data: kept by score, in the forms of other trainers",
        "POLICY out=FOLDER [keep=...]",
    ),
    "play": ("talk to a checkpoint, and see its tool calls", "POLICY [source=... | your words]"),
    "show": ("a run in the terminal, or two runs beside each other", "RUN [CONTROL]"),
    "rescore": ("judge stored episodes again with another judge", "RUN reward=..."),
    "recipes": ("the published methods on offer", "[NAME]"),
    "effect": ("show whether a method does what it claims: treated against control", "NAME|--all [seeds=0,1,2]"),
    "synth": ("write worlds and tasks to a folder, screened", "worlds|tasks out=FOLDER [num=...]"),
    "check": ("make every task prove itself", "SOURCE|WORLD|FOLDER"),
    "world": ("try a world yourself, or serve one to agents from outside", "play|serve WORLD"),
    "doctor": ("what is installed, what works, and how to get the rest", ""),
    "serve": ("an OpenAI-compatible server over a checkpoint", "CHECKPOINT [--port N]"),
    "hive": (
        "many agents improve one artifact, and nobody can forge a score",
        "serve|work|join|swarm|new|open|board|admin|demo",
    ),
    "init": ("a new folder with a task source, a reward and an agent that run", "DIR"),
}
FLAGS = {
    "run": ("seed", "resume", "dry_run"),
    "eval": ("seed",),
    "collect": ("seed",),
    "play": ("seed",),
    "recipes": ("all",),
    "effect": ("all",),
    "serve": ("port",),
    "synth": ("seed",),
    "check": ("seed",),
    "world": ("seed", "port"),
    "hive": ("seed", "port"),
}
EXTRAS = {
    "torch": "train", "transformers": "train", "safetensors": "train", "peft": "train", "reasoning_gym": "reasoning",
    "tensorboard": "track", "trackio": "trackio", "wandb": "wandb",
    "psycopg": "postgres", "optuna": "search", "cmaes": "search", "ray": "ray",
    "mcp": "worlds", "faker": "worlds", "sklearn": "worlds", "gymnasium": "worlds", "websockets": "worlds",
}  # fmt: skip
_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "seed": ("the seed of every random stream; the same as seed=N", {"type": int}),
    "resume": ("go on with a run that was stopped", {"metavar": "RUN"}),
    "dry_run": ("print the arithmetic, and do nothing", {"action": "store_true"}),
    "all": ("every recipe", {"action": "store_true"}),
    "port": ("where the server listens on loopback; 0 takes a free port", {"type": int, "default": 8000}),
}
_DEFAULTS = {"seed": None, "resume": None, "dry_run": False, "all": False, "port": 8000}
EXAMPLES = """examples:
  evolvent run                              an agent teaches itself arithmetic with a calculator
  evolvent run --seed 1 reward=shuffled     the same with meaningless rewards: it must not get better
  evolvent run sft                          the control: imitation for as many tokens
  evolvent run source=countdown num_steps=40 --dry-run
  evolvent show runs/circle-0-1"""

POLICY = """POLICY is a run (its last checkpoint), a folder in its checkpoints/, a model folder, owner/name of the hub,
nano, or a server as http://127.0.0.1:8000/v1#MODEL. A run brings its own source, tools, judge, budgets and seed.
"""
KEYS = "  source= workflow= world= reward= budgets.turn_tokens= temperature= seed= num_threads= engine= device= dtype="
MORE = {
    "run": f"""A key is a field of the plan or a dotted path (cold_start.num_steps=200); see `evolvent recipes NAME`.
A value is JSON, else module:name(args), else a public name of the slot's stage (reward=shuffled).
out=FOLDER names the run's folder.
agent=FILE.py|FILE.py:function|module:function|"command line"|http://... trains an agent that was written elsewhere and
knows a base URL alone; agent.timeout_s= agent.max_at_once= agent.answer_is="last line"|output

{EXAMPLES}""",
    "eval": f"""{POLICY}
keys: num_tasks= (of each level) k= (attempts a task) level=2,3|all split=test|all agent= (as in run)
{KEYS}
  of a server: max_concurrent= api_key_env=""",
    "collect": f"""{POLICY}
Plays k attempts at each task, judges them, keeps what was asked for, and writes it as episodes.parquet, as JSON lines
for TRL (messages, and prompt with completion) and verifiers, and as ATIF. The same seed writes the same bytes, but for
agents from outside, which take their own time.

keys: out=FOLDER agent= (as in run; else the policy's own workflow) num_tasks= k= level= split=train|test
  keep=all|correct|best|shortest (of each task) min_score= max_score= min_mean= max_mean= (of the task's attempts)
  forms=trl,verifiers,atif
{KEYS}""",
    "play": f"""{POLICY}
Words behind POLICY are asked once; source=chain:3 draws held-out tasks and judges the answers;
with neither, each line of the input is a question.

keys: num_tasks= level=
{KEYS}""",
    "rescore": "keys: reward=exact|module:name step=100 name=after where='level = 2' (SQL over the episodes' columns)",
    "effect": """NAME is a recipe, or module:effect of your own. Each seed runs both arms on one thread, two seeds side
by side. Finished seeds are kept, and not measured again while code, plan and library versions stay the same.

keys: seeds=0,1,2 out=FOLDER (puts the result on the board there: effects.json, effects.html; with --all effects/)
  fresh=true (measure again) processes=2 cache=FOLDER (else $EVOLVENT_CACHE, else the user's cache folder)""",
    "check": """SOURCE is a family (chain, chain:2), reasoning_gym:NAME, a file of tasks, gym:ID, module:name(args);
FOLDER a corpus, a Harbor task or a folder of them. procedural:all and reasoning_gym:all take every family, each in a
process of its own. The exit status is 0 only where nothing failed; a warning is no failure.

keys: num_tasks= (of each level and split) num_attacked= max_floor= warn_floor= form_counts=true redraws=false
  out=FILE (the report) against=FILE (an earlier one: changed files fail) world= workflow= reward= truth=
  timeout_s= (of each source) max_draw_s= max_judge_s= max_rows=""",
    "synth": """The folder holds what was made, corpus.json, DATA_CARD.md and taxonomy.svg. The same settings give the
same bytes; stopped or killed, the same command goes on, and a larger num= adds to a corpus of worlds.

keys of worlds: out=FOLDER num= maker=parametric|module:name level=1..4 max_alike=0.8
  written by a model: model=POLICY themes=FILE (a theme a line) tester=POLICY num_tools= num_rounds=
keys of tasks: out=FOLDER num= from=CORPUS kind=structure|graph|program model=POLICY, or source=terminal
POLICY is a server as http://127.0.0.1:8000/v1#MODEL, a model folder, or module:name.""",
    "doctor": "keys: url=http://127.0.0.1:8000/v1#MODEL asks a server too",
    "serve": f"""{POLICY}
keys: host=127.0.0.1 key_env=NAME (the environment variable that holds the key of clients; other hosts need one)
  max_queue=256 (prompts that may wait; more are answered 429)
{KEYS}""",
    "world": """WORLD is a source (chain:2), gym:FrozenLake-v1[:level], bfcl:base, servers.json[#NAME] (MCP servers as
desktop clients list them), a folder that synth worlds wrote, a URL of MCP (http://.../mcp) or OpenEnv (ws://...),
or module:name(args). play reads calls and answers, from you or a pipe: NAME {json}, NAME arg=value, NAME value.
serve gives every session a world of its own, on loopback only.

keys: task=N (which held-out task is first, or served)
  of serve: transport=http|stdio|openenv (http is MCP's streamable HTTP) sessions=64 idle_timeout_s=600""",
}


@dataclass(frozen=True)
class Command:
    """The words of one command, sorted: what it is about, its field=value pairs, and its modes."""

    verb: str
    words: tuple[str, ...]
    fields: dict[str, str]
    json: bool
    seed: int | None
    resume: str | None
    dry_run: bool
    all: bool
    port: int


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit status: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    if str(Path.cwd()) not in sys.path:  # parts of the user's own are named module:name; they shadow nothing
        sys.path.append(str(Path.cwd()))
    # two spinning threads on a busy machine once ran 14 times slower than two that sleep while they wait (LOG.md)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        command = read_command(sys.argv[1:] if arguments is None else list(arguments))
        if command is None:
            return 0
        answer = importlib.import_module(f"evolvent.cli.{command.verb}").main(command)
        status = int(answer.pop("exit", 0))
        if command.json and answer:
            print(json.dumps(answer, allow_nan=False), flush=True)
    except EvolventError as error:
        return _complain(error, as_json="--json" in (arguments or sys.argv))
    except ModuleNotFoundError as error:
        return _complain(_missing(error), as_json="--json" in (arguments or sys.argv))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return status


def read_command(arguments: list[str]) -> Command | None:
    """Words to a Command; None where help or the version was asked for and has been printed."""
    parser = build_parser()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(parser.format_help())
        return None
    if arguments[0] == "--version":
        print(f"evolvent {__version__}")
        return None
    verb = arguments[0]
    if verb not in VERBS:
        raise BadInput(f"no verb {verb!r}", where="evolvent", got=verb, cure=nearest(verb, list(VERBS)))
    one = verb_parser(verb)
    if {"-h", "--help"} & set(arguments[1:]):
        deeds = importlib.import_module("evolvent.cli.hive") if verb == "hive" else None
        print(deeds.tell_help(arguments[1:]) if deeds else one.format_help())
        return None
    try:
        found, unknown = one.parse_known_intermixed_args(arguments[1:])
    except argparse.ArgumentError as error:
        raise BadInput(
            error.message, where=f"evolvent {verb}", got=" ".join(arguments[1:]), cure=f"evolvent {verb} --help"
        ) from None
    # a question may hold an equals sign: evolvent play RUN "k=47;q=k*8;q?"
    pairs = [w for w in found.words if _is_field(w) and not (verb == "play" and w.endswith("?"))]
    fields = dict(w.split("=", 1) for w in pairs)
    words = tuple(w for w in found.words if w not in pairs)
    if "seed" in fields:
        found.seed = _whole(fields.pop("seed"), "seed")
    _check_flags(verb, found, [u for u in unknown if u.startswith("-")])
    return Command(verb, words, fields, found.json, found.seed, found.resume, found.dry_run, found.all, found.port)


def _check_flags(verb: str, found: argparse.Namespace, unknown: Sequence[str]) -> None:
    """BadInput for a flag that does not exist, or that this verb has no use for."""
    if unknown:
        known = ["--json", "--help", "--version", *("--" + name.replace("_", "-") for name in _FLAGS)]
        cure = f"{nearest(unknown[0], known)} Everything else is written field=value."
        raise BadInput(
            f"no flag {unknown[0]}", where=f"evolvent {verb}", got=unknown[0], wanted=" ".join(known), cure=cure
        )
    changed = [name for name, default in _DEFAULTS.items() if getattr(found, name) != default]
    idle = [name for name in changed if name not in FLAGS.get(verb, ())]
    if idle:
        flag = "--" + idle[0].replace("_", "-")
        cure = f"evolvent {verb} --help"
        raise BadInput(f"{flag} has no effect on {verb}", where=f"evolvent {verb}", got=flag, cure=cure)


def refuse_fields(command: Command, known: tuple[str, ...] = ()) -> None:
    """BadInput for a field=value word that a verb has no use for."""
    unknown = next((key for key in command.fields if key not in known), None)
    if unknown is not None:
        none = f"{command.verb} takes no fields; evolvent {command.verb} --help"
        raise BadInput(
            f"no field {unknown!r}",
            where=f"evolvent {command.verb}",
            got=f"{unknown}={command.fields[unknown]}",
            cure=_cure_field(unknown, command.fields[unknown], known) or none,
        )


def _cure_field(unknown: str, value: str, known: tuple[str, ...]) -> str:
    if unknown in _FLAGS:
        return f"--{unknown.replace('_', '-')} {value}"
    return nearest(unknown, list(known)) if known else ""


def _is_field(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.replace(".", "").replace("_", "").replace("-", "").isalnum() and "/" not in name


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadInput("not a whole number", where=name, got=text, wanted="for example 0") from None


def build_parser() -> argparse.ArgumentParser:
    """The parser of the first word, with the help that lists all verbs."""
    verbs = "\n".join(f"  {name:<9}{what}" for name, (what, _) in VERBS.items())
    return argparse.ArgumentParser(
        prog="evolvent",
        usage="evolvent <verb> [what] [field=value ...] [flags]",
        description=f"Language-model agents that write their own curriculum.\n\nverbs:\n{verbs}",
        epilog=f"`evolvent <verb> --help` says more.\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """The parser of one verb's words and flags."""
    what, usage = VERBS[verb]
    made = argparse.ArgumentParser(
        prog=f"evolvent {verb}", usage=f"evolvent {verb} {usage} [flags]", description=f"{what}.", add_help=False,
        epilog=_more(verb), formatter_class=argparse.RawDescriptionHelpFormatter, exit_on_error=False,
        allow_abbrev=False,
    )  # fmt: skip
    made.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    made.add_argument("--json", action="store_true", help="one JSON object as the only line on stdout")
    for name, (words, how) in _FLAGS.items():
        shown = words if name in FLAGS.get(verb, ()) else argparse.SUPPRESS
        made.add_argument("--" + name.replace("_", "-"), help=shown, **how)
    return made


def _more(verb: str) -> str:
    return MORE.get(verb, "")


def _missing(error: ModuleNotFoundError) -> EvolventError:
    """An extra that is not installed, with the line that installs it; any other missing module is a defect."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        raise error
    return MissingExtra(
        f"{package} is not installed", where="evolvent", got=str(error), cure=f'pip install "evolvent[{extra}]"'
    )


def _complain(error: EvolventError, as_json: bool) -> int:
    print(f"error: {error}", file=sys.stderr)
    if as_json:
        parts: dict[str, Any] = {k: getattr(error, k) for k in ("what", "where", "got", "wanted", "cure")}
        print(json.dumps({"error": {k: v if v is None else str(v) for k, v in parts.items()}}))
    return 2 if isinstance(error, BadInput) else 1
