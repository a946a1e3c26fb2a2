"""Templates about files themselves: rename, build, find, pack, clear away, allow, sort into folders."""

from __future__ import annotations

import random

from evolvent.synthesis.terminal.draft import (
    Clause,
    Draft,
    absent,
    archive,
    body,
    bytes_as,
    executable,
    folder,
    prose,
    text,
    words_of,
)


def rename(rng: random.Random, level: int) -> Draft:
    """Another ending for the files of one kind."""
    home, other, *names = words_of(rng, 4 + 2 * level)
    old, new = rng.sample(("dat", "txt", "log", "raw"), 2)
    files = {f"{home}/{name}.{old}": body(prose(rng, 2)) for name in names}
    stay = {f"{home}/{other}.md": body(prose(rng, 2)), f"{home}/{old}.notes": body(prose(rng, 1))}
    moved = tuple(bytes_as(path.removesuffix(old) + new, told) for path, told in files.items())
    return Draft(
        (
            Clause(f"Rename every file {home}/*.{old} so that it ends in .{new} instead.", moved),
            Clause("No file of the old name is left.", tuple(absent(path) for path in files)),
            Clause("All other files stay as they are.", tuple(bytes_as(path, told) for path, told in stay.items())),
        ),
        {**files, **stay},
        f'for f in {home}/*.{old}; do mv "$f" "${{f%.{old}}}.{new}"; done',
        (
            f'for f in {home}/*.{old}; do cp "$f" "${{f%.{old}}}.{new}"; done',
            f'for f in {home}/*; do mv "$f" "${{f%.*}}.{new}"; done',
            f'for f in {home}/*.{old}; do mv "$f" "$f.{new}"; done',
        ),
        (
            f'cd {home} && ls *.{old} | sed "s/\\.{old}$//" | while read -r n; do mv "$n.{old}" "$n.{new}"; done',
            "python3 -c \"import pathlib; [p.rename(p.with_suffix('"
            f".{new}')) for p in list(pathlib.Path('{home}').glob('*.{old}'))]\"",
        ),
    )


def tree(rng: random.Random, level: int) -> Draft:
    """Folders inside each other, an empty one among them, and files with a line each."""
    top, empty, *names = words_of(rng, 4 + level)
    path, facts, asked = top, [folder(top)], []
    commands, last = [], ""
    for name in names:
        path = f"{path}/{name}"
        line = " ".join(words_of(rng, 3))
        facts.append(text(f"{path}/info.txt", line))
        asked.append(f"{path}/info.txt with the line: {line}")
        last = f"mkdir -p {path} && echo '{line}' > {path}/info.txt"
        commands.append(last)
    whole = "\n".join([*commands, f"mkdir -p {top}/{empty}"])
    printed = "\n".join([f"mkdir -p {path} {top}/{empty}", *(c.split(" && ", 1)[1] for c in commands)])
    return Draft(
        (
            Clause("Make these files, and the folders that they need:\n- " + "\n- ".join(asked), tuple(facts)),
            Clause(f"Make also the folder {top}/{empty}, and leave it empty.", (folder(f"{top}/{empty}"),)),
        ),
        {"readme.txt": body(prose(rng, 2))},
        whole,
        ("\n".join(commands), whole.replace(last, "true"), f"mkdir -p {path} {top}/{empty}"),
        (printed, f"mkdir -p {top} && cd {top} && mkdir {empty} && cd .. && " + " && ".join(commands)),
    )


def largest(rng: random.Random, level: int) -> Draft:
    """The path of the largest file, wherever it lies."""
    home, *names = words_of(rng, 4 + 2 * level)
    sizes = rng.sample(range(40, 900), len(names))
    first = sizes.index(max(sizes))
    if first == 0:  # else the first by name, or the one on top, would be right by chance
        sizes[0], sizes[1] = sizes[1], sizes[0]
    files = {}
    for place, (name, size) in enumerate(zip(names, sizes, strict=True)):
        path = "/".join([home, *names[max(0, place - level) : place], f"{name}.bin"])
        files[path] = _filled(rng, size)
    files[f"{home}/tall.txt"] = "\n" * (min(sizes) - 1)
    wanted = max(files, key=lambda path: len(files[path]))
    named = f"find {home} -type f -printf '%s %p\\n'"
    return Draft(
        (
            Clause(f"Find the file that has the most bytes in {home} and in all folders below."),
            Clause(
                "Write its path, as seen from here (without ./ in front), to largest.txt.",
                (text("largest.txt", wanted),),
            ),
        ),
        files,
        f"{named} | sort -n | tail -n 1 | cut -d' ' -f2 > largest.txt",
        (
            f"{named} | sort -n | head -n 1 | cut -d' ' -f2 > largest.txt",
            f"basename $({named} | sort -n | tail -n 1 | cut -d' ' -f2) > largest.txt",
            f"find {home} -type f -exec wc -l {{}} + | grep -v total | sort -n | tail -n 1 | awk '{{ print $2 }}' "
            "> largest.txt",
        ),
        (
            f"find {home} -type f -exec du -b {{}} + | sort -rn | head -n 1 | cut -f2 > largest.txt",
            f"python3 -c \"import pathlib; print(max((p for p in pathlib.Path('{home}').rglob('*') if p.is_file()), "
            'key=lambda p: p.stat().st_size))" > largest.txt',
        ),
    )


def pack(rng: random.Random, level: int) -> Draft:
    """An archive of the files of one kind, at any depth."""
    home, target, *names = words_of(rng, 4 + 2 * level)
    files = {}
    for place, name in enumerate(names):
        path = "/".join([home, *names[max(0, place - level) : place], f"{name}.{'md' if place % 3 else 'tmp'}"])
        files[path] = body(prose(rng, 2))
    wanted = {path: told for path, told in files.items() if path.endswith(".md")}
    found = f"find {home} -name '*.md'"
    return Draft(
        (
            Clause(
                f"Pack all .md files in {home} and in the folders below, and no other files, into the gzipped tar "
                f"archive {target}.tar.gz, under their paths as seen from here.",
                (archive(f"{target}.tar.gz", wanted),),
            ),
            Clause("The files themselves stay.", tuple(bytes_as(path, told) for path, told in files.items())),
        ),
        files,
        f"{found} | tar -czf {target}.tar.gz -T -",
        (
            f"tar -czf {target}.tar.gz {home}",
            f"{found} | tar -cf {target}.tar.gz -T -",
            f"cd {home} && find . -name '*.md' | tar -czf ../{target}.tar.gz -T -",
            f"{found} | tar -czf {target}.tar.gz --remove-files -T -",
        ),
        (
            f"tar -cf - $({found}) | gzip > {target}.tar.gz",
            f"python3 -c \"import pathlib, tarfile; t = tarfile.open('{target}.tar.gz', 'w:gz'); "
            f"[t.add(p) for p in pathlib.Path('{home}').rglob('*.md')]; t.close()\"",
        ),
    )


def clear(rng: random.Random, level: int) -> Draft:
    """Empty files away, all others kept."""
    home, *names = words_of(rng, 5 + 2 * level)
    files = {}
    for place, name in enumerate(names):
        path = "/".join([home, *names[max(0, place - level) : place], f"{name}.{rng.choice(('txt', 'log'))}"])
        files[path] = "" if place % 2 else body(prose(rng, 2))
    gone = tuple(absent(path) for path, told in files.items() if not told)
    kept = tuple(bytes_as(path, told) for path, told in files.items() if told)
    return Draft(
        (
            Clause(f"Delete every file without any byte in {home} and in all folders below.", gone),
            Clause("Delete nothing else.", kept),
        ),
        files,
        f"find {home} -type f -empty -delete",
        (
            f"find {home} -maxdepth 1 -type f -empty -delete",
            f"rm -rf {home}",
            f"find {home} -type f -delete",
            f"find {home} -type f -empty -name '{names[1]}.*' -delete",
        ),
        (
            f"find {home} -type f -size 0 -exec rm {{}} +",
            f"python3 -c \"import pathlib; [p.unlink() for p in list(pathlib.Path('{home}').rglob('*')) "
            'if p.is_file() and p.stat().st_size == 0]"',
        ),
    )


def allow(rng: random.Random, level: int) -> Draft:
    """The right to be executed, for scripts alone."""
    home, *names = words_of(rng, 4 + 2 * level)
    files = {}
    for place, name in enumerate(names):
        kind = "sh" if place % 2 else "txt"
        first = "#!/bin/sh" if kind == "sh" else "words"
        files[f"{home}/{name}.{kind}"] = body([first, f"echo {name}"])
    scripts = tuple(executable(path, wanted=True) for path in files if path.endswith(".sh"))
    others = tuple(executable(path, wanted=False) for path in files if not path.endswith(".sh"))
    return Draft(
        (
            Clause(f"Make every .sh file in {home} executable for its owner.", scripts),
            Clause(
                "Nothing else becomes executable, and no content changes.",
                (*others, *(bytes_as(path, told) for path, told in files.items())),
            ),
        ),
        files,
        f"chmod u+x {home}/*.sh",
        (
            f"chmod u+x {home}/*",
            f"chmod u-x {home}/*.sh",
            f"chmod u+x $(ls {home}/*.sh | head -n 1)",
            f"for f in {home}/*.sh; do echo exit >> $f; done; chmod u+x {home}/*.sh",
        ),
        (
            f"find {home} -name '*.sh' -exec chmod 755 {{}} +",
            f"python3 -c \"import pathlib; [p.chmod(0o700) for p in pathlib.Path('{home}').glob('*.sh')]\"",
        ),
    )


def sort_out(rng: random.Random, level: int) -> Draft:
    """Files moved into one folder for each ending."""
    home, *names = words_of(rng, 5 + 2 * level)
    kinds = ("txt", "csv", "md", "log")[: 2 + level]
    files = {f"{home}/{name}.{kinds[place % len(kinds)]}": body(prose(rng, 2)) for place, name in enumerate(names)}
    moved = []
    for path, told in files.items():
        start, name = path.split("/")
        moved += [bytes_as(f"{start}/{name.split('.')[1]}/{name}", told), absent(path)]
    each = f'mkdir -p "{home}/${{f##*.}}" && '
    return Draft(
        (
            Clause(
                f"Move every file in {home} into a folder in {home} that is called like the end of its name: "
                f"{home}/x.{kinds[0]} goes to {home}/{kinds[0]}/x.{kinds[0]}.",
                tuple(moved),
            ),
        ),
        files,
        f'for f in {home}/*.*; do {each} mv "$f" "{home}/${{f##*.}}/"; done',
        (
            f'for f in {home}/*.*; do {each} cp "$f" "{home}/${{f##*.}}/"; done',
            f'for f in {home}/*.{kinds[0]}; do {each} mv "$f" "{home}/${{f##*.}}/"; done',
            f'for f in {home}/*.*; do mkdir -p "${{f##*.}}" && mv "$f" "${{f##*.}}/"; done',
        ),
        (
            " && ".join(f"mkdir -p {home}/{k} && mv {home}/*.{k} {home}/{k}/" for k in kinds),
            f"python3 - <<'END'\nimport pathlib, shutil\nfor p in list(pathlib.Path('{home}').iterdir()):\n"
            "    t = p.parent / p.suffix[1:]\n    t.mkdir(exist_ok=True)\n    shutil.move(p, t / p.name)\nEND",
        ),
    )


def _filled(rng: random.Random, size: int) -> str:
    """One long line, so that the number of lines says nothing of the number of bytes."""
    return "".join(rng.choice("abcdef ") for _ in range(size))
