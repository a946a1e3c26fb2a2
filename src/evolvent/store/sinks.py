"""Copies the numbers of a run to the trackers that people look at; none of them can break the run."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from evolvent.errors import BadInput, MissingExtra, nearest
from evolvent.store.run import Run

_log = logging.getLogger("evolvent.store")

EXTRAS = {"tensorboard": "track", "trackio": "trackio", "wandb": "wandb"}
"""Each tracker by its package's name, and the extra that installs it."""


class Sink(Protocol):
    """A place that numbers are copied to."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Copy the numbers of a step."""
        ...

    def close(self) -> None:
        """Write out what is still held."""
        ...


class Sinks:
    """Several sinks as one; a sink that fails is named once, closed and left out from then on."""

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._open = dict(sinks)

    @property
    def names(self) -> tuple[str, ...]:
        """The sinks that still work."""
        return tuple(self._open)

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Copy the finite numbers of a step; nested ones are named `outer/inner`."""
        numbers = numbers_of(values)
        for name, sink in list(self._open.items()):
            if not _attempt(name, lambda sink=sink: sink.log(step, numbers)):  # type: ignore[misc]
                _attempt(name, self._open.pop(name).close)

    def close(self) -> None:
        """Close every sink."""
        while self._open:
            name, sink = self._open.popitem()
            _attempt(name, sink.close)


def open_sinks(run: Run, names: Sequence[str] | None = None) -> Sinks:
    """The named sinks; None means TensorBoard where it is installed."""
    if names is None:
        names = ("tensorboard",) if _is_installed("tensorboard") else ()
    makers: dict[str, Callable[[Run], Sink]] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": Wandb}
    for name in names:
        if name not in makers:
            raise BadInput("unknown sink", got=name, wanted=", ".join(makers), cure=nearest(name, list(makers)))
        if not _is_installed(name):
            raise MissingExtra(
                f"the sink {name} needs a package that is not installed",
                got=f"no module named {name}",
                cure=f'pip install "evolvent[{EXTRAS[name]}]"',
            )
    made: dict[str, Sink] = {}
    for name in names:
        _attempt(name, lambda name=name: made.update({name: makers[name](run)}))  # type: ignore[misc]
    return Sinks(made)


def numbers_of(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers in a mapping, nested names joined by a slash."""
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= numbers_of(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[prefix + key] = float(value)
    return found


class TensorBoard:
    """Scalars as TensorBoard events in `tensorboard/` of the run directory, written without torch."""

    def __init__(self, run: Run) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = run.path / "tensorboard"
        self._is_resumed = folder.exists() and any(folder.iterdir())
        self._writer: Any = EventFileWriter(str(folder))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Copy the numbers of a step."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._is_resumed:
            # tells readers to forget what a killed run had logged from this step on
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=time.time(), step=step, session_log=start))
            self._is_resumed = False
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def close(self) -> None:
        """Write out what is still held."""
        self._writer.close()


class Trackio:
    """A run in trackio's local database (project `evolvent`, or TRACKIO_PROJECT)."""

    def __init__(self, run: Run) -> None:
        import trackio

        self._live: Any = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "evolvent"), name=run.name, config=_config(run), resume="allow"
        )
        self._finish: Callable[[], None] = trackio.finish

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Copy the numbers of a step."""
        self._live.log(dict(values), step=step)

    def close(self) -> None:
        """Write out what is still held."""
        self._finish()


class Wandb:
    """A Weights & Biases run in `wandb/` of the run directory; offline unless WANDB_MODE says otherwise."""

    def __init__(self, run: Run) -> None:
        import wandb

        self._live: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "evolvent"),
            name=run.name,
            dir=str(run.path),
            config=_config(run),
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Copy the numbers of a step."""
        self._live.log(dict(values), step=step)

    def close(self) -> None:
        """Write out what is still held."""
        self._live.finish()


def _config(run: Run) -> dict[str, Any]:
    return {"recipe": run.info["recipe"], "seed": run.seed, "plan": run.plan_json, "folder": str(Path(run.path))}


def _attempt(name: str, act: Callable[[], object]) -> bool:
    """Whether it worked; what a tracker prints goes to stderr, since stdout may be read by a program."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            act()
    except Exception as error:  # a tracker must never stop a run, whatever it raises
        _log.warning("sink %s is closed: %s: %s; the run goes on without it", name, type(error).__name__, error)
        return False
    return True


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
