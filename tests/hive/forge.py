"""A small sealed task, and repositories with anything at all in them: objects are written by hand, tricks included."""

import hashlib
import json
import subprocess
import zlib

from evolvent.hive.task import CONFIG
from evolvent.hive.task_folder import read_task

MARK = "sealed-mark-7f3a"  # stands in every sealed file, for attackers to look for
TASK = f"""
name = "labels"
metric = "accuracy"
direction = "maximize"
range = [0.0, 1.0]
mutable = ["solve.py", "lib"]
command = ["python3", "solve.py"]
predictions = "predictions.json"
seeds = [5]
holdout_seeds = [6]
description = "{MARK}"

[budget]
evaluations = 10
seconds = 20
memory_mb = 128
artifact_bytes = 200000
prediction_bytes = 20000
num_files = 20
"""
SCORE = f'''"""{MARK}"""
import json
from scoring import Invalid, read_json

def pose(seed, data):
    questions = [{{"id": i, "x": (seed * 31 + i * 17) % 101}} for i in range(10)]
    return {{"questions.json": json.dumps(questions).encode()}}

def score(seed, data, predictions):
    truth = json.loads((data / "labels.json").read_text())["labels"]
    rows = read_json(predictions)
    if type(rows) is not list or len(rows) != len(truth):
        raise Invalid(f"{{len(truth)}} rows are wanted")
    if sorted(row.get("id") for row in rows) != list(range(len(truth))):
        raise Invalid("each id is wanted once")
    if any(type(row["id"]) is not int or type(row["label"]) is not int for row in rows):
        raise Invalid("ids and labels are whole numbers")
    return [float(row["label"] == truth[row["id"]]) for row in rows]
'''
LABELS = [1, 0, 0, 1, 1, 1, 0, 1, 0, 0]
PREDICT = """
import json
def predict(labels, path="predictions.json"):
    with open(path, "w") as file:
        json.dump([{"id": i, "label": label} for i, label in enumerate(labels)], file)
"""
HONEST = PREDICT + "predict([1] * 10)\n"
HONEST_VALUE = 0.5


def make_task(folder, toml=TASK, more=None):
    files = {
        CONFIG: toml,
        "public/program.md": "Label them.",
        "public/solve.py": HONEST,
        "public/data.txt": "public",
        "public/eval/eval.sh": "echo",
        "sealed/score.py": SCORE,
        "sealed/labels.json": json.dumps({"labels": LABELS, "mark": MARK}),
        **(more or {}),
    }
    for path, text in files.items():
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    return read_task(folder)


def make_repository(folder):
    (folder / "refs").mkdir(parents=True)
    (folder / "objects").mkdir()
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
    return folder


def store(repository, kind, data, name=None):
    """Write an object, under its own name or a lie."""
    whole = b"%s %d\0" % (kind.encode(), len(data)) + data
    name = name or hashlib.sha1(whole).hexdigest()
    path = repository / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(whole))
    return name


def tree(repository, entries):
    """A folder of (mode, name, object), in whatever order and with whatever names."""
    data = b"".join(
        mode.encode() + b" " + (name if isinstance(name, bytes) else name.encode()) + b"\0" + bytes.fromhex(sha)
        for mode, name, sha in entries
    )
    return store(repository, "tree", data)


def commit_tree(repository, root, parents=()):
    lines = [f"tree {root}", *(f"parent {p}" for p in parents), "author A <a@b> 1 +0000", "committer A <a@b> 1 +0000"]
    return store(repository, "commit", ("\n".join(lines) + "\n\nmessage\n").encode())


def blob(repository, data):
    return store(repository, "blob", data.encode() if isinstance(data, str) else data)


def commit_files(repository, files, parents=()):
    """A commit of files by path."""
    return commit_tree(repository, _folder(repository, files), parents)


def _folder(repository, files):
    entries, below = [], {}
    for path, data in files.items():
        first, _, rest = path.partition("/")
        if rest:
            below.setdefault(first, {})[rest] = data
        else:
            entries.append(("100644", first, blob(repository, data)))
    entries += [("40000", name, _folder(repository, inner)) for name, inner in below.items()]
    return tree(repository, sorted(entries, key=lambda entry: entry[1]))


def git(folder, *words):
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()
