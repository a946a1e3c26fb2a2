import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from evolvent.errors import BadInput, MissingExtra
from evolvent.store import Run
from evolvent.store.sinks import EXTRAS, Sinks, numbers_of, open_sinks


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create("{}", "improve", 0, tmp_path / "r")


def scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run.path / "tensorboard"))
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_is_the_default_where_installed_and_its_own_reader_reads_it(run: Run) -> None:
    pytest.importorskip("tensorboard")
    sinks = open_sinks(run)
    assert sinks.names == ("tensorboard",)
    sinks.log(1, {"loss": 0.5, "phase": "practice", "levels": {"a:1": 3}, "bad": float("nan")})
    sinks.log(2, {"loss": 0.25})
    sinks.log(3, {"loss": 9.0})
    sinks.close()
    assert scalars(run) == {"loss": [(1, 0.5), (2, 0.25), (3, 9.0)], "levels/a:1": [(1, 3.0)]}
    again = open_sinks(run)
    again.log(3, {"loss": 0.125})
    again.close()
    assert scalars(run)["loss"] == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_a_sink_that_fails_is_said_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def log(self, step: int, values: Mapping[str, float]) -> None:
            raise RuntimeError("server gone")

        def close(self) -> None:
            raise RuntimeError("still gone")

    class Kept:
        def __init__(self) -> None:
            self.steps: list[int] = []

        def log(self, step: int, values: Mapping[str, float]) -> None:
            print("words that must not reach stdout")
            self.steps.append(step)

        def close(self) -> None:
            self.steps.append(-1)

    kept = Kept()
    sinks = Sinks({"broken": Broken(), "kept": kept})
    with caplog.at_level(logging.WARNING):
        for step in (1, 2, 3):
            sinks.log(step, {"loss": 1.0})
        sinks.close()
    assert kept.steps == [1, 2, 3, -1]
    assert caplog.text.count("server gone") == 1
    assert sinks.names == ()


def test_what_a_tracker_prints_does_not_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    class Loud:
        def log(self, step: int, values: Mapping[str, float]) -> None:
            print("hello")

        def close(self) -> None:
            print("bye")

    sinks = Sinks({"loud": Loud()})
    sinks.log(1, {})
    sinks.close()
    assert capsys.readouterr().out == ""


def test_an_unknown_sink_and_a_missing_package_are_said(run: Run) -> None:
    with pytest.raises(BadInput, match="unknown sink") as caught:
        open_sinks(run, ["tensorbord"])
    assert "tensorboard" in caught.value.cure
    for name, extra in EXTRAS.items():
        if importlib.util.find_spec(name) is None:
            with pytest.raises(MissingExtra) as missing:
                open_sinks(run, [name])
            assert missing.value.cure == f'pip install "evolvent[{extra}]"'


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_other_trackers_take_the_numbers_offline(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(run.path / "trackio"))  # read when the package is imported
    pytest.importorskip(name)
    sinks = open_sinks(run, [name])
    sinks.log(1, {"loss": 0.5})
    assert sinks.names == (name,)
    sinks.close()
    assert any((run.path / name).rglob("*"))


def test_only_finite_numbers_are_copied() -> None:
    values = {"a": 1, "b": None, "c": "x", "d": float("inf"), "e": {"f": 0.5, "g": True}}
    assert numbers_of(values) == {"a": 1.0, "e/f": 0.5}
