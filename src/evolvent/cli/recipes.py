"""`evolvent recipes`: the published methods on offer, and the fields that a recipe's plan has."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from evolvent.cli.main import Command, refuse_fields
from evolvent.cli.screen import Screen
from evolvent.cli.values import recipe_names
from evolvent.codec import encode
from evolvent.errors import BadInput, nearest
from evolvent.plans import Card, Improve


def main(command: Command) -> dict[str, Any]:
    """A table of all recipes; with a name (or --all) the card and every field that may be set."""
    refuse_fields(command)
    screen, known = Screen(as_json=command.json), recipe_names()
    unknown = [name for name in command.words if name not in known]
    if unknown:
        raise BadInput(
            f"no recipe {unknown[0]!r}", where="evolvent recipes", got=unknown[0], cure=nearest(unknown[0], known)
        )
    chosen = known if command.all else list(command.words)
    if not chosen:
        cards = [card_of(name) for name in known]
        _print_table(screen, cards)
        return {"recipes": [dataclasses.asdict(card) for card in cards]}
    shown = []
    for name in chosen:
        card, plan = card_of(name), plan_of(name)
        _print_card(screen, card, plan)
        shown.append({**dataclasses.asdict(card), "plan": encode(plan)})
    return shown[0] if len(shown) == 1 else {"recipes": shown}


def card_of(name: str) -> Card:
    """A recipe's card."""
    card: Card = importlib.import_module(f"evolvent.recipes.{name}").CARD
    return card


def plan_of(name: str) -> Improve:
    """A recipe's plan."""
    plan: Improve = importlib.import_module(f"evolvent.recipes.{name}").build()
    return plan


def fields_of(record: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key that the command line takes for a record, with its value as one would write it."""
    for field in dataclasses.fields(record):
        value, key = getattr(record, field.name), prefix + field.name
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield key, type(value).__name__
            yield from fields_of(value, f"{key}.")
        else:
            yield key, written(value)


def written(value: Any) -> str:
    """A value as one would write it on the command line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(written(v) for v in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(getattr(value, "__name__", None) or (type(value).__name__ if dataclasses.is_dataclass(value) else value))


# ---------------------------------------------------------------- what a person sees


def _print_table(screen: Screen, cards: list[Card]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("recipe", "what it is", "claim", "measured"):
        table.add_column(name, style="bold" if name == "recipe" else "")
    for card in cards:
        table.add_row(card.name, escape(f"{card.title}; {card.paper}"), escape(card.claim), card.verdict)
    screen.console.print(table)
    screen.say(
        "\nevolvent recipes NAME says which fields there are; evolvent run NAME field=value runs it,\n"
        "evolvent effect NAME measures what it claims"
    )


def _print_card(screen: Screen, card: Card, plan: Improve) -> None:
    from rich.markup import escape
    from rich.tree import Tree

    screen.console.print(f"[bold]{card.name}[/bold]   {escape(card.title)}")
    for name, words in (
        ("paper", card.paper),
        ("changes", ", ".join(card.changes)),
        ("claim", card.claim),
        ("verdict", card.verdict),
        ("note", card.note),
    ):
        if words:
            screen.console.print(f"{name:<9}{words}", markup=False)
    root = Tree(f"plan: any of these as key=value behind [bold]evolvent run {card.name}[/bold]")
    branches = {"": root}
    for key, value in fields_of(plan):
        above, _, name = key.rpartition(".")
        branches[key] = branches[above].add(
            f"{name} = {escape(value)}   [dim]{key}[/dim]" if above else f"{name} = {escape(value)}"
        )
    screen.console.print(root)
