import re
from pathlib import Path

from evolvent.dashboard.activity import KINDS, SENTENCES, tell_event
from evolvent.hive.hub import events

HUB = Path(events.__file__).parent


def test_every_kind_of_event_that_the_hub_records_has_a_sentence():
    text = "".join(path.read_text("utf-8") for path in HUB.glob("*.py"))
    kinds = set(re.findall(r'\brecord\(\s*\w+,\s*"([^"]+)"', text))
    kinds |= set(re.findall(r'record\(\s*\w+,\s*"([^"]+)" if [^,]+ else "([^"]+)"', text)[0])
    assert len(kinds) > 8, "the pattern finds them"
    assert kinds - events.PRIVATE <= set(SENTENCES), "a page listens to these kinds, and to no others"
    assert KINDS.split("|") == list(SENTENCES)


def test_an_event_says_who_did_what_to_which_thing():
    told = tell_event({"id": 1, "at": "x", "kind": "run", "task_id": "golf", "agent_id": "ada",
                       "data": {"sha": "ab" * 20, "number": 7, "tldr": "sort  first\n"}})  # fmt: skip
    assert (told["did"], told["thing"], told["words"]) == ("submitted", "run 7", "sort first")
    assert told["href"] == "/tasks/golf/runs/" + "ab" * 20 and not told["is_of_run"]


def test_an_event_of_a_kind_that_nobody_foresaw_is_told_all_the_same():
    told = tell_event({"id": 1, "at": "x", "kind": "new_kind", "task_id": None, "agent_id": None, "data": None})
    assert told["did"] == "new kind" and told["href"] == "" and told["value"] is None
