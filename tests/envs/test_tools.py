from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Optional

import pytest

from evolvent.envs.tools import as_tool, pick, validate
from evolvent.errors import BadInput, ToolError


def search(
    query: str,
    num: int = 3,
    *,
    kind: Literal["web", "news"] = "web",
    near: float | None = None,
    tags: list[str] | None = None,
    exact: bool = False,
    site: Optional[str] = None,  # noqa: UP045
) -> str:
    """Find pages that
    match.

    query: the words
    num: how many
    """
    return query


@dataclass(frozen=True)
class Repeat:
    """A tool with a number."""

    num_times: int
    name: str = "repeat"

    def __call__(self, text: str) -> str:
        """Say it again."""
        return text * self.num_times


def anything(*parts: str) -> str:
    return ""


def odd(value: Callable[[], int]) -> str:
    return ""


def test_the_schema_comes_from_the_signature_and_the_docstring() -> None:
    tool = as_tool(search)
    assert (tool.name, tool.description) == ("search", "Find pages that match.")
    assert tool.parameters == {
        "type": "object",
        "required": ["query"],
        "properties": {
            "query": {"type": "string", "description": "the words"},
            "num": {"type": "integer", "default": 3, "description": "how many"},
            "kind": {"type": "string", "enum": ["web", "news"], "default": "web"},
            "near": {"anyOf": [{"type": "number"}, {"type": "null"}], "default": None},
            "tags": {
                "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}],
                "default": None,
            },
            "exact": {"type": "boolean", "default": False},
            "site": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
    }


def test_a_frozen_dataclass_is_a_tool_under_its_own_name() -> None:
    tool = as_tool(Repeat(2))
    assert (tool.name, tool.description) == ("repeat", "Say it again.")
    assert tool.parameters["required"] == ["text"]


@pytest.mark.parametrize("function", [anything, odd])
def test_a_function_without_a_schema_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(BadInput):
        as_tool(function)


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": "a"},
        {"query": "", "num": 0, "kind": "news", "near": 1, "tags": [], "exact": True, "site": None},
        {"query": "a", "near": None, "tags": ["x", "y"]},
    ],
)
def test_good_arguments_pass(arguments: dict[str, Any]) -> None:
    validate(as_tool(search), arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "search needs 'query'"),
        ({"query": "a", "quety": "b"}, "did you mean query"),
        ({"query": 3}, 'wanted a string: write "3" in quotes'),
        ({"query": "a", "num": "3"}, "wanted a whole number: write 3 without quotes"),
        ({"query": "a", "num": 3.0}, "write 3"),
        ({"query": "a", "num": True}, "is true, wanted a whole number"),
        ({"query": "a", "near": "1.5"}, "write 1.5 without quotes"),
        ({"query": "a", "near": float("nan")}, "wanted a number"),
        ({"query": "a", "kind": "books"}, 'wanted one of "web", "news"'),
        ({"query": "a", "tags": ["x", 1]}, "item 1 is 1, wanted a string"),
        ({"query": "a", "exact": "yes"}, "wanted true or false"),
        ({"query": None}, "is null, wanted a string"),
    ],
)
def test_bad_arguments_are_explained(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ToolError, match=words):
        validate(as_tool(search), arguments)


def test_an_unknown_tool_names_the_nearest() -> None:
    with pytest.raises(ToolError, match="did you mean search"):
        pick([as_tool(search), as_tool(Repeat(1))], "serch")
