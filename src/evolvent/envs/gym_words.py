"""Says in words what Gymnasium's environments show: the names of actions, and the state of the small tables."""

from __future__ import annotations

from typing import Any

ACTIONS = {
    "FrozenLake": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
    "Taxi": ("south", "north", "east", "west", "pickup", "dropoff"),
    "Blackjack": ("stick", "hit"),
}
STANDS = ("red (top left)", "green (top right)", "yellow (bottom left)", "blue (bottom right)")


def family_of(env_id: str) -> str:
    """The name of an environment without namespace, version and size: FrozenLake8x8-v1 is FrozenLake."""
    name = env_id.rpartition("/")[2].rpartition("-v")[0] or env_id
    return next((family for family in ACTIONS if name.startswith(family)), name)


def describe(env_id: str, env: Any, observation: Any) -> str:
    """What the agent sees, as text."""
    say = {"FrozenLake": _lake, "CliffWalking": _cliff, "Taxi": _taxi, "Blackjack": _cards}.get(family_of(env_id))
    return say(env.unwrapped, observation) if say else str(observation)


def _lake(lake: Any, observation: Any) -> str:
    place = divmod(int(observation), lake.ncol)
    rows = [[cell.decode() for cell in row] for row in lake.desc]
    return "\n".join(
        "".join(f"[{cell}]" if (r, c) == place else f" {cell} " for c, cell in enumerate(row)).rstrip()
        for r, row in enumerate(rows)
    )


def _cliff(cliff: Any, observation: Any) -> str:
    row, column = divmod(int(observation), cliff.shape[1])
    return f"you stand in row {row}, column {column}"


def _taxi(taxi: Any, observation: Any) -> str:
    row, column, passenger, destination = (int(part) for part in taxi.decode(int(observation)))
    where = "in the taxi" if passenger == len(STANDS) else f"at {STANDS[passenger]}"
    return (
        f"the taxi is in row {row}, column {column}; the passenger is {where} and wants to go to {STANDS[destination]}"
    )


def _cards(table: Any, observation: Any) -> str:
    own, dealer, has_ace = observation
    return f"your cards sum to {own}{' with a usable ace' if has_ace else ''}; the dealer shows {dealer}"
