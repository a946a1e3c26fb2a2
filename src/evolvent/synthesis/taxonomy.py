"""Places worlds in a taxonomy of three levels by what their schemas and tools speak of: class, centre, world.

TF-IDF of the words, one tree of agglomerative clusters, cut twice, so that every centre lies in one class. The same
worlds in any order give the same taxonomy.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolvent.envs.databases import Database
from evolvent.errors import BadInput, MissingExtra
from evolvent.policies.policy import Policy
from evolvent.records import Prompt, Sampling, said

MAX_CENTRES, MAX_CLASSES = 50, 20  # arXiv:2604.18292
WORLDS_A_CENTRE = 4  # that a small corpus aims at
NUM_TERMS = 3  # that name a cluster
WORD = re.compile(r"[a-z]{2,}")
ASK = """Each line lists the words that a group of databases is about. Name each group in 1 to 4 plain words, so that no
two names are alike.

{groups}

Reply with one JSON list of {num} names, in this order, and nothing else."""


@dataclass(frozen=True)
class Centre:
    """Worlds that are much alike, and the words that tell them from others."""

    name: str
    worlds: tuple[str, ...]
    terms: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorldClass:
    """Centres that belong together; the first class is the largest."""

    name: str
    centres: tuple[Centre, ...]

    @property
    def num_worlds(self) -> int:
        """How many worlds it holds."""
        return sum(len(centre.worlds) for centre in self.centres)


@dataclass(frozen=True)
class Taxonomy:
    """Classes of centres of worlds."""

    classes: tuple[WorldClass, ...]

    @property
    def places(self) -> Mapping[str, tuple[str, str]]:
        """Class and centre of each world."""
        return {w: (one.name, centre.name) for one in self.classes for centre in one.centres for w in centre.worlds}

    def as_data(self) -> dict[str, Any]:
        """Names only, as JSON values."""
        return {one.name: {centre.name: list(centre.worlds) for centre in one.centres} for one in self.classes}


def arrange(
    worlds: Sequence[Database],
    num_centres: int | None = None,
    num_classes: int | None = None,
    namer: Policy | None = None,
) -> Taxonomy:
    """The taxonomy of worlds; a `namer` finds words for centres and classes, else their commonest terms do."""
    ordered = sorted(worlds, key=lambda world: world.name)
    names = [world.name for world in ordered]
    if not ordered or len(set(names)) < len(names):
        raise BadInput(
            "a taxonomy needs worlds, each under its own name", where="arrange", got=f"{len(ordered)} worlds"
        )
    num_centres = num_centres or min(MAX_CENTRES, -(-len(ordered) // WORLDS_A_CENTRE))
    num_classes = num_classes or min(MAX_CLASSES, -(-num_centres * MAX_CLASSES // MAX_CENTRES))
    weights, terms = _weights([text_of(world) for world in ordered])
    of_centre = _cut(weights, min(num_centres, len(ordered)))
    of_class = _cut(weights, min(num_classes, num_centres, len(ordered)))
    groups: dict[int, dict[int, list[int]]] = {}
    for place, (one, centre) in enumerate(zip(of_class, of_centre, strict=True)):
        groups.setdefault(one, {}).setdefault(centre, []).append(place)
    classes = [
        _described([_centre(places, weights, terms, names) for places in centres.values()])
        for centres in groups.values()
    ]
    classes.sort(key=lambda one: (-one.num_worlds, one.centres[0].worlds))
    return _named(Taxonomy(tuple(classes)), namer)


def text_of(world: Database) -> str:
    """What a world speaks of: plain words of its tables and columns, and what its tools say that they do."""
    schema = [world.word(t.name) for t in world.tables] * 2
    schema += [world.word(t.name, c.name) for t in world.tables for c in t.columns]
    return " ".join([*schema, *(tool.description for tool in world.tools), *world.rules]).replace("_", " ").lower()


def _weights(texts: Sequence[str]) -> tuple[Any, list[str]]:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise MissingExtra(
            "a taxonomy needs scikit-learn", where="arrange", cure='pip install "evolvent[worlds]"'
        ) from error
    # a text without a single word would be an error there
    padded = [text if WORD.search(text) else "nothing" for text in texts]
    made = TfidfVectorizer(token_pattern=WORD.pattern, sublinear_tf=True, stop_words="english")
    try:
        return made.fit_transform(padded).toarray(), list(made.get_feature_names_out())
    except ValueError:  # only words that say nothing, such as "the"
        made = TfidfVectorizer(token_pattern=WORD.pattern)
        return made.fit_transform(padded).toarray(), list(made.get_feature_names_out())


def _cut(weights: Any, num: int) -> list[int]:
    """The cluster of each row, when the tree is cut where it has `num` branches."""
    from sklearn.cluster import AgglomerativeClustering

    if len(weights) == 1 or num == 1:
        return [0] * len(weights)
    made = AgglomerativeClustering(n_clusters=num, linkage="ward", compute_full_tree=True)
    return [int(label) for label in made.fit_predict(weights.round(9))]


def _centre(places: Sequence[int], weights: Any, terms: Sequence[str], names: Sequence[str]) -> Centre:
    """A cluster under the terms that are heavier in it than in all worlds."""
    gain = weights[list(places)].mean(0) - weights.mean(0) * 0.5
    order = sorted(range(len(terms)), key=lambda i: (-round(float(gain[i]), 9), terms[i]))
    own = tuple(terms[i] for i in order[: 2 * NUM_TERMS])
    return Centre(" ".join(own[:NUM_TERMS]), tuple(names[i] for i in places), own)


def _described(centres: Sequence[Centre]) -> WorldClass:
    """A class under the terms that lead most of its worlds."""
    votes: dict[str, int] = {}
    for centre in centres:
        for rank, term in enumerate(centre.terms):
            votes[term] = votes.get(term, 0) + len(centre.worlds) * (2 * NUM_TERMS - rank)
    best = sorted(votes, key=lambda term: (-votes[term], term))
    ordered = sorted(centres, key=lambda centre: (-len(centre.worlds), centre.worlds))
    return WorldClass(" ".join(best[:NUM_TERMS]), tuple(ordered))


def _named(found: Taxonomy, namer: Policy | None) -> Taxonomy:
    """Under names that are each their own; those of a policy where it gives as many as are asked for."""
    classes = _words([one.name for one in found.classes], namer)
    centres = iter(
        _words([" ".join(c.terms) if namer else c.name for one in found.classes for c in one.centres], namer)
    )
    return Taxonomy(
        tuple(
            WorldClass(name, tuple(Centre(next(centres), c.worlds, c.terms) for c in one.centres))
            for name, one in zip(classes, found.classes, strict=True)
        )
    )


def _words(groups: Sequence[str], namer: Policy | None) -> list[str]:
    names = list(groups)
    if namer is not None:
        request = ASK.format(groups="\n".join(f"- {words}" for words in groups), num=len(groups))
        prompt = Prompt((said("user", request),), stream=("taxonomy", len(groups)))
        text = asyncio.run(namer.sample([prompt], Sampling(4096, 0.0)))[0].text
        names = _read_names(text, len(groups))
    found: list[str] = []
    for name in names:
        taken = sum(other == name or other.startswith(f"{name} (") for other in found)
        found.append(f"{name} ({taken + 1})" if taken else name)
    return found


def _read_names(text: str, num: int) -> list[str]:
    start, stop = text.find("["), text.rfind("]")
    try:
        names = json.loads(text[start : stop + 1])
    except ValueError:
        names = None
    if not isinstance(names, list) or len(names) != num or not all(isinstance(n, str) and n.strip() for n in names):
        raise BadInput("no names for the taxonomy", where="namer", got=text[:200], wanted=f"a JSON list of {num} names")
    return [name.strip()[:60] for name in names]
