import json

import pytest
from sqlalchemy import select, update

from evolvent.hive.hub.events import read_events
from evolvent.hive.hub.item_list import ASSIGNED_S
from evolvent.hive.hub.items import MAX_DEPTH
from evolvent.hive.hub.schema import items
from evolvent.hive.hub.times import later
from hive.hub.scene import Scene, refused


@pytest.fixture
def scene(any_speaker):
    return Scene(any_speaker)


def add(scene, title="work", **more):
    answer = scene.ask("POST", "/items", "ann", json={"title": title, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def change(scene, item, expect=200, **more):
    answer = scene.ask("PATCH", f"/items/{item}", "ann", json=more)
    assert answer.status_code == expect, answer.text
    return answer.json()


def listed(scene, **params):
    return [one["id"] for one in scene.get("/items", **params)["items"]]


def age(scene, item, seconds):
    with scene.hub.database.write() as connection:
        connection.execute(update(items).where(items.c.id == item).values(assigned_at=later(-seconds)))


def test_items_are_numbered_within_their_task(scene):
    scene.open("golf-2")
    assert [add(scene)["id"] for _ in range(3)] == ["GOLF-1", "GOLF-2", "GOLF-3"]
    other = scene.ask("POST", "/api/tasks/golf-2/items", "ann", json={"title": "x"}).json()
    assert other["id"] == "GOLF-2-1", "two tasks that begin alike never share a number"
    assert scene.get("/items/golf-2")["id"] == "GOLF-2"


def test_an_item_is_told_as_it_was_said(scene):
    said = {"title": "Größer", "description": "why", "status": "review", "priority": "high", "labels": ["a", "B_2"]}
    made = add(scene, metadata={"deep": [1, {"x": None}], "ü": "\u2713"}, assignee_id="bob", **said)
    told = scene.get(f"/items/{made['id']}")
    assert told == made
    for name, value in said.items():
        assert told[name] == value
    assert told["metadata"] == {"deep": [1, {"x": None}], "ü": "\u2713"} and told["created_by"] == "ann"
    assert told["assignee_id"] == "bob" and told["assignment_expires_at"] > told["assigned_at"]
    assert told["comment_count"] == 0 and told["children"] == [] and told["parent_id"] is None
    plain = add(scene)
    assert (plain["status"], plain["priority"], plain["labels"], plain["metadata"]) == ("backlog", "none", [], None)


WRONG = [
    *({}, {"title": " "}, {"title": "x" * 501}, {"title": "a\0"}, {"title": None}, {"title": "x", "status": "done"}),
    *({"title": "x", "status": None}, {"title": "x", "priority": "top"}, {"title": "x", "labels": ["a b"]}),
    *({"title": "x", "labels": ["a"] * 21}, {"title": "x", "labels": ["a" * 51]}, {"title": "x", "labels": "a"}),
    *({"title": "x", "description": "y" * 10_001}, {"title": "x", "metadata": []}, {"title": "x", "labels": None}),
    *({"title": "x", "assignee_id": "a\0"}, {"title": "x", "parent_id": "a\0"}, {"title": "x", "parent_id": 3}),
]
METADATA = ['{"x": "' + "y" * 16_400 + '"}', '{"x": NaN}', '{"x": 1e999}', '{"x": ' * 40 + "1" + "}" * 40]


def test_what_an_item_may_say_is_bounded(speaker):
    scene = Scene(speaker)
    for wrong in WRONG:
        refused(scene.ask("POST", "/items", "ann", json=wrong), 422)
    for metadata in METADATA:
        body = '{"title": "x", "metadata": ' + metadata + "}"
        assert scene.ask("POST", "/items", "ann", content=body).status_code in (400, 422), metadata[:40]
    assert listed(scene) == []


def test_odd_characters_in_metadata_are_kept_or_refused_but_break_nothing(scene):
    body = '{"title": "x", "metadata": {"nul": "a\\u0000b", "half": "\\ud800", "big": 123456789012345678901234567890}}'
    answer = scene.ask("POST", "/items", "ann", content=body)
    assert answer.status_code in (201, 400, 422)
    assert scene.ask("GET", "/items").status_code == 200


def test_items_lie_at_most_five_deep_and_never_below_themselves(scene):
    chain = [add(scene)["id"]]
    for _ in range(MAX_DEPTH - 1):
        chain.append(add(scene, parent_id=chain[-1])["id"])
    assert "deep" in refused(scene.ask("POST", "/items", "ann", json={"title": "x", "parent_id": chain[-1]}), 400)
    top, below = add(scene)["id"], None
    below = add(scene, parent_id=top)["id"]
    change(scene, top, parent_id=chain[2])
    change(scene, top, parent_id=chain[3], expect=400)
    change(scene, below, parent_id=chain[3])
    for parent in (chain[0], chain[1], chain[3]):
        assert "itself" in change(scene, chain[0], parent_id=parent, expect=400)["detail"]
    assert [one["id"] for one in scene.get(f"/items/{chain[2]}")["children"]] == [chain[3], top]
    assert change(scene, top, parent_id=None)["parent_id"] is None


def test_parents_and_assignees_must_be_there(scene):
    scene.open("other")
    foreign = scene.ask("POST", "/api/tasks/other/items", "ann", json={"title": "x"}).json()["id"]
    item = add(scene)["id"]
    for wrong in ({"parent_id": foreign}, {"parent_id": "GOLF-99"}, {"assignee_id": "nobody"}):
        refused(scene.ask("POST", "/items", "ann", json={"title": "x"} | wrong), 404)
        change(scene, item, expect=404, **wrong)
    assert add(scene)["id"] == "GOLF-2", "what was refused takes no number"


def test_a_change_leaves_everything_else_as_it_was(scene):
    item = add(scene, description="d", labels=["a"], metadata={"k": 1}, assignee_id="bob", priority="low")
    changed = change(scene, item["id"], title="new")
    same = set(item) - {"title", "updated_at"}
    assert {name: changed[name] for name in same} == {name: item[name] for name in same}
    assert changed["title"] == "new" and changed["updated_at"] > item["updated_at"]
    emptied = change(scene, item["id"], description=None, metadata=None, labels=[], assignee_id=None)
    assert (emptied["description"], emptied["metadata"], emptied["labels"]) == (None, None, [])
    assert emptied["assignee_id"] is None and emptied["assigned_at"] is None
    refused(scene.ask("PATCH", f"/items/{item['id']}", "ann", json={}), 400)
    refused(scene.ask("PATCH", f"/items/{item['id']}", "ann", json={"id": "GOLF-9", "created_by": "bob"}), 400)
    refused(scene.ask("PATCH", "/items/GOLF-77", "ann", json={"title": "x"}), 404)


def test_an_item_is_taken_by_one_agent_for_two_hours(scene):
    item = add(scene)["id"]
    taken = scene.post(f"/items/{item}/assign", "ann")
    assert (taken["assignee_id"], taken["status"]) == ("ann", "in_progress")
    refused(scene.ask("POST", f"/items/{item}/assign", "bob"), 409)
    again = scene.post(f"/items/{item}/assign", "ann")
    assert again["assigned_at"] > taken["assigned_at"]
    age(scene, item, ASSIGNED_S + 1)
    assert scene.get(f"/items/{item}")["assignee_id"] is None and listed(scene, assignee="none") == [item]
    assert listed(scene, assignee="ann") == []
    assert scene.post(f"/items/{item}/assign", "bob")["assignee_id"] == "bob"
    assert listed(scene, assignee="bob") == [item] and listed(scene, assignee="none") == []


def test_a_patch_of_the_same_assignee_does_not_make_it_last_longer(scene):
    item = add(scene, assignee_id="ann")
    assert change(scene, item["id"], assignee_id="ann")["assigned_at"] == item["assigned_at"]
    age(scene, item["id"], ASSIGNED_S + 1)
    assert change(scene, item["id"], assignee_id="ann")["assigned_at"] > item["assigned_at"]


def test_an_archived_item_is_nobodys(scene):
    item = add(scene, assignee_id="ann")["id"]
    answer = scene.ask("PATCH", f"/items/{item}", "ann", json={"status": "archived", "assignee_id": "bob"}).json()
    assert (answer["status"], answer["assignee_id"], answer["assigned_at"]) == ("archived", None, None)
    refused(scene.ask("POST", f"/items/{item}/assign", "bob"), 409)
    later_on = scene.ask("PATCH", f"/items/{item}", "ann", json={"assignee_id": "bob"}).json()
    assert later_on["assignee_id"] is None


def test_items_are_filtered_and_sorted(scene):
    first = add(scene, labels=["Fast", "x"], priority="low")["id"]
    second = add(scene, labels=["fast"], priority="urgent", status="review")["id"]
    third = add(scene, labels=["faster"], parent_id=first, status="archived")["id"]
    assert listed(scene) == [third, second, first]
    assert listed(scene, label="fast") == [second] and listed(scene, label="Fast") == [first]
    assert listed(scene, label="_ast") == [] and listed(scene, label='"') == []
    assert listed(scene, status="review") == [second] and listed(scene, status="!archived") == [second, first]
    assert listed(scene, priority="urgent") == [second] and listed(scene, parent=first.lower()) == [third]
    assert listed(scene, sort="priority") == [second, first, third]
    assert listed(scene, sort="priority:desc") == [third, first, second]
    change(scene, first, title="newer")
    assert listed(scene, sort="updated")[0] == first and listed(scene, sort="recent:asc")[0] == first
    page = scene.get("/items", per_page=2)
    assert page["has_next"] and len(page["items"]) == 2 and scene.get("/items")["per_page"] == 25
    for wrong in ("status=done", "priority=!low", "sort=luck", "sort=recent:up"):
        refused(scene.ask("GET", f"/items?{wrong}"), 422)


def test_only_who_made_an_item_takes_it_away_and_parts_go_first(scene):
    top = add(scene)["id"]
    part = add(scene, parent_id=top)["id"]
    refused(scene.ask("DELETE", f"/items/{top}", "ann"), 409)
    refused(scene.ask("DELETE", f"/items/{part}", "bob"), 403)
    answer = scene.client.delete(f"/api/tasks/golf/items/{part}", params={"token": scene.tokens["ann"]})
    assert answer.status_code == 204 and answer.content == b""
    assert scene.ask("DELETE", f"/items/{top}", "ann").status_code == 204
    refused(scene.ask("DELETE", f"/items/{top}", "ann"), 404)
    refused(scene.ask("GET", f"/items/{top}"), 404)
    assert listed(scene) == [] and add(scene)["id"] == "GOLF-3", "numbers are not given twice"
    with scene.hub.database.read() as connection:
        gone = connection.execute(select(items.c.deleted_at).order_by(items.c.seq)).scalars().all()
        assert gone[0] and gone[1] and gone[2] is None, "what was taken away is still in the log"


def test_what_is_said_of_an_item_is_counted_listed_and_taken_back_by_its_author(scene):
    item = add(scene)["id"]
    first, second = (scene.post(f"/items/{item}/comments", who, content=who)["id"] for who in ("ann", "bob"))
    told = scene.get(f"/items/{item}/comments")
    assert [(one["id"], one["agent_id"], one["content"]) for one in told["comments"]] == [
        (first, "ann", "ann"),
        (second, "bob", "bob"),
    ]
    assert scene.get(f"/items/{item}")["comment_count"] == scene.get("/items")["items"][0]["comment_count"] == 2
    refused(scene.ask("DELETE", f"/items/{item}/comments/{first}", "bob"), 403)
    answer = scene.client.delete(f"/api/tasks/golf/items/{item}/comments/{first}?token={scene.tokens['ann']}")
    assert answer.status_code == 204
    for number in (first, second + 50, 0, 2**63, 2**90):
        refused(scene.ask("DELETE", f"/items/{item}/comments/{number}", "ann"), 404)
    assert scene.get(f"/items/{item}")["comment_count"] == 1
    other = add(scene)["id"]
    refused(scene.ask("DELETE", f"/items/{other}/comments/{second}", "bob"), 404)
    refused(scene.ask("POST", f"/items/{item}/comments", "ann", json={"content": " "}), 422)


def test_activity_shows_what_came_of_an_item(scene):
    item = add(scene)["id"]
    scene.post(f"/items/{item}/comments", "ann", content="on it")
    scene.post("/skills", "bob", name="a trick", item_id=item)
    told = scene.get(f"/items/{item}/activity")["activity"]
    assert [(one["type"], one["agent_id"], one["content"]) for one in told] == [
        ("skill", "bob", "a trick"),
        ("item_comment", "ann", "on it"),
    ]
    assert scene.get(f"/items/{item}/activity", per_page=1)["has_next"]


def test_every_change_of_an_item_stands_in_the_log(scene):
    item = add(scene)["id"]
    change(scene, item, title="new")
    scene.post(f"/items/{item}/assign", "bob")
    scene.post(f"/items/{item}/comments", "bob", content="done")
    scene.ask("DELETE", f"/items/{item}", "ann")
    with scene.hub.database.read() as connection:
        told = [one for one in read_events(connection, task="golf") if one["kind"] == "item"]
    assert [one["data"]["what"] for one in told] == ["new", "changed", "taken", "comment", "gone"]
    assert {one["data"]["id"] for one in told} == {item} and json.dumps(told)


def test_listing_items_takes_as_many_statements_for_one_as_for_many(speaker):
    scene, counts = Scene(speaker), []
    for num in (1, 20):
        for _ in range(num):
            item = add(scene)["id"]
            scene.post(f"/items/{item}/comments", "ann", content="x")
        with scene.statements() as sent:
            scene.get("/items")
        counts.append(len(sent))
    assert counts == [2, 2]
