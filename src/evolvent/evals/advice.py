"""Asks a model what an agent cannot do: it reads failed traces, counts and schemas, and must answer with a ranking.

The prompt holds no answer and no worked solution, so that guidelines teach what to practise and give no task away.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evolvent.envs.world import World, WorldPlan
from evolvent.errors import BadInput, VerifierError
from evolvent.evals.diagnosis import Diagnosis, Guideline, Standing, Weak, by_statistics, world_name
from evolvent.evals.measure import value_of
from evolvent.evals.mistakes import LACKS, find_mistakes
from evolvent.models.calls import read_json
from evolvent.policies.policy import Policy
from evolvent.records import Episode, Message, Prompt, Sampling, Text, ToolCall, ToolResult, said

MAX_BYTES = 300  # of one observation or one message in a shown trace
MAX_WORDS = 1200  # characters of a guideline

TASK = f"""You diagnose a tool-using agent. Below are, for each class of task and each environment, how often it
succeeded and which mistakes were counted; the tools and tables of each environment; and logs of failed attempts with
what the grader checked. Find the environments where the agent is weakest and why, and say what new training tasks
should exercise there. Do not write tasks or solutions.

Answer with one JSON object and nothing else:
{{"ranking": [{{"environment": NAME, "lack": LACK, "guideline": WORDS}}, ...]}}
The weakest environment comes first; every environment that you list has a guideline of its own. NAME is one of the
environments below (E1, E2, ...). LACK is one of: {", ".join(map(json.dumps, LACKS))}.
An empty ranking says that none stands out."""


@dataclass(frozen=True)
class Consult:
    """A diagnosis by the model at an OpenAI-compatible URL (`#NAME` names the model), beside the same counts."""

    model: str
    num_traces: int = 2  # failed attempts shown for each environment
    num_repairs: int = 2
    max_tokens: int = 2048

    def __call__(self, episodes: Sequence[Episode], *, number: int, step: int, world: WorldPlan) -> Diagnosis:
        """The diagnosis of a round."""
        from evolvent.policies.build import endpoint_at

        counted = by_statistics(episodes, number=number, step=step)
        return asyncio.run(consult(endpoint_at(self.model, "diagnosis"), episodes, counted, world, how=self))


async def consult(
    policy: Policy, episodes: Sequence[Episode], counted: Diagnosis, world: WorldPlan, *, how: Consult
) -> Diagnosis:
    """The diagnosis of any policy; what it gets wrong is said back to it, `num_repairs` times at most."""
    names = {f"E{i}": one for i, one in enumerate(counted.worlds, 1)}
    messages = [said("user", await brief(episodes, counted, world, how.num_traces))]
    sampling = Sampling(how.max_tokens, temperature=0.0, seed=counted.step)
    for _ in range(how.num_repairs + 1):
        stream = ("diagnosis", counted.round, len(messages))
        [made] = await policy.sample([Prompt(tuple(messages), stream=stream)], sampling)
        try:
            ranking = read_ranking(made.text, names)
        except BadInput as error:
            messages += [said("assistant", made.text), said("user", _complain(error))]
        else:
            return replace(counted, weak=tuple(_rank(ranking, names, counted, episodes)), author=policy.name)
    raise VerifierError(
        "the diagnosis agent gave no ranking that can be read",
        where=f"arena, round {counted.round}",
        got=messages[-2].text[:200],
        wanted=messages[-1].text,
        cure="name a stronger model, or leave the arena's diagnose= to the statistics",
    )


# ---------------------------------------------------------------- what it is told


async def brief(episodes: Sequence[Episode], counted: Diagnosis, world: WorldPlan, num_traces: int) -> str:
    """The whole prompt: the task, statistics, schemas, and failed traces of each environment."""
    parts = [TASK, "\nClasses:", *(_tell(one.family, one) for one in counted.classes)]
    for i, standing in enumerate(counted.worlds, 1):
        own = [e for e in episodes if _is_in(e, standing)]
        failed = [e for e in own if e.outcome.carries_reward and value_of(e) < 1]
        parts += [f"\nENVIRONMENT E{i} (class {standing.family})", _tell("attempts", standing)]
        parts += [line async for line in _schemas(own[0], world)]
        for number, episode in enumerate(failed[:num_traces], 1):
            parts += [f"failed attempt {number}:", *_trace(episode)]
    return "\n".join(parts)


def _tell(name: str, one: Standing) -> str:
    kinds = ", ".join(f"{kind} {num}" for kind, num in one.mistakes.items()) or "none"
    rate = f"{one.success.value:.0%} ({one.success.low:.0%} to {one.success.high:.0%})" if one.num_episodes else "?"
    left_out = f"; {one.num_left_out} broken by something else" if one.num_left_out else ""
    return f"- {name}: success {rate}, {one.num_failed} of {one.num_episodes} failed; mistakes: {kinds}{left_out}"


async def _schemas(episode: Episode, plan: WorldPlan) -> Any:
    """The tools of the world of an episode, and its tables where it has such."""
    async with plan.open(episode.task, 0) as world:
        for seat in world.seats:
            for tool in world.tools(seat):
                properties = tool.parameters.get("properties", {})
                arguments = ", ".join(f"{name}: {_kind(schema)}" for name, schema in properties.items())
                yield f"tool {tool.name}({arguments}): {tool.description}"
        for line in _tables(world):
            yield line


def _kind(schema: Any) -> str:
    return str(schema.get("type", "value")) if isinstance(schema, Mapping) else "value"


def _tables(world: World) -> Iterator[str]:
    for table in getattr(getattr(world, "plan", None), "tables", ()):
        yield f"table {table.name}({', '.join(c.name for c in table.columns)}), {len(table.rows)} rows"


def _trace(episode: Episode) -> Iterator[str]:
    """The log of an attempt: what was said, called and answered, and what the grader checked - not what it wanted."""
    for trace in episode.traces:
        for turn in trace.turns:
            yield from (f"  {turn.message.role}: {line}" for line in _lines(turn.message))
        parts = trace.score.components if trace.score is not None else {}
        checked = ", ".join(f"{name} {'right' if value >= 1 else 'wrong'}" for name, value in parts.items())
        cut = f"; cut short by the {trace.truncation} budget" if trace.truncation else ""
        yield f"  grader: {checked or 'wrong'}{cut}; counted as {', '.join(find_mistakes(episode))}"


def _lines(message: Message) -> Iterator[str]:
    for block in message.blocks:
        if isinstance(block, ToolCall):
            written = block.raw if block.arguments is None else json.dumps(dict(block.arguments))
            yield f"calls {block.name} {written}"[:MAX_BYTES]
        elif isinstance(block, Text | ToolResult):
            yield block.text[:MAX_BYTES]


# ---------------------------------------------------------------- what it says


def read_ranking(text: str, names: Mapping[str, Standing]) -> list[tuple[str, Guideline]]:
    """The ranked environments with their guidelines, or BadInput that says what is wrong with the answer."""
    start, stop = text.find("{"), text.rfind("}") + 1
    data = read_json(text[start:stop]) if 0 <= start < stop else None
    ranking = data.get("ranking") if isinstance(data, dict) else None
    if not isinstance(ranking, list):
        raise BadInput("no ranking", got=text[:120], wanted='one JSON object {"ranking": [...]}')
    found: dict[str, Guideline] = {}
    for place, row in enumerate(ranking, 1):
        name, guideline = _read_row(row, place, names)
        if name in found:
            raise BadInput("an environment stands twice in the ranking", where=f"place {place}", got=name)
        found[name] = guideline
    return list(found.items())


def _read_row(row: Any, place: int, names: Mapping[str, Standing]) -> tuple[str, Guideline]:
    values = {key: row.get(key) if isinstance(row, dict) else None for key in ("environment", "lack", "guideline")}
    odd = [key for key, value in values.items() if not isinstance(value, str) or not value.strip()]
    if odd:
        raise BadInput(f"{odd[0]!r} is missing or empty", where=f"place {place}", got=row, wanted="words")
    if values["environment"] not in names:
        raise BadInput(
            "no such environment", where=f"place {place}", got=values["environment"], wanted=", ".join(names)
        )
    if values["lack"] not in LACKS:
        raise BadInput("no such lack", where=f"place {place}", got=values["lack"], wanted=", ".join(LACKS))
    world = names[str(values["environment"])].world
    return str(values["environment"]), Guideline(world, str(values["lack"]), str(values["guideline"])[:MAX_WORDS])


def _complain(error: BadInput) -> str:
    return f"That cannot be used: {error}\nAnswer again with the whole JSON object and nothing else."


def _rank(
    ranking: Sequence[tuple[str, Guideline]],
    names: Mapping[str, Standing],
    counted: Diagnosis,
    episodes: Sequence[Episode],
) -> Iterator[Weak]:
    """Classes in the order in which their environments were named, each with the guidelines for these."""
    success = {one.family: one.success for one in counted.classes}
    families = list(dict.fromkeys(names[name].family for name, _ in ranking))
    for place, family in enumerate(families, 1):
        own = tuple(guideline for name, guideline in ranking if names[name].family == family)
        worlds = {guideline.world for guideline in own}
        shown = [e for e in episodes if world_name(e.task) in worlds and e.outcome.carries_reward and value_of(e) < 1]
        yield Weak(family, place, success[family], own, tuple(e.episode_id for e in shown[:3]))


def _is_in(episode: Episode, standing: Standing) -> bool:
    return (episode.task.family, world_name(episode.task)) == (standing.family, standing.world)
