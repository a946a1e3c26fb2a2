"""Database worlds written by a model: a theme becomes tables, rows, Python tools and their tests, and meets the gates.

The author's own tests only say when to repair. What decides is tests by somebody who never sees the code, and whether
these tests notice mistakes that are planted in the tool.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from evolvent.envs.databases import Database, PythonTool
from evolvent.envs.manufacture import prompts
from evolvent.envs.manufacture.cases import Case, faults_of
from evolvent.envs.manufacture.extract import extract_json, extract_python
from evolvent.envs.manufacture.gates import Dropped, Gated, compile_fault, gate, is_above
from evolvent.envs.manufacture.made import Made, finish
from evolvent.envs.manufacture.mutants import MISTAKES, mutate
from evolvent.envs.manufacture.read import enriched, read_cases, read_database, read_tools
from evolvent.envs.manufacture.talk import Talk
from evolvent.errors import BadInput
from evolvent.policies.archived import Archived
from evolvent.policies.policy import Policy
from evolvent.records import Sampling

T = TypeVar("T")
NUM_CASES = 8  # that the second author is asked for
MAX_FAULTS_SHOWN = 3


@dataclass(frozen=True)
class Written:
    """Worlds by a policy, the themes in turn; `tester` writes the tests that count (left out: the same policy again).

    Every answer is kept in `archive`, one file a world, and is not asked for twice.
    """

    policy: Policy
    themes: tuple[str, ...]
    seed: int = 0
    tester: Policy | None = None
    archive: str | None = None
    num_rounds: int = 2  # of enrichment
    num_tools: int = 8
    num_repairs: int = 3
    max_tokens: int = 8192
    temperature: float = 0.7

    def __post_init__(self) -> None:
        if not self.themes:
            raise BadInput(
                "no themes", where="Written.themes", wanted="at least one", cure="a line of themes=FILE each"
            )

    def make(self, number: int) -> Made:
        """World `number`; the same again where the answers are the same."""
        how = Sampling(self.max_tokens, self.temperature, seed=self.seed)
        return _Author(self._kept(number), number, Talk(prompts.ROLE, prompts.REPAIR, how, self.num_repairs)).write()

    def _kept(self, number: int) -> Written:
        """The plan with policies whose answers are kept."""
        if self.archive is None:
            return self
        home = Path(self.archive)
        tester = Archived(self.tester, home / f"{number:06d}-tests.jsonl") if self.tester else None
        return replace(self, policy=Archived(self.policy, home / f"{number:06d}.jsonl"), tester=tester)

    def describe(self) -> Mapping[str, object]:
        """The policies, the numbers, and the digest of all prompts."""
        return {
            "maker": "written",
            "policy": self.policy.name,
            "tester": (self.tester or self.policy).name,
            "themes": list(self.themes),
            "prompts": prompts.prompts_digest(),
            **{
                k: getattr(self, k)
                for k in ("seed", "num_rounds", "num_tools", "num_repairs", "max_tokens", "temperature")
            },
        }


class _Author:
    """One world on its way."""

    def __init__(self, plan: Written, number: int, talk: Talk) -> None:
        self.plan, self.number, self.talk = plan, number, talk
        self.theme = plan.themes[number % len(plan.themes)]
        self.counts: dict[str, int] = {"worlds begun": 1}

    def write(self) -> Made:
        """Tables, rows, tools, and the gates."""
        database = self._tables()
        if database is None:
            return Made(None, (), self._funnel(), "no tables that can be built")
        database = self._grow(database)
        promised = self._promises(database)
        if not promised:
            return Made(None, (), self._funnel(), "no tools that can be read")
        written = [tool for one in promised if (tool := self._code(database, one)) is not None]
        self.counts["tools that pass their own tests"] = len(written)
        if not written:
            return Made(None, (), self._funnel(), "no tool passed its author's own tests")
        database = replace(database, tools=tuple(written))
        cases = tuple(case for tool in written for case in self._tests(database, tool))
        found = self._drop_blind(gate(database, cases), cases)
        reasons = {f"tools dropped, {why}": num for why, num in found.reasons.items()}
        return finish(found, cases, self._funnel() | reasons)

    def _tables(self) -> Database | None:
        turn = self.number // len(self.plan.themes)
        variant = prompts.VARIANT.format(number=turn + 1) + "\n" if turn else ""
        name = f"written-{self.plan.seed}-{self.number}"
        return self._ask("tables", prompts.SCHEMA.format(theme=self.theme, variant=variant),
                         lambda words: read_database(extract_json(words), name, self.theme))  # fmt: skip

    def _grow(self, database: Database) -> Database:
        """Enriched again and again; a round that comes to nothing leaves the world as it was."""
        for _ in range(self.plan.num_rounds):
            request = prompts.ENRICH.format(theme=self.theme, tables=prompts.show_all_rows(database))
            found = self._ask("rows", request, functools.partial(_read_more, database))
            self.counts["rounds of rows"] = self.counts.get("rounds of rows", 0) + (found is not None)
            database = found or database
        return database

    def _promises(self, database: Database) -> tuple[PythonTool, ...]:
        request = prompts.TOOLS.format(
            theme=self.theme,
            tables=prompts.show_tables(database),
            rules=_rules(database),
            num_tools=self.plan.num_tools,
        )
        found = self._ask("tools", request, lambda words: read_tools(extract_json(words), self.plan.num_tools)) or ()
        self.counts["tools promised"] = len(found)
        return found

    def _code(self, database: Database, tool: PythonTool) -> PythonTool | None:
        """The tool with its source, once more than half of its author's own tests pass."""
        request = prompts.CODE.format(
            tables=prompts.show_all_rows(database),
            rules=_rules(database),
            tool=prompts.show_tool(tool),
            name=tool.name,
            signature=", ".join(["db", *(p.name for p in tool.parameters)]),
            cases=prompts.CASES,
        )

        def read(words: str) -> PythonTool:
            made = replace(tool, source=extract_python(words, tool.name))
            fault = compile_fault(made)
            if fault:
                raise BadInput(fault)
            _check_own(replace(database, tools=(made,)), read_cases(extract_json(words), made))
            return made

        return self._ask("code", request, read)

    def _tests(self, database: Database, tool: PythonTool) -> tuple[Case, ...]:
        """Tests by somebody who sees the promise and the rows alone."""
        request = prompts.TESTS.format(
            tables=prompts.show_all_rows(database),
            rules=_rules(database),
            tool=prompts.show_tool(tool),
            num_cases=NUM_CASES,
            cases=prompts.CASES,
        )
        tester = self.plan.tester or self.plan.policy
        return self.talk.ask(tester, "tests", request, lambda words: read_cases(extract_json(words), tool)) or ()

    def _drop_blind(self, found: Gated, cases: tuple[Case, ...]) -> Gated:
        """Without the tools whose tests let every planted mistake pass: that they passed says nothing."""
        if found.kept is None:
            return found
        blind = [tool.name for tool in found.kept.tools if is_blind(found.kept, tool.name, cases)]
        left = tuple(tool for tool in found.kept.tools if tool.name not in blind)
        dropped = [Dropped(name, "blind tests: planted mistakes pass", found.accuracies[name]) for name in blind]
        return replace(
            found, kept=replace(found.kept, tools=left) if left else None, dropped=(*found.dropped, *dropped)
        )

    def _ask(self, stage: str, request: str, read: Callable[[str], T]) -> T | None:
        return self.talk.ask(self.plan.policy, stage, request, read)

    def _funnel(self) -> dict[str, int]:
        return {**self.counts, **dict(sorted(self.talk.counts.items()))}


def is_blind(database: Database, name: str, cases: tuple[Case, ...]) -> bool:
    """Whether no test that a tool passes notices any of the mistakes that can be planted in it."""
    tool = database.tool(name)
    mutants = [made for mistake in MISTAKES if (made := mutate(database, tool, mistake)) is not None]
    worlds = [replace(database, tools=(mutant,)) for mutant in mutants]
    own = [case for case in cases if case.tool == name]
    passed = [case for case, fault in zip(own, faults_of(database, own), strict=True) if not fault]
    return bool(worlds) and not any(any(faults_of(world, passed)) for world in worlds)


def _read_more(database: Database, words: str) -> Database:
    return enriched(database, extract_json(words))


def _check_own(database: Database, cases: tuple[Case, ...]) -> None:
    """BadInput that shows what fails, unless more than half passes."""
    failed = [(case, fault) for case, fault in zip(cases, faults_of(database, cases), strict=True) if fault]
    if not is_above(len(cases) - len(failed), len(cases)):
        shown = "\n".join(f"{dict(case.arguments)}: {fault}" for case, fault in failed[:MAX_FAULTS_SHOWN])
        raise BadInput(f"{len(failed)} of {len(cases)} of your own tests fail", got=shown)


def _rules(database: Database) -> str:
    return " ".join(database.rules) or "none"
