"""Checks that stop a run before a wrong number is trained on; each has a planted bug in the tests that it catches."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from evolvent.errors import GateFailed
from evolvent.records import Episode, Message, ToolCall, Turn


def check_gap(gap: float, bound: float, policy: Any) -> None:
    """Stop where the trainer's log-probabilities are not those that the sampler recorded."""
    if not gap <= bound:
        raise GateFailed(
            "the sampler and the trainer disagree on the same tokens and weights",
            where=f"policy {policy.name!r}, version {policy.version}",
            got=f"largest difference of log-probabilities {gap:.3g}",
            wanted=f"<= {bound:.3g}",
            cure="the weights may not have reached the sampler, or token ids were changed after sampling; "
            "try engine=generic, and report it",
        )


def check_finite(value: float, policy: Any) -> None:
    """Stop before a NaN reaches the weights; the last good checkpoint stays."""
    if not math.isfinite(value):
        raise GateFailed(
            "the loss or its gradient is not a finite number",
            where=f"policy {policy.name!r}, version {policy.version}",
            got=value,
            wanted="a finite number",
            cure="resume from the last checkpoint with a lower optimizer.lr",
        )


def check_versions(episodes: Sequence[Episode], policies: Any) -> None:
    """Stop where a turn was sampled by other weights than those about to be trained (staleness 0)."""
    for episode in episodes:
        for trace in episode.traces:
            now = getattr(policies.get(trace.policy), "version", None)
            if now is None:  # an endpoint or a script: its weights are not ours to follow
                continue
            old = sorted({t.version for t in trace.turns if t.version >= 0 and t.version != now})
            if old:
                raise GateFailed(
                    "a trace was sampled by other weights than those that are trained",
                    where=f"{episode.episode_id}, policy {trace.policy!r}",
                    got=f"version {old}",
                    wanted=f"version {now}",
                    cure="the sampler did not receive the new weights after an update",
                )


def check_new_version(before: int, policy: Any) -> None:
    """Stop where weights were changed and their version was not: stale samples could not be told apart any more."""
    if policy.version == before:
        raise GateFailed(
            "the weights were updated and their version did not grow",
            where=f"policy {policy.name!r}",
            got=f"version {policy.version} before and after",
            wanted=f"version {before + 1}",
            cure="policy.updated() must count, and drop whatever was computed with the former weights",
        )


def check_masks(episodes: Sequence[Episode]) -> None:
    """Stop where the mask covers a token that no policy wrote, or leaves out one that it did."""
    for episode in episodes:
        for trace in episode.traces:
            for turn in trace.turns:
                spoken = turn.message.role == "assistant"
                whole = len(turn.mask) == len(turn.tokens) and all(m == spoken for m in turn.mask)
                # what is trained on as sampled must say so for every token: without them check_gap sees nothing
                least = sum(turn.mask) if turn.sampling is not None and trace.trainable else 0
                counts = {len(turn.sampled_logprobs), len(turn.model_logprobs)}
                if not whole or not counts <= {least, sum(turn.mask)}:
                    raise GateFailed(
                        "the mask of a turn is not what its policy wrote",
                        where=turn.turn_id,
                        got=f"{sum(turn.mask)} of {len(turn.tokens)} tokens, {len(turn.sampled_logprobs)} log-probs",
                        wanted="all tokens of an assistant turn, none of any other",
                        cure="the workflow or the renderer changed tokens after they were sampled",
                    )


def check_round_trip(episodes: Sequence[Episode], policies: Any) -> None:
    """Stop where the words or the calls of a turn are not those of its token ids."""
    for episode in episodes:
        for trace in episode.traces:
            renderer = getattr(policies.get(trace.policy), "renderer", None)
            if renderer is None:
                continue
            for before, turn in pairwise((None, *trace.turns)):
                if turn is not None and turn.message.role == "assistant" and turn.tokens:
                    read = renderer.parse(turn.tokens, ())
                    if not _says(turn, read, renderer.text(before.tokens) if before else ""):
                        raise GateFailed(
                            "the words of a turn are not those of its token ids",
                            where=turn.turn_id,
                            got=_shown(turn.message),
                            wanted=_shown(read),
                            cure="the message was changed after sampling",
                        )


def _says(turn: Turn, read: Message, before: str) -> bool:
    said, words = turn.message, turn.message.text
    if words.endswith(read.text) and before.endswith(begun := words.removesuffix(read.text)):
        words = words.removeprefix(begun)  # how it begins was given, and stands at the end of what was heard
    # a template may put marks of its own (empty thoughts) around words that were recited
    is_said = words.strip() in read.text if turn.sampling is None else words.strip() == read.text.strip()
    return is_said and len(said.calls) == len(read.calls) and all(map(_same_call, said.calls, read.calls))


def _same_call(said: ToolCall, read: ToolCall) -> bool:
    if said.raw or said.arguments is None:
        return said.raw == read.raw
    if read.arguments is None:  # written in the short form that is read with the tool's schema
        return all(str(value) in read.raw for value in said.arguments.values())
    return said.name == read.name and _plain(said.arguments) == _plain(read.arguments)


def _plain(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)  # tuples and lists are one in JSON


def _shown(message: Message) -> str:
    return " ".join([message.text[:80], *(f"[{c.name} {c.raw or c.arguments}]"[:80] for c in message.calls)]).strip()


def check_faults(num_faults: int, num_episodes: int, bound: float, why: str = "") -> None:
    """Stop where too many episodes broke for reasons that are not the agent's; `why` is what the first one told."""
    if num_episodes and num_faults / num_episodes > bound:
        raise GateFailed(
            "too many episodes broke for reasons that are not the agent's",
            got=f"{num_faults} of {num_episodes}" + (f", the first: {why}" if why else ""),
            wanted=f"at most {bound:.0%} (gates.max_fault_share)",
            cure="see the faults in the last episodes file: evolvent show RUN",
        )
