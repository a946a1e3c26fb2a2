"""Templates about what is in files: count, merge, sort, extract, add up, replace, set, list."""

from __future__ import annotations

import random

from evolvent.synthesis.terminal.draft import Clause, Draft, body, bytes_as, lines, prose, text, words_of


def count_lines(rng: random.Random, level: int) -> Draft:
    """How many lines of several files hold a word."""
    word, other, *names = words_of(rng, 3 + level)
    files = {}
    for name in names:
        rows = [f"{rng.choice((word, other, word.upper()))} {row}" for row in prose(rng, 4 * level + 4)]
        files[f"logs/{name}.log"] = body([*rows, f"{word} {word} twice", f"my{word} glued"])
    files["logs/notes.txt"] = body([f"{word} in another kind of file"] * 3)
    found = [row for path, told in files.items() if path.endswith(".log") for row in told.splitlines()]
    num = sum(word in row.split() for row in found)
    return Draft(
        (
            Clause(f"Count the lines in logs/*.log that hold the whole word {word}, as it is written here."),
            Clause("Write that one number, over all of these files, to count.txt.", (text("count.txt", str(num)),)),
        ),
        files,
        f"cat logs/*.log | grep -cw {word} > count.txt",
        (
            f"cat logs/*.log | grep -c {word} > count.txt",
            f"cat logs/*.log | grep -ciw {word} > count.txt",
            f"cat logs/*.log | grep -ow {word} | wc -l > count.txt",
            f"cat logs/* | grep -cw {word} > count.txt",
        ),
        (
            f"grep -hw {word} logs/*.log | wc -l > count.txt",
            f"awk '{{ for (i = 1; i <= NF; i++) if ($i == \"{word}\") {{ n++; break }} }} END {{ print n + 0 }}' "
            "logs/*.log > count.txt",
        ),
    )


def merge(rng: random.Random, level: int) -> Draft:
    """Numbered parts put together in the order of their numbers."""
    name, target = words_of(rng, 2)
    num = 10 + 2 * level
    files = {f"parts/{name}-{i}.txt": body([f"{i}: {row}" for row in prose(rng, level + 1)]) for i in range(1, num + 1)}
    whole = "".join(files.values())
    loop = f'for i in $(seq 1 {num}); do cat "parts/{name}-$i.txt"; done'
    return Draft(
        (
            Clause(
                f"Put the parts parts/{name}-1.txt to parts/{name}-{num}.txt together, in the order of their numbers, "
                f"in {target}.txt.",
                (text(f"{target}.txt", whole),),
            ),
            Clause("Leave the parts as they are.", tuple(bytes_as(p, c) for p, c in files.items())),
        ),
        files,
        f"{loop} > {target}.txt",
        (
            f"cat parts/{name}-*.txt > {target}.txt",
            f"{loop} > {target}.txt; rm -r parts",
            f"{loop.replace(f'seq 1 {num}', f'seq 1 {num - 1}')} > {target}.txt",
        ),
        (
            f"cat $(ls parts/{name}-*.txt | sort -t- -k2 -n) > {target}.txt",
            f"for i in range(1, {num + 1}):\n    print(open(f'parts/{name}-{{i}}.txt').read(), end='')".join(
                ("python3 - <<'END' > " + f"{target}.txt\n", "\nEND")
            ),
        ),
    )


def dedupe(rng: random.Random, level: int) -> Draft:
    """Lines sorted, each once."""
    source, target = words_of(rng, 2)
    pool = prose(rng, 5 + 5 * level)
    rows = [*pool, *rng.choices(pool, k=3 * level + 2)]
    rng.shuffle(rows)
    content, kept = body([*rows[1:], rows[0]]), sorted(set(rows))
    return Draft(
        (
            Clause(
                f"Write every line of {source}.txt once to {target}.txt, sorted by bytes (LC_ALL=C).",
                (text(f"{target}.txt", body(kept)),),
            ),
            Clause(f"Leave {source}.txt as it is.", (bytes_as(f"{source}.txt", content),)),
        ),
        {f"{source}.txt": content},
        f"LC_ALL=C sort -u {source}.txt > {target}.txt",
        (
            f"LC_ALL=C sort {source}.txt > {target}.txt",
            f"uniq {source}.txt > {target}.txt",
            f"LC_ALL=C sort -ru {source}.txt > {target}.txt",
            f"LC_ALL=C sort -u -o {source}.txt {source}.txt; cp {source}.txt {target}.txt",
        ),
        (
            f"LC_ALL=C sort {source}.txt | uniq > {target}.txt",
            f"python3 -c \"print('\\n'.join(sorted(set(open('{source}.txt').read().splitlines()))))\" > {target}.txt",
        ),
    )


def column(rng: random.Random, level: int) -> Draft:
    """One column of a table in CSV, without its head."""
    source, target, *heads = words_of(rng, 5 + level)
    rows = [[f"{rng.choice(words_of(rng, 4))}{rng.randint(10, 99)}" for _ in heads] for _ in range(4 + 6 * level)]
    place = rng.randrange(1, len(heads))
    table = body([",".join(heads), *(",".join(row) for row in rows)])
    return Draft(
        (
            Clause(
                f"Write the values of the column {heads[place]} of {source}.csv to {target}.txt, one a line, in their "
                "order and without the head of the column.",
                (text(f"{target}.txt", body([row[place] for row in rows])),),
            ),
        ),
        {f"{source}.csv": table},
        f"tail -n +2 {source}.csv | cut -d, -f{place + 1} > {target}.txt",
        (
            f"cut -d, -f{place + 1} {source}.csv > {target}.txt",
            f"tail -n +2 {source}.csv | cut -d, -f{place} > {target}.txt",
            f"tail -n +2 {source}.csv | cut -d, -f{place + 1} | sort > {target}.txt",
            f"tail -n +3 {source}.csv | cut -d, -f{place + 1} > {target}.txt",
        ),
        (
            f"awk -F, 'NR > 1 {{ print ${place + 1} }}' {source}.csv > {target}.txt",
            f"python3 -c \"import csv; [print(r['{heads[place]}']) for r in csv.DictReader(open('{source}.csv'))]\" "
            f"> {target}.txt",
        ),
    )


def total(rng: random.Random, level: int) -> Draft:
    """The sum of a column over the rows of one kind."""
    source, kind, *others = words_of(rng, 3 + level)
    rows = [(rng.choice((kind, *others)), rng.randint(1, 90 * level)) for _ in range(6 + 8 * level)]
    rows += [(kind, 7 * level), (f"{kind}ish", 11), (others[0], 13)]
    rng.shuffle(rows)
    told = body(["kind,amount", *(f"{name},{amount}" for name, amount in rows)])
    wanted = str(sum(amount for name, amount in rows if name == kind))
    return Draft(
        (
            Clause(
                f"Add up the amounts of all rows of {source}.csv whose kind is {kind}, and write the sum to total.txt.",
                (text("total.txt", wanted),),
            ),
        ),
        {f"{source}.csv": told},
        f"awk -F, '$1 == \"{kind}\" {{ n += $2 }} END {{ print n + 0 }}' {source}.csv > total.txt",
        (
            f"awk -F, '{{ n += $2 }} END {{ print n + 0 }}' {source}.csv > total.txt",
            f"grep -c '^{kind},' {source}.csv > total.txt",
            f"awk -F, '$1 ~ /^{kind}/ {{ n += $2 }} END {{ print n + 0 }}' {source}.csv > total.txt",
        ),
        (
            f"echo $(( $(grep '^{kind},' {source}.csv | cut -d, -f2 | paste -sd+) )) > total.txt",
            "python3 -c \"import csv; print(sum(int(r['amount']) for r in csv.DictReader(open('"
            f"{source}.csv')) if r['kind'] == '{kind}'))\" > total.txt",
        ),
    )


def replace_word(rng: random.Random, level: int) -> Draft:
    """A word by another one, in files of one kind at any depth."""
    old, new, *names = words_of(rng, 4 + level)
    files = {}
    for depth, name in enumerate(names):
        rows = [f"{row} {old} end" for row in prose(rng, 2 + level)]
        files["/".join([*names[:depth], f"{name}.txt"])] = body([*rows, f"{old} {old}, {old}s", "last"])
    files["keep.cfg"] = body([f"{old} stays here"])
    done = {path: _replaced(told, old, new) for path, told in files.items() if path.endswith(".txt")}
    return Draft(
        (
            Clause(
                f"Replace the whole word {old} by {new}, wherever it stands, in every .txt file here and in all "
                f"folders below; {old}s is another word and stays.",
                tuple(text(path, told) for path, told in done.items()),
            ),
            Clause("Files of other kinds stay as they are.", (bytes_as("keep.cfg", files["keep.cfg"]),)),
        ),
        files,
        f"find . -name '*.txt' -exec sed -i 's/\\b{old}\\b/{new}/g' {{}} +",
        (
            f"find . -name '*.txt' -exec sed -i 's/{old}/{new}/g' {{}} +",
            f"find . -name '*.txt' -exec sed -i 's/\\b{old}\\b/{new}/' {{}} +",
            f"find . -type f -exec sed -i 's/\\b{old}\\b/{new}/g' {{}} +",
            f"sed -i 's/\\b{old}\\b/{new}/g' *.txt",
        ),
        (
            f"grep -rlw --include='*.txt' {old} . | xargs sed -i 's/\\<{old}\\>/{new}/g'",
            f"python3 - <<'END'\nimport pathlib, re\nfor p in pathlib.Path('.').rglob('*.txt'):\n"
            f"    p.write_text(re.sub(r'\\b{old}\\b', '{new}', p.read_text()))\nEND",
        ),
    )


def set_value(rng: random.Random, level: int) -> Draft:
    """One value in one section of a configuration."""
    name, key, *sections = words_of(rng, 4 + level)
    old = {section: rng.randint(10, 99) for section in sections}
    more = {section: prose(rng, level, width=2) for section in sections}
    target, value = rng.choice(sections[1:]), rng.randint(100, 999)

    def told(values: dict[str, int]) -> str:
        rows = []
        for section in sections:
            extra = [f"{row.split()[0]}_{i} = {row.split()[-1]}" for i, row in enumerate(more[section])]
            rows += [f"[{section}]", *extra, f"{key} = {values[section]}", ""]
        return body(rows)

    inside = f"/^\\[{target}\\]/,/^\\[/"
    return Draft(
        (
            Clause(
                f"In {name}.ini set {key} in the section [{target}] to {value}, and change nothing else.",
                (text(f"{name}.ini", told({**old, target: value})),),
            ),
        ),
        {f"{name}.ini": told(old)},
        f"sed -i '/^\\[{target}\\]/,/^{key} = /s/^{key} = .*/{key} = {value}/' {name}.ini",
        (
            f"sed -i 's/^{key} = .*/{key} = {value}/' {name}.ini",
            f"sed -i '0,/^{key} = /s/^{key} = .*/{key} = {value}/' {name}.ini",
            f"printf '[{target}]\\n{key} = {value}\\n' > {name}.ini",
            f"echo '{key} = {value}' >> {name}.ini",
        ),
        (
            f'awk \'/^\\[/ {{ here = ($0 == "[{target}]") }} here && $1 == "{key}" {{ $0 = "{key} = {value}" }} '
            f"{{ print }}' {name}.ini > .new && mv .new {name}.ini",
            f"sed -i '{inside}{{s/^{key} = .*/{key} = {value}/}}' {name}.ini",
        ),
    )


def index(rng: random.Random, level: int) -> Draft:
    """Names of files with how many lines they have."""
    home, *names = words_of(rng, 3 + 2 * level)
    files = {f"{home}/{name}.txt": body(prose(rng, rng.randint(1, 9))) for name in names}
    files[f"{home}/skip.md"] = body(prose(rng, 3))
    wanted = [f"{path.split('/')[1]} {told.count(chr(10))}" for path, told in files.items() if path.endswith(".txt")]
    return Draft(
        (
            Clause(
                f"For every .txt file in the folder {home} write a line to index.txt: the name of the file (without "
                "its folder), a space, and how many lines it has. The order of the lines does not matter.",
                (lines("index.txt", wanted),),
            ),
        ),
        files,
        f'for f in {home}/*.txt; do echo "$(basename "$f") $(wc -l < "$f")"; done > index.txt',
        (
            f'for f in {home}/*; do echo "$(basename "$f") $(wc -l < "$f")"; done > index.txt',
            f'for f in {home}/*.txt; do echo "$f $(wc -l < "$f")"; done > index.txt',
            f'for f in {home}/*.txt; do echo "$(basename "$f") $(wc -w < "$f")"; done > index.txt',
        ),
        (
            f"cd {home} && wc -l *.txt | awk '$2 != \"total\" {{ print $2, $1 }}' > ../index.txt",
            "python3 -c \"import pathlib; [print(p.name, len(p.read_text().splitlines())) for p in pathlib.Path('"
            f"{home}').glob('*.txt')]\" > index.txt",
        ),
    )


def _replaced(told: str, old: str, new: str) -> str:
    import re

    return re.sub(rf"\b{old}\b", new, told)
