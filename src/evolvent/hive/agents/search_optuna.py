"""Searches a space by optuna: its sampler is told the tries of everybody before it is asked for the next point."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from evolvent.errors import MissingExtra
from evolvent.hive.agents.searchers import Move, Tried, best_of, draw_new
from evolvent.hive.space import Param, Space, Value, is_same

NUM_FIRST = {"tpe": 4, "cma": 10}  # official tries before there is a model: cma fits the best tenth of them
MAX_TOLD = 1000  # tries, the best and the newest: a sampler that is told ten thousand takes seconds
NUM_ASKED = 16  # questions, until the answer is a point that nobody has tried


@dataclass(frozen=True)
class Optuna:
    """A tree of Parzen estimators (`tpe`), or an evolution strategy that begins at the best tries (`cma`).

    `cma` fits its Gaussian to the best tenth of all tries anew each time (warm-started CMA-ES, arXiv:2012.06932): it
    has no memory of its own that others could not see. Choices, which have no distances, are drawn by tpe there.
    """

    space: Space
    kind: Literal["tpe", "cma"] = "tpe"

    def __post_init__(self) -> None:
        import_optuna(self.kind)

    def propose(self, rng: Random, seen: Sequence[Tried]) -> Move | None:
        """The answer of a fresh sampler that was told all of this."""
        done = [one for one in seen if one.worth is not None]
        if len(done) < NUM_FIRST[self.kind]:
            return draw_new(self.space, rng, seen)
        known, told = {self.space.key(one.point) for one in seen}, choose_told(seen, done)
        for _ in range(NUM_ASKED):
            point = self._ask(rng.getrandbits(32), told)
            if self.space.key(point) not in known:
                return Move(point, nearest_of(self.space, point, done), f"asked of {self.kind}")
        return draw_new(self.space, rng, seen)

    def _ask(self, seed: int, seen: Sequence[Tried]) -> dict[str, Value]:
        optuna = import_optuna(self.kind)
        kinds = {one.name: _distribution(one, self.kind) for one in self.space.params}
        worst = min(one.worth for one in seen if one.worth is not None)
        trials = [_trial(self.space, one, kinds, worst) for one in seen]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # options that are marked experimental, and were fixed on purpose
            study = optuna.create_study(direction="maximize", sampler=_sampler(self.kind, seed, trials))
            study.add_trials(trials)
            asked = study.ask(kinds).params
        return self.space.clip({one.name: _from_optuna(one, asked[one.name]) for one in self.space.params})


def import_optuna(kind: str = "tpe") -> Any:
    """The library, quiet; MissingExtra where it is not installed."""
    try:
        import optuna

        if kind == "cma":
            importlib.import_module("cmaes")  # optuna loads it only when it is asked
    except ImportError as error:
        name = (error.name or "optuna").partition(".")[0]
        cure = 'pip install "evolvent[search]"'
        raise MissingExtra(f"{name} is not installed", where=f"agent={kind}", got=str(error), cure=cure) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def choose_told(seen: Sequence[Tried], done: Sequence[Tried]) -> list[Tried]:
    """All tries, by number; where they are very many, the best half and the newest half of so many."""
    if len(seen) <= MAX_TOLD:
        return list(seen)
    best = {one.commit for one in sorted(done, key=lambda one: -(one.worth or 0.0))[: MAX_TOLD // 2]}
    rest = [one for one in seen if one.commit not in best][-(MAX_TOLD // 2) :]
    chosen = best | {one.commit for one in rest}
    return [one for one in seen if one.commit in chosen]


def nearest_of(space: Space, point: dict[str, Value], done: Sequence[Tried]) -> Tried:
    """The official try from which the fewest parameters differ; of equal ones the best: what a new one builds on."""
    assert best_of(done) is not None
    return min(
        done,
        key=lambda one: (
            sum(not is_same(one.point[name], value) for name, value in point.items()),
            -(one.worth or 0.0),
            -one.number,
        ),
    )


def _sampler(kind: str, seed: int, trials: Sequence[Any]) -> Any:
    optuna = import_optuna(kind)
    tpe = optuna.samplers.TPESampler(seed=seed, n_startup_trials=NUM_FIRST[kind], multivariate=True, constant_liar=True)
    if kind == "tpe":
        return tpe
    return optuna.samplers.CmaEsSampler(
        seed=seed, source_trials=_numeric(trials), independent_sampler=tpe, warn_independent_sampling=False
    )


def _numeric(trials: Sequence[Any]) -> list[Any]:
    """Finished trials without their choices: the strategy takes no others to begin with."""
    optuna = import_optuna()
    choice = optuna.distributions.CategoricalDistribution
    found = []
    for one in (trial for trial in trials if trial.state.is_finished()):
        kinds = {name: kind for name, kind in one.distributions.items() if not isinstance(kind, choice)}
        params = {name: one.params[name] for name in kinds}
        found.append(optuna.trial.create_trial(params=params, distributions=kinds, value=one.value))
    return found


def _trial(space: Space, one: Tried, kinds: dict[str, Any], worst: float) -> Any:
    """A try in optuna's words: an invalid one is as bad as the worst, an open one is where others look already."""
    optuna = import_optuna()
    params = {param.name: _to_optuna(param, one.point[param.name]) for param in space.params}
    if one.is_open:
        state = optuna.trial.TrialState.RUNNING
        return optuna.trial.create_trial(state=state, params=params, distributions=kinds)
    value = worst if one.worth is None else one.worth
    return optuna.trial.create_trial(params=params, distributions=kinds, value=value)


def _distribution(param: Param, kind: str) -> Any:
    made = import_optuna().distributions
    if param.kind == "bool" and kind == "cma":
        return made.IntDistribution(0, 1)
    if param.values:  # places, since two values of a list may be equal to Python: 1 and true
        return made.CategoricalDistribution(list(range(len(param.values))))
    if param.kind == "int":
        return made.IntDistribution(int(param.low), int(param.high), log=param.log)
    return made.FloatDistribution(param.low, param.high, log=param.log)


def _to_optuna(param: Param, value: Value) -> Any:
    if param.values:
        return next(place for place, one in enumerate(param.values) if is_same(one, value))
    return value


def _from_optuna(param: Param, value: Any) -> Value:
    return param.values[int(value)] if param.values else value
