"""A policy that writes a small library as a model would: good tools, wrong ones, ones that do not compile, repairs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from evolvent.records import Completion, Finish, Prompt, Sampling, said

SCHEMA = {
    "name": "lending",
    "rules": ["A book that is out cannot be lent again."],
    "tables": [
        {
            "name": "member",
            "columns": [{"name": "member_id", "kind": "text"}, {"name": "city", "kind": "text"}],
            "rows": [["m1", "oslo"], ["m2", "rome"], ["m3", "oslo"]],
        },
        {
            "name": "book",
            "columns": [
                {"name": "book_id", "kind": "text"},
                {"name": "holder", "kind": "text", "references": "member"},
                {"name": "pages", "kind": "integer"},
            ],
            "rows": [["b1", "m1", 120], ["b2", None, 90], ["b3", "m1", 300], ["b4", "m2", 40]],
        },
    ],
}
MORE = {"rows": {"book": [["b5", "m3", 90]]}, "tables": []}


def tool(name: str, description: str, *parameters: str) -> dict:
    return {
        "name": name,
        "description": description,
        "parameters": [{"name": p, "kind": "integer" if p == "pages" else "text"} for p in parameters],
    }


TOOLS = [
    tool("pages_of", "The number of pages of a book; refused where there is no such book.", "book_id"),
    tool("books_of", "The ids of the books that a member holds, as a list of texts.", "member_id"),
    tool("lend", "Give a free book to a member; returns 'lent'; refused where it is out.", "book_id", "member_id"),
    tool("forget_book", "Delete a book; returns how many are left.", "book_id"),
    tool("thick_books", "How many books have more than so many pages.", "pages"),
    tool("broken", "The city of a member.", "member_id"),
    tool("always_right", "The word yes, whatever the member.", "member_id"),
]
CODE = {
    "pages_of": """def pages_of(db, book_id):
    row = db.execute("SELECT pages FROM book WHERE book_id = ?", (book_id,)).fetchone()
    if row is None:
        raise ValueError("no such book")
    return row[0]""",
    "books_of": """def books_of(db, member_id):
    return [r[0] for r in db.execute("SELECT book_id FROM book WHERE holder = ?", (member_id,))]""",
    "lend": '''def lend(db, book_id, member_id):
    done = db.execute("UPDATE book SET holder = ? WHERE book_id = ? AND holder IS NULL", (member_id, book_id))
    if done.rowcount != 1:
        raise ValueError("this book is out")
    return "lent"''',
    # says that it deletes and only counts: its author believes it
    "forget_book": """def forget_book(db, book_id):
    return db.execute("SELECT count(*) FROM book WHERE book_id != ?", (book_id,)).fetchone()[0]""",
    # at least, where more than was promised
    "thick_books": """def thick_books(db, pages):
    return db.execute("SELECT count(*) FROM book WHERE pages >= ?", (pages,)).fetchone()[0]""",
    "broken": "def broken(db, member_id)\n    return 1",
    "always_right": '''def always_right(db, member_id):
    return "yes"''',
}
OWN = {
    "pages_of": [{"arguments": {"book_id": "b1"}, "returns": 120}, {"arguments": {"book_id": "b9"}, "refuses": True}],
    "books_of": [{"arguments": {"member_id": "m1"}, "returns": ["b3", "b1"]}],
    "lend": [{"arguments": {"book_id": "b2", "member_id": "m1"}, "returns": "lent"}],
    "forget_book": [{"arguments": {"book_id": "b1"}, "returns": 4}],
    "thick_books": [{"arguments": {"pages": 90}, "returns": 4}],
    "broken": [{"arguments": {"member_id": "m1"}, "returns": "oslo"}],
    "always_right": [{"arguments": {"member_id": "m1"}, "returns": "yes"}],
}
OTHERS = {
    "pages_of": [*OWN["pages_of"], {"arguments": {"book_id": "b4"}, "returns": 40}],
    "books_of": [*OWN["books_of"], {"arguments": {"member_id": "m2"}, "returns": ["b4"]}],
    "lend": [
        {
            "arguments": {"book_id": "b2", "member_id": "m3"},
            "returns": "lent",
            "leaves": [{"sql": "SELECT holder FROM book WHERE book_id = 'b2'", "rows": [["m3"]]}],
        },
        {"arguments": {"book_id": "b1", "member_id": "m2"}, "refuses": True},
        {"arguments": {"book_id": "b2", "member_id": "m9"}, "refuses": True},
    ],
    "forget_book": [
        {"arguments": {"book_id": "b1"}, "leaves": [{"sql": "SELECT count(*) FROM book", "rows": [[4]]}]},
        {"arguments": {"book_id": "b4"}, "returns": 4, "leaves": [{"sql": "SELECT count(*) FROM book", "rows": [[4]]}]},
    ],
    # one of two is right: exactly a half, which is not enough
    "thick_books": [{"arguments": {"pages": 90}, "returns": 2}, {"arguments": {"pages": 100}, "returns": 2}],
    # tests that cannot tell a mistake from the promise
    "always_right": [{"arguments": {"member_id": "m1"}, "leaves": [{"sql": "SELECT 1", "rows": [[1]]}]}],
}


@dataclass(frozen=True)
class Clerk:
    """Answers by the stage that it reads off the request; the first tables that it writes are broken."""

    name: str = "clerk"
    log: tuple = ()

    async def sample(self, prompts: Sequence[Prompt], how: Sampling) -> list[Completion]:
        return [self._completion(answer(prompt)) for prompt in prompts]

    def _completion(self, words: str) -> Completion:
        return Completion((), words, (), (), 0, Finish.STOP, "c", said("assistant", words), route=self.name)


def answer(prompt: Prompt) -> str:
    """What a clerk says; a repair is asked for by a second user message."""
    request, num_tries = prompt.messages[1].text, sum(m.role == "assistant" for m in prompt.messages)
    if "Design a relational database" in request:
        if num_tries == 0:
            return "Here it is:\n```json\n" + json.dumps(SCHEMA)[:-40] + "\n```"
        return f"Now it is whole.\n```json\n{json.dumps(SCHEMA)}\n```\nI hope that it helps."
    if "still too small" in request:
        return json.dumps(MORE)
    if request.startswith("Theme:"):
        return f"```json\n{json.dumps({'tools': TOOLS})}\n```"
    found = re.search(r'^ "name": "(\w+)"', request, re.MULTILINE)
    assert found
    name = found.group(1)
    if "Somebody else has written" in request:
        return f"```json\n{json.dumps({'tests': OTHERS[name]})}\n```"
    return f"```python\n{CODE[name]}\n```\n```json\n{json.dumps({'tests': OWN[name]})}\n```"
