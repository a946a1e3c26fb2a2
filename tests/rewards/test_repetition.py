import math
import random

import numpy as np
import pytest

from evolvent.errors import BadInput
from evolvent.rewards.repetition import Repetition, average_linkage, bleu, characters, ngrams


def of(text, max_order=2):
    return ngrams(characters(text), max_order)


def test_bleu_by_hand():
    # abc against abd: 2 of 3 letters, 1 of 2 pairs (ab), same length: sqrt(2/3 * 1/2)
    assert bleu(of("abc"), of("abd")) == pytest.approx(math.sqrt(1 / 3))
    # ab against abcd: both precisions 1, and 2 of 4 letters: exp(1 - 4/2)
    assert bleu(of("ab"), of("abcd")) == pytest.approx(math.exp(-1))
    # abcd against ab: 2/4 and 1/3, and nothing is too short
    assert bleu(of("abcd"), of("ab")) == pytest.approx(math.sqrt(1 / 6))
    # ab against ba: all letters, no pair of one: sqrt(1 * 0.1/1)
    assert bleu(of("ab"), of("ba")) == pytest.approx(math.sqrt(0.1))
    # a run occurs as often as it may: aaa against ab has one a of three, no pair of two
    assert bleu(of("aaa"), of("ab")) == pytest.approx(math.sqrt(1 / 3 * 0.1 / 2))
    assert bleu(of("ab"), of("cd")) == 0.0
    assert bleu(of(""), of("ab")) == 0.0
    assert bleu(of("abc"), of("abc")) == 1.0


def test_clusters_by_hand():
    # 0-1 are 0.2 apart and merge; their mean distance to 2 is (0.4 + 0.7) / 2 = 0.55: not below 0.5
    distances = np.array([[0, 0.2, 0.4], [0.2, 0, 0.7], [0.4, 0.7, 0]])
    assert average_linkage(distances, 0.5) == [0, 0, 1]
    assert average_linkage(distances, 0.56) == [0, 0, 0]
    assert average_linkage(distances, 0.2) == [0, 1, 2]  # the cut itself is not below the cut
    assert average_linkage(np.zeros((0, 0)), 0.5) == []


def test_the_share_of_a_cluster_by_hand():
    # two equal texts and one unlike them: 2/3, 2/3 and 1/3
    assert Repetition(characters)(["12+34", "9*9", "12+34"]) == pytest.approx([2 / 3, 1 / 3, 2 / 3])
    assert Repetition()(["the same words here", "the same words here"]) == [1.0, 1.0]
    assert Repetition()([]) == []


def test_clusters_are_those_of_a_naive_count_in_any_order():
    rng = random.Random(3)
    texts = ["".join(rng.choice("12+") for _ in range(4)) for _ in range(14)]
    one = Repetition(characters, max_order=2)
    shares = dict(zip(texts, one(texts), strict=True))
    labels = average_linkage(one.distances(texts), 0.5)
    assert len(set(labels)) > 2
    assert labels == naive(one.distances(texts), 0.5)
    mixed = texts[:]
    rng.shuffle(mixed)
    assert dict(zip(mixed, one(mixed), strict=True)) == pytest.approx(shares)


def naive(distances, cut):
    """Average linkage with every mean taken anew from the pairs."""
    clusters = [[i] for i in range(len(distances))]
    while len(clusters) > 1:
        means = {
            (i, j): np.mean([distances[a, b] for a in clusters[i] for b in clusters[j]])
            for i in range(len(clusters))
            for j in range(i + 1, len(clusters))
        }
        i, j = min(means, key=lambda pair: means[pair])
        if means[i, j] >= cut:
            break
        clusters[i] += clusters.pop(j)
    label = {member: number for number, members in enumerate(clusters) for member in members}
    seen = {old: new for new, old in enumerate(dict.fromkeys(label[i] for i in range(len(distances))))}
    return [seen[label[i]] for i in range(len(distances))]


def test_no_such_clusters():
    with pytest.raises(BadInput, match="no such clusters"):
        Repetition(cut=2)
