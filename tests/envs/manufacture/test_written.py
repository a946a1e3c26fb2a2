import json
from dataclasses import dataclass, field, replace

import pytest

from envs.manufacture.clerk import MORE, OTHERS, SCHEMA, TOOLS, Clerk
from evolvent import BadInput
from evolvent.envs.databases import Parameter, PythonTool
from evolvent.envs.databases.corpus import read_world, write_world
from evolvent.envs.manufacture import Manufacturer, Parametric, Written
from evolvent.envs.manufacture.extract import extract_json, extract_python
from evolvent.envs.manufacture.prompts import prompts_digest
from evolvent.envs.manufacture.read import enriched, read_cases, read_database, read_tools
from evolvent.envs.manufacture.written import is_blind
from evolvent.errors import InfrastructureError
from evolvent.policies.endpoint import Endpoint
from evolvent.policies.scripted import Fixed
from evolvent.serve import PolicyDesk, background, make_app


@dataclass
class Counting:
    """A clerk whose requests are counted; it breaks off after `most` of them."""

    most: int = 10**6
    name: str = "clerk"
    asked: list = field(default_factory=list)

    async def sample(self, prompts, how):
        if len(self.asked) >= self.most:
            raise InfrastructureError("the endpoint is down")
        self.asked += prompts
        return await Clerk().sample(prompts, how)


@pytest.fixture(scope="module")
def made():
    return Written(Clerk(), ("a lending library",)).make(0)


def test_a_world_is_written_repaired_and_filtered_end_to_end(made):
    """Of seven tools one never compiles, one only pretends to write, one is right at just half of the tests, and of one
    the tests tell nothing."""
    assert [tool.name for tool in made.database.tools] == ["pages_of", "books_of", "lend"]
    assert made.funnel == {
        "worlds begun": 1,
        "rounds of rows": 2,
        "tools promised": 7,
        "tools that pass their own tests": 6,
        "faults in code": 4,
        "faults in tables": 1,
        "requests": 21,
        "tools dropped, blind tests": 1,
        "tools dropped, fails its tests": 2,
        "tools kept": 3,
        "worlds kept": 1,
    }
    assert {case.tool for case in made.cases} == {"pages_of", "books_of", "lend"}
    assert made.database.table("book").rows[-1] == ("b5", "m3", 90), "the rows of the second round are there"
    assert made.database.labels == ("a lending library",)


def test_a_written_world_can_be_kept_on_disk_and_played(made, tmp_path):
    write_world(tmp_path / "w", made.database)
    world = read_world(tmp_path / "w").open(None, 0)
    try:
        assert world.run("lend", {"book_id": "b2", "member_id": "m1"}) == "lent"
        assert world.evidence()["changes"]["book"]["new"] == [["b2", "m1", 90]]
    finally:
        world.close()


def test_answers_are_kept_and_never_asked_for_twice(tmp_path):
    first, second = Counting(), Counting()
    plan = Written(first, ("a lending library",), archive=str(tmp_path), num_rounds=1)
    world = plan.make(0)
    again = replace(plan, policy=second).make(0)
    assert again == world
    assert len(first.asked) == world.funnel["requests"]
    assert second.asked == []


def test_what_was_answered_before_the_endpoint_broke_is_not_asked_for_again(tmp_path):
    breaking, rest, whole = Counting(most=9), Counting(), Counting()
    plan = Written(breaking, ("a lending library",), archive=str(tmp_path / "a"), num_rounds=1)
    with pytest.raises(InfrastructureError):
        plan.make(0)
    world = replace(plan, policy=rest).make(0)
    assert world == replace(plan, policy=whole, archive=str(tmp_path / "b")).make(0)
    assert len(rest.asked) == len(whole.asked) - 9
    assert (tmp_path / "a" / "000000.jsonl").read_bytes() == (tmp_path / "b" / "000000.jsonl").read_bytes()


def test_the_second_author_never_sees_the_code():
    author, tester = Counting(), Counting()
    Written(author, ("a lending library",), tester=tester, num_rounds=1).make(0)
    assert len(tester.asked) == 6
    for prompt in tester.asked:
        assert "def " not in prompt.messages[-1].text
        assert "promise" in prompt.messages[-1].text


def test_each_round_of_themes_asks_for_another_variant():
    author = Counting()
    plan = Written(author, ("a library", "a zoo"), num_rounds=0, num_tools=1)
    for number in (0, 1, 2):
        plan.make(number)
    schemas = [p.messages[1].text for p in author.asked if "Design a relational" in p.messages[1].text]
    assert "a zoo" in schemas[2]
    assert "variant 2" in schemas[-1]
    assert "a library" in schemas[-1]


def test_a_model_that_says_nothing_useful_gives_no_world_and_says_where():
    made = Written(Fixed("I would rather not."), ("a library",), num_repairs=1).make(0)
    assert made.database is None
    assert made.why == "no tables that can be built"
    assert made.funnel == {"worlds begun": 1, "faults in tables": 2, "requests": 2}


def test_a_world_is_written_over_a_real_socket(made):
    with background(make_app(PolicyDesk(Clerk(), None, "clerk"))) as url:
        policy = Endpoint(f"{url}/v1", "clerk", name="clerk")
        found = Written(policy, ("a lending library",)).make(0)
    assert found == made


def test_the_card_says_who_wrote_with_which_prompts():
    told = Written(Clerk(), ("a library",), tester=Fixed("x")).describe()
    assert told["policy"] == "clerk"
    assert told["tester"] == "fixed"
    assert told["prompts"] == prompts_digest()
    json.dumps(told)
    assert isinstance(Written(Clerk(), ("a",)), Manufacturer)
    assert isinstance(Parametric(), Manufacturer)
    with pytest.raises(BadInput, match="no themes"):
        Written(Clerk(), ())


# ------------------------------------------------------------ out of words


@pytest.mark.parametrize("words", [
    '{"a": [1]}',
    'Sure!\n```json\n{"a": [1]}\n```\nAnything else?',
    'First ```json\n{"a": 0}\n``` no, rather\n```json\n{"a": [1]}\n```',
    '<think>maybe {"b": 2}</think>{"a": [1]} and so on',
    '```\n{"a": [1]}',
    '```json\n{"a": [1]} // done\n```',
    '~ {"a": [1]}',
])  # fmt: skip
def test_json_is_found_in_words(words):
    assert extract_json(words) == {"a": [1]}


@pytest.mark.parametrize("words", ["", "no", "{", '{"a": }', "[" * 100_000, "```json\n```"])
def test_no_json_is_said(words):
    with pytest.raises(BadInput, match="no JSON"):
        extract_json(words)


@pytest.mark.parametrize("words", [
    "```python\nimport re\ndef f(db):\n    return 1\n```",
    "```py\ndef other():\n    pass\n```\n```python\nimport re\ndef f(db):\n    return 1\n```",
    "import re\ndef f(db):\n    return 1\n",
    "```\nimport re\ndef f(db):\n    return 1",
])  # fmt: skip
def test_python_is_found_in_words(words):
    assert extract_python(words, "f") == "import re\ndef f(db):\n    return 1\n"


def test_no_python_is_said():
    for words in ("", "def g(db): pass", "```python\ndef ff(db):\n    pass\n```"):
        with pytest.raises(BadInput, match="defines f"):
            extract_python(words, "f")


# ------------------------------------------------------------ out of JSON


def changed(path, value):
    """The schema with one value other than it is."""
    data = json.loads(json.dumps(SCHEMA))
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(("data", "words"), [
    ([], "no object"),
    ({}, "tables is no list"),
    ({"tables": []}, "number of tables"),
    (changed(["tables", 0, "name"], "a b"), "no name for a table"),
    (changed(["tables", 1, "name"], "member"), "called alike"),
    (changed(["tables", 1, "columns", 2, "kind"], "date"), "no such kind"),
    (changed(["tables", 1, "columns", 1, "references"], "nobody"), "refers to no table"),
    (changed(["tables", 1, "rows", 0], ["b1", "m1"]), "does not fit its table"),
    (changed(["tables", 1, "rows", 0, 2], "many"), "does not fit"),
    (changed(["tables", 1, "rows", 0, 2], True), "does not fit"),
    (changed(["tables", 1, "rows", 0, 2], 2**70), "too large"),
    (changed(["tables", 1, "rows", 0, 0], None), "does not fit"),
    (changed(["tables", 1, "rows", 0, 0], "b2"), "the same key"),
    (changed(["tables", 1, "rows", 0, 1], "m9"), "a key that is not there"),
    (changed(["tables", 0, "columns"], []), "without columns"),
    (changed(["tables", 0, "rows"], [[f"m{i}", "x"] for i in range(600)]), "too many rows"),
])  # fmt: skip
def test_a_wrong_schema_is_said_in_words_that_a_model_can_act_on(data, words):
    with pytest.raises(BadInput, match=words):
        read_database(data, "w", "theme")


def test_enrichment_adds_and_never_takes_away():
    world = read_database(SCHEMA, "w", "theme")
    more = enriched(world, MORE)
    assert more.table("book").rows == (*world.table("book").rows, ("b5", "m3", 90))
    assert enriched(more, MORE) == more, "the same row again is no second row"
    with pytest.raises(BadInput, match="does not exist"):
        enriched(world, {"rows": {"boook": []}})
    with pytest.raises(BadInput, match="the same key"):
        enriched(world, {"rows": {"book": [["b1", "m1", 121]]}})


def test_tools_are_read_each_once_and_checked():
    found = read_tools({"tools": [*TOOLS, TOOLS[0]]}, 3)
    assert [tool.name for tool in found] == ["pages_of", "books_of", "lend"]
    for wrong, words in (
        ({"name": "f", "description": ""}, "without a description"),
        ({"name": "f", "description": "x", "parameters": [{"name": "db"}]}, "called db"),
        ({"name": "f g", "description": "x"}, "no name"),
    ):
        with pytest.raises(BadInput, match=words):
            read_tools({"tools": [wrong]}, 3)


def test_a_test_that_wants_nothing_is_no_test():
    tool = PythonTool("f", "", (Parameter("a"),), "")
    assert read_cases({"tests": OTHERS["lend"]}, tool)[1].refuses
    with pytest.raises(BadInput, match="wants nothing"):
        read_cases([{"arguments": {"a": "x"}}], tool)
    assert not read_cases([{"arguments": {}, "leaves": [{"sql": "SELECT 1", "rows": [[1]]}]}], tool)[0].wants_answer


def test_tests_are_blind_where_no_planted_mistake_shows(made):
    cases = made.cases
    assert not is_blind(made.database, "lend", cases)
    weak = tuple(replace(c, wants_answer=False, refuses=False, leaves=()) for c in cases if not c.refuses)
    assert is_blind(made.database, "pages_of", weak)
