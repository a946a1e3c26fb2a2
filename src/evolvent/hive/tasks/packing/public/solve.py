# mypy: ignore-errors
"""Packs items in some order by some rule, then opens a few bins again and again to pack what was in them better.

`params.json` says which order, which rule, and how much is tried. Chance has a seed: it is the same each time.
"""

import json
import random
from bisect import insort
from math import inf
from pathlib import Path

MAX_STEPS = 300_000  # of all searches in one instance: more would be late


def main():
    """Read the instances, write the bins."""
    how = json.loads(Path("params.json").read_text("utf-8"))
    instances = json.loads(Path("inputs/instances.json").read_text("utf-8"))
    answers = [pack(one["capacity"], one["items"], how) for one in instances]
    Path("predictions.json").write_text(json.dumps(answers), "utf-8")


def pack(capacity, items, how):
    """The number of the bin of each item."""
    packing = Packing(capacity, items, how)
    bins = packing.improve(packing.begin())
    place = {i: number for number, inside in enumerate(bins) for i in inside}
    return [place[i] for i in range(len(items))]


class Packing:
    """One instance and how it is packed; a bin is a list of the numbers of its items."""

    def __init__(self, capacity, items, how):
        self.capacity, self.items, self.how = capacity, items, how
        self.rng, self.effort = random.Random(0), MAX_STEPS

    def begin(self):
        """All items, packed by the rule."""
        left = self.arrange(range(len(self.items)), self.how["order"])
        return (
            self.fill_bins(self.arrange(left, "falling"), inf) if self.how["fit"] == "subset" else self.put_each(left)
        )

    def improve(self, bins):
        """Open some bins, and pack their items into one bin less or else into any that are more unequal than before."""
        fewest = -(-sum(self.items) // self.capacity)
        for _ in range(self.how["rounds"]):
            if len(bins) == fewest or self.effort <= 0:
                break
            opened = self.choose(bins)
            left = self.arrange([i for number in opened for i in bins[number]], "falling")
            spare = (len(opened) - 1) * self.capacity - sum(self.items[i] for i in left)
            fresh = (self.fill_bins(left, spare) if spare >= 0 else None) or self.fill_bins(left, inf)
            gain = self.worth(fresh) - self.worth(bins[number] for number in opened)
            if gain >= -self.how["warmth"] * self.rng.random():
                bins = [one for number, one in enumerate(bins) if number not in opened] + fresh
        return bins

    def arrange(self, numbers, order):
        """Items one after the other, by size or as they came."""
        sign = {"given": 0, "rising": 1, "falling": -1}[order]
        return sorted(numbers, key=lambda i: sign * self.items[i])

    def put_each(self, left):
        """Each item into the last, the first, the fullest or the emptiest bin with room for it, else into a new one."""
        bins, rooms, fit = [], [], self.how["fit"]
        for i in left:
            size = self.items[i]
            fitting = [number for number, room in enumerate(rooms) if room >= size]
            if fit == "next":
                fitting = fitting[-1:] if fitting and fitting[-1] == len(bins) - 1 else []
            elif fit in ("best", "worst"):
                fitting.sort(key=rooms.__getitem__, reverse=fit == "worst")
            if not fitting:
                bins.append([])
                rooms.append(self.capacity)
            number = fitting[0] if fitting else len(bins) - 1
            bins[number].append(i)
            rooms[number] -= size
        return bins

    def fill_bins(self, left, spare):
        """One bin after the other, as full as can be; goes back where more is lost than is to spare, or gives up."""
        tries = self.how["tries"]

        def go(left, spare):
            nonlocal tries
            if not left:
                return []
            for room, inside in self.fills(left):
                if room > spare or tries <= 0:
                    break
                tries -= spare < inf
                rest = go([i for i in left if i not in inside], spare - room)
                if rest is not None:
                    return [inside, *rest]
            return None

        return go(left, spare)

    def fills(self, left):
        """What could go into the next bin with its first item: so many choices, the fullest first, but for noise."""
        sizes, slack, breadth = [self.items[i] for i in left], self.how["slack"], self.how["breadth"]
        found, least, steps = [], sizes[-1], self.how["steps"]

        def search(start, room, taken):
            nonlocal steps
            if len(found) < breadth or room < found[-1][1]:
                insort(found, (room + self.how["noise"] * self.rng.random(), room, taken))
                del found[breadth:]
            is_closed = False
            for j in range(start, len(sizes) if room >= least else 0):
                if steps <= 0 or (len(found) == breadth and found[-1][1] <= slack):
                    return
                rest = room - sizes[j]
                if rest < 0 or (is_closed and rest < least):
                    continue  # where nothing more would fit after it, the first is the largest
                is_closed |= rest < least
                steps -= 1
                search(j + 1, rest, [*taken, j])

        search(1, self.capacity - sizes[0], [0])
        self.effort -= self.how["steps"] - steps
        return [(room, [left[j] for j in taken]) for _, room, taken in found]

    def choose(self, bins):
        """Which bins are opened: a share of them the emptiest, the others any."""
        num = min(self.how["open"], len(bins))
        numbers = sorted(range(len(bins)), key=lambda number: sum(self.items[i] for i in bins[number]))
        num_emptiest = round(self.how["emptiest"] * num)
        return {*numbers[:num_emptiest], *self.rng.sample(numbers[num_emptiest:], num - num_emptiest)}

    def worth(self, bins):
        """More where some bins are full and others empty (Falkenauer 1996)."""
        return sum((sum(self.items[i] for i in inside) / self.capacity) ** 2 for inside in bins)


if __name__ == "__main__":
    main()
