"""Turns episodes into Parquet, one row per trace with flat columns first, and back without loss.

Private task fields go to a file of their own and are joined back by (run, step, episode). What stays together is the
episode: a filter picks every trace of the episodes in which some row fits. Text that is not valid Unicode (a lone
surrogate) has no form in Parquet and becomes a question mark.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput, StoreError
from evolvent.records import Episode, Fault, Outcome, Score, Span, Task, Trace, Turn
from evolvent.store.atomic import disk_errors_at, temporary_beside, write_file

_TURN = {
    "turn_id": "VARCHAR", "parent": "VARCHAR", "seat": "VARCHAR", "round": "INTEGER", "role": "VARCHAR",
    "text": "VARCHAR", "message": "VARCHAR", "token_ids": "INTEGER[]", "mask": "BOOLEAN[]",
    "sampled_logprobs": "DOUBLE[]", "model_logprobs": "DOUBLE[]", "call_id": "VARCHAR", "version": "INTEGER",
    "finish": "VARCHAR", "sampling": "VARCHAR", "starts_context": "BOOLEAN",
}  # fmt: skip


def _struct(fields: Mapping[str, str]) -> str:
    return "STRUCT(" + ", ".join(f'"{name}" {kind}' for name, kind in fields.items()) + ")"


# `components`, `prompt`, `judge`, `origin`, `info`, `message` and `sampling` are JSON texts: DuckDB reads into them
# with ->>, and `datasets` has no column type for a map.
COLUMNS = {
    "run": "VARCHAR", "step": "INTEGER", "task_id": "VARCHAR", "family": "VARCHAR", "level": "INTEGER",
    "split": "VARCHAR", "episode_id": "VARCHAR", "sample": "INTEGER", "seat": "VARCHAR", "policy": "VARCHAR",
    "outcome": "VARCHAR", "score": "DOUBLE", "components": "VARCHAR", "why": "VARCHAR", "num_tokens": "INTEGER",
    "truncation": "VARCHAR", "fault": _struct({"kind": "VARCHAR", "why": "VARCHAR", "where": "VARCHAR"}),
    "answer": "VARCHAR", "credit": "DOUBLE[]", "turns": _struct(_TURN) + "[]",
    "spans": _struct({"turn": "INTEGER", "start": "INTEGER", "stop": "INTEGER", "value": "DOUBLE"}) + "[]",
    "trainable": "BOOLEAN", "trace": "INTEGER", "prompt": "VARCHAR", "judge": "VARCHAR", "origin": "VARCHAR",
    "info": "VARCHAR",
}  # fmt: skip
"""Name and type of every column; `trace` is the place in the episode, -1 for an episode that has no trace at all."""

_PRIVATE = {"run": "VARCHAR", "step": "INTEGER", "episode_id": "VARCHAR", "task_id": "VARCHAR", "private": "VARCHAR"}

Credit = Mapping[tuple[str, str], Sequence[float]]


def write_episodes(
    path: Path,
    episodes: Sequence[Episode],
    *,
    run: str,
    step: int,
    credit: Credit | None = None,
    private: Path | None = None,
) -> None:
    """Write the episodes of a step; `credit` is a float per token of (episode id, seat), `private` the second file."""
    _check_ids(episodes)
    if private is not None:
        secrets = ({"run": run, "step": step, **row} for episode in episodes for row in _private_rows(episode))
        _write_rows(private, secrets, _PRIVATE)
    rows = ({"run": run, "step": step, **row} for episode in episodes for row in _rows(episode, credit or {}))
    _write_rows(path, rows, COLUMNS)


def read_episodes(
    paths: Path | Sequence[Path], where: str = "", *, private: Path | Sequence[Path] | None = None
) -> list[Episode]:
    """The episodes of one file or many, in the order written; `where` is SQL over the columns.

    Without `private` the tasks come back without their private part.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    secret_files = [private] if isinstance(private, Path) else list(private or ())
    key = "(filename, episode_id)"
    chosen = f" WHERE {key} IN (SELECT {key} FROM kept WHERE ({where}\n))" if where else ""
    rows = query(files, f"SELECT * FROM kept{chosen} ORDER BY list_position(?, filename), file_row_number", files)
    secrets = {
        _key(row): from_json(row["private"])
        for row in (query(secret_files, "SELECT * FROM kept") if secret_files else ())
    }
    episodes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        episodes.setdefault((row["filename"], row["episode_id"]), []).append(row)
    return [_episode(found, secrets) for found in episodes.values()]


# ---------------------------------------------------------------- records to rows


def _rows(episode: Episode, credit: Credit) -> Iterator[dict[str, Any]]:
    task = episode.task
    shared = {
        "task_id": task.task_id, "family": task.family, "level": task.level, "split": task.split,
        "episode_id": episode.episode_id, "sample": episode.sample, "answer": _valid(episode.answer),
        "prompt": to_json(task.prompt), "judge": to_json(task.judge), "origin": to_json(task.origin),
        "info": to_json(dict(episode.info)),
    }  # fmt: skip
    if not episode.traces:
        yield {**shared, "outcome": episode.outcome.value, "num_tokens": 0, "turns": [], "trace": -1}
    for place, trace in enumerate(episode.traces):
        if (trace.task_id, trace.sample) != (task.task_id, episode.sample):
            raise BadInput(
                "a trace of another attempt stands in an episode",
                where=f"episode {episode.episode_id}, seat {trace.seat}",
                got=f"task {trace.task_id}, sample {trace.sample}",
                wanted=f"task {task.task_id}, sample {episode.sample}",
            )
        spread = credit.get((episode.episode_id, trace.seat), ())
        yield {**shared, **_trace_row(trace, spread), "trace": place}


def _trace_row(trace: Trace, credit: Sequence[float]) -> dict[str, Any]:
    num_tokens, score, fault = len(trace.tokens), trace.score, trace.fault
    if credit and len(credit) != num_tokens:
        raise BadInput("credit needs one number per token", got=len(credit), wanted=num_tokens, where=trace.task_id)
    judged: dict[str, Any] = {}
    if score is not None:
        spans = [{"turn": s.turn, "start": s.start, "stop": s.stop, "value": s.value} for s in score.spans]
        components = to_json(dict(score.components))
        judged = {"score": score.value, "components": components, "why": _valid(score.why), "spans": spans}
    broken = (
        None
        if fault is None
        else {n: _valid(v) for n, v in (("kind", fault.kind), ("why", fault.why), ("where", fault.where))}
    )
    return {
        "seat": trace.seat, "policy": trace.policy, "outcome": trace.outcome.value, "num_tokens": num_tokens,
        "truncation": trace.truncation, "fault": broken, "credit": [float(c) for c in credit],
        "turns": [_turn_row(turn) for turn in trace.turns], "trainable": trace.trainable, **judged,
    }  # fmt: skip


def _turn_row(turn: Turn) -> dict[str, Any]:
    return {
        "turn_id": turn.turn_id, "parent": turn.parent, "seat": turn.seat, "round": turn.round,
        "role": turn.message.role, "text": _valid(turn.message.text), "message": to_json(turn.message),
        "token_ids": turn.tokens, "mask": turn.mask, "sampled_logprobs": turn.sampled_logprobs,
        "model_logprobs": turn.model_logprobs, "call_id": turn.call_id, "version": turn.version,
        "finish": str(turn.finish), "sampling": None if turn.sampling is None else to_json(turn.sampling),
        "starts_context": turn.starts_context,
    }  # fmt: skip


def _private_rows(episode: Episode) -> Iterator[dict[str, Any]]:
    if episode.task.private is not None:
        text = to_json(episode.task.private)
        yield {"episode_id": episode.episode_id, "task_id": episode.task.task_id, "private": text}


def _check_ids(episodes: Sequence[Episode]) -> None:
    seen: set[str] = set()
    for episode in episodes:
        if episode.episode_id in seen:
            raise BadInput("two episodes have one id", got=episode.episode_id, wanted="ids unique within a step")
        seen.add(episode.episode_id)


def _valid(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")


# ---------------------------------------------------------------- rows to records


def _episode(rows: Sequence[Mapping[str, Any]], secrets: Mapping[tuple[Any, ...], Any]) -> Episode:
    first = rows[0]
    task = Task(
        task_id=first["task_id"],
        family=first["family"],
        level=first["level"],
        prompt=from_json(first["prompt"]),
        private=secrets.get(_key(first)),
        judge=from_json(first["judge"]),
        origin=from_json(first["origin"]),
        split=first["split"],
    )
    traces = tuple(_trace(row) for row in sorted(rows, key=lambda r: int(r["trace"])) if row["trace"] >= 0)
    info = from_json(first["info"])
    return Episode(first["episode_id"], task, first["sample"], traces, answer=first["answer"], info=info)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["run"], row["step"], row["episode_id"], row["task_id"]


def _trace(row: Mapping[str, Any]) -> Trace:
    score = None
    if row["score"] is not None:
        spans = tuple(Span(**span) for span in row["spans"])
        score = Score(row["score"], from_json(row["components"]), row["why"], spans)
    return Trace(
        task_id=row["task_id"],
        sample=row["sample"],
        seat=row["seat"],
        policy=row["policy"],
        turns=tuple(_turn(turn) for turn in row["turns"]),
        outcome=Outcome(row["outcome"]),
        truncation=row["truncation"],
        fault=None if row["fault"] is None else Fault(**row["fault"]),
        score=score,
        trainable=row["trainable"],
    )


def _turn(row: Mapping[str, Any]) -> Turn:
    return Turn(
        turn_id=row["turn_id"],
        parent=row["parent"],
        seat=row["seat"],
        round=row["round"],
        message=from_json(row["message"]),
        tokens=tuple(row["token_ids"]),
        mask=tuple(row["mask"]),
        sampled_logprobs=tuple(row["sampled_logprobs"]),
        model_logprobs=tuple(row["model_logprobs"]),
        call_id=row["call_id"],
        version=row["version"],
        finish=row["finish"],
        sampling=None if row["sampling"] is None else from_json(row["sampling"]),
        starts_context=row["starts_context"],
    )


# ---------------------------------------------------------------- rows on the disk


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """A Parquet file with the same bytes for the same rows, written through JSON lines (binding values is slow)."""
    lines = temporary_beside(path.with_suffix(".jsonl"))
    longest = 1
    with disk_errors_at(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with lines.open("w", encoding="ascii") as file:
                for row in rows:
                    longest = max(longest, file.write(json.dumps(row, allow_nan=False)))
                    file.write("\n")
            kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
            source = (
                f"read_json(?, format='newline_delimited', columns={{{kinds}}}, maximum_object_size={longest + 16})"
            )
            write_file(path, lambda target: _copy(source, lines, target))
        finally:
            lines.unlink(missing_ok=True)


def _copy(source: str, lines: Path, target: Path) -> None:
    quoted = str(target).replace("'", "''")
    with _database() as database:
        database.execute(
            f"COPY (SELECT * FROM {source}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)", [str(lines)]
        )


def query(files: Sequence[Path], sql: str, *parameters: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Rows of Parquet files, which the SQL calls `kept`; each has its `filename` and `file_row_number`."""
    import duckdb

    names = [str(file) for file in files]
    for file in files:
        if not file.is_file():
            raise StoreError("the file is not there", where=str(file), wanted="a Parquet file of episodes")
    source = "WITH kept AS (SELECT * FROM read_parquet(?, filename=true, file_row_number=true)) "
    bound = [names, *([str(p) for p in parameter] for parameter in parameters)]
    with _database() as database:
        try:
            done = database.execute(source + sql, bound)
            fields = [column[0] for column in done.description or ()]
            return [dict(zip(fields, row, strict=True)) for row in done.fetchall()]
        except (duckdb.BinderException, duckdb.ParserException, duckdb.ConversionException) as error:
            raise BadInput(
                "the filter on episodes cannot be read",
                got=str(error).splitlines()[0],
                wanted="SQL over the columns, such as family = 'arithmetic' AND score < 1",
                cure="columns: " + ", ".join(COLUMNS),
            ) from error
        except duckdb.Error as error:
            raise StoreError(
                "episodes cannot be read", where=", ".join(names[:3]), got=str(error).splitlines()[0]
            ) from error


@contextmanager
def _database() -> Iterator[Any]:
    import duckdb

    # one thread and no downloads: the same bytes each time, and no network
    with duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": "false"}) as database:
        try:
            yield database
        except RuntimeError as error:
            if str(error) == "Query interrupted":  # what duckdb makes of Ctrl-C
                raise KeyboardInterrupt from None
            raise
