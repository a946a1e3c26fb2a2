"""`evolvent effect`: the experiment behind a method's name, seed by seed, and the board of all of them."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.side_by_side import Job, run_side_by_side
from evolvent.cli.values import recipe_names
from evolvent.codec import locate
from evolvent.effects import results as kept
from evolvent.effects.page import board_page
from evolvent.effects.results import Effect, SeedResult
from evolvent.effects.session import Session, default_cache
from evolvent.errors import BadInput, EvolventError, nearest
from evolvent.store import write_text

KEYS = ("seeds", "out", "cache", "fresh", "processes")
SEEDS = (0, 1, 2)
SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class Asked:
    """What is to be measured: recipes, seeds, and where things are kept."""

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    cache: Path
    out: Path | None
    is_fresh: bool
    num_processes: int


def main(command: Command) -> dict[str, Any]:
    """Measure one recipe's effect, or all that have one; finished seeds are kept and not measured again."""
    screen, asked = Screen(as_json=command.json), read_asked(command)
    paths = {(name, seed): _path(asked, name, seed) for name in asked.names for seed in asked.seeds}
    found = {} if asked.is_fresh else {at: result for at, path in paths.items() if (result := kept.read_result(path))}
    _say_kept(screen, found)
    jobs = [
        Job(f"{name} seed {seed}", measure, (name, seed, str(path), str(asked.cache)))
        for (name, seed), path in paths.items()
        if (name, seed) not in found
    ]
    places = {job.name: at for job, at in zip(jobs, [at for at in paths if at not in found], strict=True)}
    failures: list[str] = []
    effects = dict(_finish(asked, found, screen, done=()))
    with _progress(screen, len(jobs)) as show:
        for outcome in run_side_by_side(jobs, asked.num_processes, show):
            if outcome.failure:
                failures.append(outcome.failure)
                screen.console.print(f"failed: {outcome.failure}", markup=False)
                continue
            name, seed = places[outcome.job.name]
            found[name, seed] = _whole(paths[name, seed])
            effects.update(_finish(asked, found, screen, done=tuple(effects)))
    if failures and not command.all:
        raise EvolventError("the effect was not measured", where=f"evolvent effect {asked.names[0]}", got=failures[0],
                            cure="seeds that are finished are kept; the same command goes on")  # fmt: skip
    answer = {"effects": [effects[n].as_answer() for n in asked.names if n in effects], "failures": failures}
    return {**(answer if command.all else effects[asked.names[0]].as_answer()), "exit": int(bool(failures))}


def measure(name: str, seed: int, path: str, cache: str, tell: Callable[[str], None]) -> None:
    """One seed of one recipe, in a process of its own; the result is on disk before anybody hears of it."""
    import psutil

    from evolvent.models.devices import keep_freed_memory

    keep_freed_memory()

    def watch(event: Mapping[str, Any]) -> None:
        if "phase" in event:
            tell(f"{event['phase']} step {event['step']} of {event['num_steps']}")

    effect = effect_of(name)
    assert effect is not None, name
    begin_s = time.time() - psutil.Process().create_time()  # a process of its own costs its start, too
    result = kept.measure_seed(_short(name), effect, seed, Session(watch, Path(cache)))
    kept.keep_result(Path(path), replace(result, seconds=result.seconds + begin_s))


# ---------------------------------------------------------------- what was asked


def read_asked(command: Command) -> Asked:
    """The words of the command, checked before anything is measured."""
    refuse_fields(command, KEYS)
    fields = command.fields
    names = _names(command)
    if fields.get("fresh", "false") not in ("true", "false"):
        raise BadInput("not a switch", where="fresh", got=fields["fresh"], wanted="true or false")
    cache = Path(fields["cache"]).expanduser().absolute() if "cache" in fields else default_cache()
    out = fields.get("out", "effects" if command.all else None)
    seeds = _numbers(fields.get("seeds", ",".join(map(str, SEEDS))), "seeds", least=0)
    if out and len(seeds) < kept.MIN_SEEDS:
        raise BadInput(
            "the board takes no effect of so few seeds", where="seeds", got=seeds, wanted=f">= {kept.MIN_SEEDS} seeds"
        )
    [num] = _numbers(fields.get("processes", "2"), "processes", least=1)[:1]
    return Asked(names, seeds, cache, Path(out) if out else None, fields.get("fresh") == "true", num)


def _names(command: Command) -> tuple[str, ...]:
    with_effect = [name for name in recipe_names() if effect_of(name) is not None]
    if command.all:
        if command.words:
            raise BadInput("--all takes no name", where="evolvent effect", got=" ".join(command.words))
        return tuple(with_effect)
    if len(command.words) != 1:
        raise BadInput("one recipe at a time", where="evolvent effect", got=" ".join(command.words) or "none",
                       wanted="NAME, or --all", cure=f"one of: {', '.join(with_effect)}")  # fmt: skip
    name = command.words[0]
    if ":" not in name and name not in recipe_names():
        raise BadInput(f"no recipe {name!r}", where="evolvent effect", got=name, cure=nearest(name, with_effect))
    if effect_of(name) is None:
        cure = f"one of: {', '.join(with_effect)}"
        raise BadInput(f"recipe {name!r} has no effect(seed)", where="evolvent effect", got=name, cure=cure)
    return (name,)


def _numbers(text: str, key: str, least: int) -> tuple[int, ...]:
    """Whole numbers with commas between them, none twice."""
    words = [word.strip() for word in text.split(",")]
    odd = [word for word in words if not word.isdecimal() or int(word) < least]
    if odd or len(set(map(int, words))) < len(words):
        raise BadInput(
            "not different whole numbers" if not odd else f"not a whole number from {least} on",
            where=key, got=odd[0] if odd else text, wanted=f"for example {key}=0,1,2" if key == "seeds" else f"{key}=2",
        )  # fmt: skip
    return tuple(int(word) for word in words)


def effect_of(name: str) -> Callable[[int], Sequence[Any]] | None:
    """The experiment of a recipe, or of `module:effect`; None where there is none."""
    if ":" in name:
        found = locate(name)
        return found if callable(found) else None
    return getattr(importlib.import_module(f"evolvent.recipes.{name}"), "effect", None)


def _titles() -> dict[str, str]:
    """What the recipes call themselves."""
    return {name: importlib.import_module(f"evolvent.recipes.{name}").CARD.title for name in recipe_names()}


def _path(asked: Asked, name: str, seed: int) -> Path:
    module = name.partition(":")[0] if ":" in name else f"evolvent.recipes.{name}"
    build = importlib.import_module(module).build
    return kept.result_path(asked.cache, _short(name), kept.key_of(module, build()), seed)


def _short(name: str) -> str:
    """What results are kept as; a second experiment of a module is none of its first."""
    module, _, function = name.partition(":")
    last = module.rpartition(".")[2]
    return last if function in ("", "effect") else f"{last}-{function}"


def _whole(path: Path) -> SeedResult:
    result = kept.read_result(path)
    assert result is not None, path
    return result


# ---------------------------------------------------------------- what a person sees


def _finish(
    asked: Asked, found: Mapping[tuple[str, int], SeedResult], screen: Screen, done: Sequence[str]
) -> Iterator[tuple[str, Effect]]:
    """Every recipe of which all seeds have come, shown once and put on the board."""
    for name in asked.names:
        if name in done or any((name, seed) not in found for seed in asked.seeds):
            continue
        mine = [found[name, seed] for seed in asked.seeds]
        effect = kept.summarize(mine)
        print_effect(screen, effect, sum(one.cached_s for one in mine))
        if asked.out is not None:
            path = asked.out / "effects.json"
            entries = {**kept.read_board(path), effect.name: {**effect.as_entry(), "measures": name}}
            kept.write_board(path, entries)
            write_text(asked.out / "effects.html", board_page(kept.read_board(path), _titles()))
            screen.console.print(f"board    {path}, {asked.out / 'effects.html'}", markup=False)
        yield name, effect


def print_effect(screen: Screen, effect: Effect, cached_s: float) -> None:
    """A row per claim, then cost and verdict."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("claim", "metric", "treated", "control", "difference, 95 %", "per seed", "holds"):
        table.add_column(name, justify="right" if name in ("treated", "control") else "left", overflow="fold")
    for one in effect.contrasts:
        band = f", within {one.tolerance:g}" if one.tolerance is not None else ""
        table.add_row(
            escape(one.claim), escape(one.metric), f"{one.treated:.3f}", f"{one.control:.3f}",
            escape(f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"),
            " ".join(f"{d:+.3f}" for d in one.per_seed), f"{one.kind}{band}: {'yes' if one.ok else 'no'}",
        )  # fmt: skip
    screen.console.print()
    screen.console.print(table)
    for note in dict.fromkeys(one.note for one in effect.contrasts if one.note):
        screen.console.print(f"budget   {note}", markup=False)
    screen.console.print(
        f"cost     {effect.tokens:,} tokens and {effect.updates} updates an arm, {effect.seconds:.0f} s on two cores"
        f" ({cached_s:.0f} s of it cold starts that were kept)", markup=False,
    )  # fmt: skip
    said = effect.verdict or f"none: {len(effect.seeds)} of at least {kept.MIN_SEEDS} seeds"
    screen.console.print(f"verdict  [bold]{said}[/bold]")


def _say_kept(screen: Screen, found: Mapping[tuple[str, int], SeedResult]) -> None:
    if found:
        names = ", ".join(f"{name} seed {seed}" for name, seed in found)
        screen.console.print(f"measured before with this code: {names} (fresh=true measures again)", markup=False)


@contextmanager
def _progress(screen: Screen, num_jobs: int) -> Iterator[Callable[[Mapping[str, str]], None]]:
    """One line that changes on a terminal; elsewhere a line every few seconds."""
    said, is_terminal = time.monotonic(), screen.console.is_terminal

    def words(running: Mapping[str, str]) -> str:
        return "; ".join(f"{name}: {what}" for name, what in running.items())

    if not is_terminal or not num_jobs:

        def show(running: Mapping[str, str]) -> None:
            nonlocal said
            if running and time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                screen.console.print(words(running), markup=False)

        yield show
        return
    with screen.console.status("begins") as status:
        yield lambda running: status.update(words(running))
    sys.stdout.flush()
