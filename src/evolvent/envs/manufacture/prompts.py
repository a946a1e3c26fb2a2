"""What a model is asked while it writes a world, one request a stage; a change here changes every digest in a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from evolvent.envs.databases import Database, PythonTool
from evolvent.envs.databases.records import create_sql

ROWS_SHOWN = 12  # of each table

ROLE = """You build small, realistic business databases and the functions that clerks use to work with them.
Reply with exactly the blocks that are asked for. Words outside of the blocks are ignored."""

SCHEMA = """Theme: {theme}

Design a relational database for this theme, with 2 to 6 tables that refer to each other, and fill it.
- The first column of each table is its primary key. Keys are short texts or whole numbers that a person could say.
- A column's kind is "text", "integer" or "real". No other kinds; write dates as text, YYYY-MM-DD.
- "references" names the table whose key a column holds; leave it "" otherwise. Every such value must exist there.
- Tables that others refer to come first. 8 to 15 rows a table, with values that differ, repeat and tie as in real data.
- "rules" are at most 5 sentences on what staff may and may not do, each of which a function could enforce.
{variant}
Reply with one ```json block:
{{"name": "short_name", "rules": ["..."], "tables": [{{"name": "...", "columns": [{{"name": "...", "kind": "text",
"references": ""}}], "rows": [["...", 1]]}}]}}"""

ENRICH = """Theme: {theme}

This is a database that is still too small and too plain:

{tables}

Add rows that make questions about it harder: near duplicates, boundary values, empty groups, long chains of references,
values that are NULL where a real form would be left blank. You may add at most one new table. Do not repeat rows.
Reply with one ```json block that holds only what is new:
{{"rows": {{"table name": [["...", 1]]}}, "tables": []}}
A new table: {{"name": "...", "columns": [{{"name": "...", "kind": "text", "references": ""}}], "rows": []}}."""

TOOLS = """Theme: {theme}

{tables}

Rules: {rules}

List {num_tools} functions by which an agent should work with this database: about half of them read (look up, search,
filter, count, add up, compare across tables) and the rest change something (create, update, move, cancel, delete).
- Each does one thing that a clerk would ask for. None runs SQL that the caller wrote.
- A name is in snake_case. A parameter's kind is "text", "integer" or "real"; all parameters are required.
- The description says exactly what is given back, with its field names, and when the call is refused.
Reply with one ```json block:
{{"tools": [{{"name": "...", "description": "...", "parameters": [{{"name": "...", "kind": "text",
"description": "..."}}]}}]}}"""

CODE = """{tables}

Rules: {rules}

Write this function in Python, and tests for it.

{tool}

- The signature is `def {name}({signature})`. `db` is a sqlite3 connection to the database above.
- Import from the standard library only. No files, no network, no clock, no random numbers, no printing.
- Pass values as SQL parameters, never by pasting them into the statement. Do not commit; do not change the schema.
- Return values that JSON can hold. Refuse a call by raising ValueError with a sentence that says why.

Reply with one ```python block that holds the function, and one ```json block with 4 to 8 tests of it on the rows above.
Each test runs alone on a fresh copy:
{cases}"""

TESTS = """{tables}

Rules: {rules}

Somebody else has written this function. You see what it promises, and not its code:

{tool}

Write {num_cases} tests of the promise on the rows above; work every expected value out from the rows yourself. Use the
usual case, a boundary, a value that does not exist, and, for a function that changes something, what must be found in
the tables afterwards. Where the description leaves something open, do not test it.
Reply with one ```json block:
{cases}"""

CASES = """{"tests": [{"arguments": {"...": "..."}, "returns": ...,
"leaves": [{"sql": "SELECT ...", "rows": [["..."]]}]},
{"arguments": {"...": "..."}, "refuses": true}]}
"returns" is the exact answer as JSON (leave it out where any answer is right), "refuses" says that the call must
raise, and "leaves" lists queries with the rows that they must find after the call (leave it out where nothing is
written)."""

REPAIR = """That cannot be used:

{fault}

Reply again in full, in the same form, with this put right."""

VARIANT = "This is variant {number} of the theme: choose another kind of organisation and other tables than usual."


def prompts_digest() -> str:
    """SHA-256 of all of them, for the card of what was made with them."""
    texts = (ROLE, SCHEMA, ENRICH, TOOLS, CODE, TESTS, CASES, REPAIR, VARIANT)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def show_tables(database: Database) -> str:
    """The schema as SQL with the rows, or the first of them, as JSON lines."""
    parts = []
    for table in database.tables:
        rows = [json.dumps(list(row), ensure_ascii=False) for row in table.rows]
        more = f"\n... and {len(rows) - ROWS_SHOWN} more rows" if len(rows) > ROWS_SHOWN else ""
        parts.append(f"{create_sql(table)}\n" + "\n".join(rows[:ROWS_SHOWN]) + more)
    return "\n\n".join(parts)


def show_all_rows(database: Database) -> str:
    """The schema as SQL with every row, for those who must work values out."""
    return "\n\n".join(
        create_sql(table) + "\n" + "\n".join(json.dumps(list(row), ensure_ascii=False) for row in table.rows)
        for table in database.tables
    )


def show_tool(tool: PythonTool | Mapping[str, object]) -> str:
    """What a tool promises, without its code."""
    if isinstance(tool, PythonTool):
        parameters = [{"name": p.name, "kind": p.kind, "description": p.description} for p in tool.parameters]
        tool = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return json.dumps(tool, indent=1, ensure_ascii=False)
