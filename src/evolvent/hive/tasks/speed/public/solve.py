# mypy: ignore-errors
# ruff: noqa: B905, PTH123 - strict zips and pathlib take time
"""Answers each query by a method that `params.json` chooses and tunes; every method gives the same answers."""


def main():
    """Read the questions, write the answers; what need not be imported is not, for that takes time too."""
    with open("params.json") as stream:
        how = eval(stream.read(), {"true": True, "false": False})
    if not how["collect"]:
        import gc

        gc.disable()
    with open("inputs/questions.json") as stream:
        numbers, queries = READ[how["read"]](stream.read())
    found = METHODS[how["method"]](numbers, queries, how)
    with open("predictions.json", "w") as stream:
        stream.write(WRITE[how["write"]](found))


def by_sorting(numbers, queries, how):
    """Each part sorted."""
    return [sorted(numbers[start:stop])[k] for start, stop, k in queries]


def by_masks(numbers, queries, how):
    """A whole number for every block of small values, whose bits say where they are: its ones are counted."""
    block, cut = how["block"], how["cut"]
    places = sorted(range(len(numbers)), key=numbers.__getitem__)
    masks, mask = [0], 0
    for first in range(0, len(places), block):
        for place in places[first : first + block]:
            mask |= 1 << place
        masks.append(mask)

    def find(start, stop, k):
        if stop - start <= cut:
            return sorted(numbers[start:stop])[k]
        part, low, high, below = (1 << stop) - (1 << start), 0, len(masks) - 1, 0
        while high - low > 1:
            middle = (low + high) // 2
            count = (masks[middle] & part).bit_count()
            low, high, below = (middle, high, count) if count <= k else (low, middle, below)
        return _scan(numbers, places[low * block : high * block], (start, stop), k - below)

    return [find(*query) for query in queries]


def by_counts(numbers, queries, how):
    """For every block of small values, how many of them there are before each place."""
    from itertools import accumulate

    block, cut = how["block"], how["cut"]
    places = sorted(range(len(numbers)), key=numbers.__getitem__)
    marks = bytearray(len(numbers))
    counts = [[0] * (len(numbers) + 1)]
    for first in range(0, len(places), block):
        for place in places[first : first + block]:
            marks[place] = 1
        counts.append([0, *accumulate(marks)])

    def find(start, stop, k):
        if stop - start <= cut:
            return sorted(numbers[start:stop])[k]
        low, high, below = 0, len(counts) - 1, 0
        while high - low > 1:
            middle = (low + high) // 2
            count = counts[middle][stop] - counts[middle][start]
            low, high, below = (middle, high, count) if count <= k else (low, middle, below)
        return _scan(numbers, places[low * block : high * block], (start, stop), k - below)

    return [find(*query) for query in queries]


def by_bits(numbers, queries, how):
    """Bit by bit from the highest: numbers without it come first, the others after them (a wavelet matrix)."""
    from itertools import accumulate

    cut, row, levels = how["cut"], numbers, []
    for shift in range(max(numbers).bit_length() - 1, -1, -1):
        bits = [number >> shift & 1 for number in row]
        ones = [0, *accumulate(bits)]
        levels.append((row, ones, len(row) - ones[-1], 1 << shift))
        row = [n for n, bit in zip(row, bits) if not bit] + [n for n, bit in zip(row, bits) if bit]

    def find(start, stop, k):
        value = 0
        for row, ones, num_zeros, one in levels:
            if stop - start <= cut:
                return sorted(row[start:stop])[k]
            before, after = ones[start], ones[stop]
            zeros = stop - start - after + before
            if k < zeros:
                start, stop = start - before, stop - after
            else:
                start, stop, k, value = num_zeros + before, num_zeros + after, k - zeros, value + one
        return value

    return [find(*query) for query in queries]


def _scan(numbers, places, part, k):
    """The k-th of places in rising order of their numbers that lies in the part."""
    start, stop = part
    for place in places:
        if start <= place < stop:
            if not k:
                return numbers[place]
            k -= 1
    raise ValueError("there are not so many numbers in this part")


def read_json(text):
    """By the library."""
    import json

    given = json.loads(text)
    return given["numbers"], given["queries"]


def read_literal(text):
    """As Python itself reads lists."""
    given = eval(text)
    return given["numbers"], given["queries"]


def read_split(text):
    """By hand: the numbers and then three for each query."""
    numbers, queries = text.partition('"numbers": [')[2].split('], "queries": [')
    flat = [int(word) for word in queries.translate({91: None, 93: None, 125: None}).split(",")]
    return [int(word) for word in numbers.split(",")], list(zip(flat[::3], flat[1::3], flat[2::3]))


def write_json(found):
    """By the library."""
    import json

    return json.dumps(found)


METHODS = {"sorting": by_sorting, "masks": by_masks, "counts": by_counts, "bits": by_bits}
READ = {"json": read_json, "literal": read_literal, "split": read_split}
WRITE = {"json": write_json, "literal": str}

if __name__ == "__main__":
    main()
