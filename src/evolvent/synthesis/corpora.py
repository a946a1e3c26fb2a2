"""Fills a corpus directory piece by piece; killed at any instant, it goes on and ends with the same bytes.

settings.json says what it is made from, ledger.jsonl what became of every piece, corpus.json and DATA_CARD.md what the
whole came to. A piece is on disk before the ledger knows of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evolvent import __version__
from evolvent.envs.databases import Database
from evolvent.envs.databases.corpus import CORPUS, WORLDS, digest_of, read_world, write_data, write_world
from evolvent.envs.manufacture import Manufacturer
from evolvent.errors import BadInput, StoreError
from evolvent.store.atomic import append_line, disk_errors_at, is_temporary, sweep, whole_lines, write_text
from evolvent.store.folder import hold
from evolvent.synthesis.data_card import CARD, write_card
from evolvent.synthesis.duplicates import WORLDS_ALIKE, Seen, world_words
from evolvent.synthesis.funnel import Funnel
from evolvent.synthesis.taxonomy import Taxonomy, arrange
from evolvent.synthesis.taxonomy_picture import draw_taxonomy

SETTINGS, LEDGER, LOCK, PICTURE = "settings.json", "ledger.jsonl", "lock", "taxonomy.svg"
FORMAT = "evolvent-corpus-1"
MAX_IDLE = 64  # pieces in a row that come to nothing, and then no more are begun

Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class Piece:
    """What became of one piece: the names of what was kept, counts, and why there is nothing where there is nothing."""

    number: int
    kept: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    why: str = ""


@dataclass
class Corpus:
    """A corpus directory at work, held by this process alone."""

    folder: Path
    settings: Mapping[str, Any]
    pieces: list[Piece]

    @property
    def num_kept(self) -> int:
        """How many worlds or tasks it holds."""
        return sum(len(piece.kept) for piece in self.pieces)

    @property
    def funnel(self) -> Funnel:
        """The counts of all pieces together."""
        return sum((Funnel(piece.counts) for piece in self.pieces), Funnel())

    def add(self, piece: Piece) -> None:
        """Write down what became of a piece whose files are on disk."""
        line = {"number": piece.number, "kept": list(piece.kept), "counts": dict(piece.counts), "why": piece.why}
        append_line(self.folder / LEDGER, json.dumps(line))
        self.pieces.append(piece)

    def fill(self, num: int, make: Callable[[int], Piece], tell: Tell) -> None:
        """Make pieces until `num` things are kept, or `MAX_IDLE` pieces in a row came to nothing."""
        idle = 0
        for piece in reversed(self.pieces):
            if piece.kept:
                break
            idle += 1
        while self.num_kept < num and idle < MAX_IDLE:
            piece = make(len(self.pieces))
            tell(self.num_kept, piece.why)  # who wants to stop does so before a piece is kept that it disturbed
            room = num - self.num_kept
            self.add(replace(piece, kept=piece.kept[:room]))
            idle = 0 if piece.kept else idle + 1
            tell(self.num_kept, piece.why)


@contextmanager
def open_corpus(folder: Path, settings: Mapping[str, Any]) -> Iterator[Corpus]:
    """A new corpus, or one of the same settings to go on with; nobody else may write to it meanwhile."""
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise StoreError("out= names a file", where=str(folder), cure="name a folder")
    with disk_errors_at(folder):
        folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps({"format": FORMAT, **settings}))
    with hold(folder / LOCK):
        try:
            sweep(folder)
            _check_settings(folder, settings)
            for name in (CORPUS, CARD, PICTURE):
                (folder / name).unlink(missing_ok=True)  # they belong to a finished corpus
            yield Corpus(folder, settings, _read_ledger(folder))
        finally:
            (folder / LOCK).unlink(missing_ok=True)


def write_worlds(folder: Path, maker: Manufacturer, num: int, tell: Tell, max_alike: float = WORLDS_ALIKE) -> Corpus:
    """A corpus of `num` worlds that passed the gate and are not alike; gives it finished."""
    with open_corpus(folder, {"of": "worlds", "maker": maker.describe(), "max_alike": max_alike}) as corpus:
        home, seen = corpus.folder / WORLDS, Seen(max_alike)
        sweep(home)
        worlds = [read_world(home / name) for piece in corpus.pieces for name in piece.kept]
        for world in worlds:
            seen.add(world.name, world_words(world))

        def make(number: int) -> Piece:
            made = maker.make(number)
            counts = dict(made.funnel)
            if made.database is None:
                return Piece(number, (), counts, made.why)
            alike = seen.add(made.database.name, world_words(made.database))
            if alike:
                return Piece(number, (), {**counts, "worlds kept": 0, f"worlds dropped, {_kind(alike)}": 1}, alike)
            write_world(home / made.database.name, made.database)
            worlds.append(made.database)
            return Piece(number, (made.database.name,), counts)

        corpus.fill(num, make, tell)
        finish(corpus, "worlds", arrange(worlds) if worlds else None, count_worlds(worlds))
    return corpus


def count_worlds(worlds: Sequence[Database]) -> dict[str, int]:
    """How much there is in worlds, in numbers."""
    return {
        "worlds": len(worlds),
        "tools": sum(len(world.tools) for world in worlds),
        "tables": sum(len(world.tables) for world in worlds),
        "rows": sum(len(table.rows) for world in worlds for table in world.tables),
    }


def finish(corpus: Corpus, of: str, taxonomy: Taxonomy | None, counts: Mapping[str, int]) -> None:
    """The picture, the card, and corpus.json, which comes last: where it is, the corpus is whole."""
    digests = {
        home.name: digest_of(home) for home in (corpus.folder / WORLDS, corpus.folder / "tasks") if home.exists()
    }
    data = {
        "format": FORMAT,
        "of": of,
        "counts": dict(counts),
        "funnel": dict(corpus.funnel.counts),
        "dropped": _reasons(corpus.pieces),
        "settings": dict(corpus.settings),
        "digests": digests,
        "versions": {"evolvent": __version__},
        "taxonomy": taxonomy.as_data() if taxonomy else {},
    }
    if taxonomy:
        write_text(corpus.folder / PICTURE, draw_taxonomy(taxonomy, f"{counts[of]} {of}", of.removesuffix("s")))
    write_card(corpus.folder, data)
    write_data(corpus.folder / CORPUS, data)


def _reasons(pieces: Sequence[Piece]) -> dict[str, int]:
    """How many pieces came to nothing, by the first words of why."""
    kinds = [_kind(piece.why) for piece in pieces if not piece.kept]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _kind(why: str) -> str:
    return why.partition(" of ")[0].partition(";")[0]


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    if not path.exists():
        others = [p.name for p in folder.iterdir() if p.name != LOCK and not is_temporary(p)]
        if others:
            raise StoreError(
                "the folder is not empty",
                where=str(folder),
                got=", ".join(sorted(others)[:8]),
                wanted="a new or an empty folder, or a corpus to go on with",
                cure="name another out=FOLDER",
            )
        write_data(path, settings)
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadInput("the settings of the corpus are broken", where=str(path), got=error) from error
    odd = [key for key in sorted({*found, *settings}) if found.get(key) != settings.get(key)]
    if odd:
        raise BadInput(
            "the folder holds another corpus",
            where=str(folder),
            got=f"{odd[0]} = {json.dumps(settings.get(odd[0]))[:200]}",
            wanted=f"{odd[0]} = {json.dumps(found.get(odd[0]))[:200]}, as when it was begun",
            cure="name another out=FOLDER, or ask for the same as before (num= may be larger)",
        )


def _read_ledger(folder: Path) -> list[Piece]:
    lines, _ = whole_lines(folder / LEDGER)
    pieces = []
    for place, line in enumerate(lines):
        try:
            found = json.loads(line)
            pieces.append(Piece(found["number"], tuple(found["kept"]), found["counts"], found["why"]))
            is_right = found["number"] == place
        except (ValueError, KeyError, TypeError):
            is_right = False
        if not is_right:
            raise StoreError(
                "the ledger is broken", where=f"{folder / LEDGER}, line {place + 1}", got=line[:80],
                cure="delete this line and all behind it; these pieces are then made again",
            )  # fmt: skip
    return pieces
