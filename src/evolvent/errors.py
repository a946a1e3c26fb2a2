"""The tree of faults: what can go wrong, said so that a person can act on it."""

from __future__ import annotations


class EvolventError(Exception):
    """A message in five parts: what is wrong, where, what was got, what was wanted, and the cure."""

    def __init__(
        self, what: str, *, where: str = "", got: object = None, wanted: object = None, cure: str = ""
    ) -> None:
        self.what, self.where, self.got, self.wanted, self.cure = what, where, got, wanted, cure
        parts = [what]
        if where:
            parts.append(f"  where:  {where}")
        if got is not None:
            parts.append(f"  got:    {got}")
        if wanted is not None:
            parts.append(f"  wanted: {wanted}")
        if cure:
            parts.append(f"  cure:   {cure}")
        super().__init__("\n".join(parts))


class BadInput(EvolventError, ValueError):
    """The user's mistake: a wrong key, a wrong value, a file that is not what it should be."""


class MissingExtra(EvolventError, ImportError):
    """An optional library is needed and is not installed; the cure is the line that installs it."""


class StoreError(EvolventError, OSError):
    """The run directory cannot be used: no space, locked, broken, or written by a newer version."""


class GateFailed(EvolventError, RuntimeError):
    """A check that guards the truth of a run failed; the run stops and keeps its last good state."""


class ToolError(EvolventError):
    """A tool refused its input; the agent sees the message as an observation."""


class InfrastructureError(EvolventError, RuntimeError):
    """Something outside the agent broke (endpoint, worker, sandbox); it never counts as a reward of zero."""


class VerifierError(EvolventError, RuntimeError):
    """The judge itself broke or ran out of time; the attempt is left out of the loss and counted."""


def nearest(word: str, known: list[str], count: int = 3) -> str:
    """The known names closest to `word`, as a phrase for a cure."""
    import difflib

    close = difflib.get_close_matches(word, known, n=count, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"one of: {', '.join(sorted(known))}"
