import json
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from evolvent.hive.hub import claims as claims_module
from evolvent.hive.hub.events import read_events
from evolvent.hive.hub.feed import forget_posts
from evolvent.hive.hub.identity import register
from evolvent.hive.hub.schema import claims, comments, posts, search_entries, tasks, votes
from evolvent.hive.hub.threads import MAX_DEPTH
from evolvent.hive.hub.times import later, now
from hive.hub.scene import Scene, refused


@pytest.fixture
def scene(any_speaker):
    return Scene(any_speaker, "ann", "bob", "cid")


@pytest.fixture
def quick(speaker):
    return Scene(speaker, "ann", "bob", "cid")


def test_a_post_is_read_by_all_and_stands_in_the_log(scene):
    number = scene.say("ann", "a warm start helps ✓")
    [item] = scene.get("/feed")["items"]
    assert item["content"] == "a warm start helps ✓" and item["agent_id"] == "ann" and item["id"] == number
    assert (item["type"], item["upvotes"], item["downvotes"], item["comment_count"]) == ("post", 0, 0, 0)
    with scene.hub.database.read() as connection:
        told = [one for one in read_events(connection, task="golf") if one["kind"] == "post"]
        assert told[0]["agent_id"] == "ann" and told[0]["data"]["id"] == number
        assert connection.execute(select(tasks.c.num_posts)).scalar() == 1


def test_the_feed_is_newest_first_and_comes_in_pages(scene):
    numbers = [scene.say("ann", f"post {i}") for i in range(5)]
    first, last = scene.get("/feed", per_page=3), scene.get("/feed", per_page=3, page=2)
    assert [one["id"] for one in first["items"] + last["items"]] == numbers[::-1]
    assert first["has_next"] and not last["has_next"] and scene.get("/feed")["per_page"] == 50
    middle = scene.get(f"/feed/{numbers[2]}")["created_at"]
    assert [one["id"] for one in scene.get("/feed", since=middle)["items"]] == [numbers[4], numbers[3]]
    assert scene.get("/feed", agent="bob")["items"] == []


def test_a_post_about_a_run_is_a_result_with_what_was_measured(scene):
    sha = scene.run("ann", 3.25, tldr="order 3", claim=2.0)
    number = scene.say("bob", "reproduced", run_id=sha[:9])
    [item] = scene.get("/feed")["items"]
    told = scene.get(f"/feed/{number}")
    for one in (item, told):
        assert (one["type"], one["run_id"], one["tldr"], one["score"]) == ("result", sha, "order 3", 2.0)
        assert (one["verified"], one["verified_score"], one["verification_status"]) == (True, 3.25, "success")
    assert told["branch"] == "b"
    pending = scene.run("ann", tldr="not yet", sha="c" * 40)
    scene.say("ann", "wait", run_id=pending)
    assert scene.get("/feed")["items"][0]["verified"] is False


def test_a_post_about_a_run_of_another_task_is_refused(scene):
    scene.open("other")
    sha = scene.run("ann", 1.0, task="other", sha="d" * 40)
    body = {"type": "post", "content": "x", "run_id": sha}
    refused(scene.ask("POST", "/feed", "ann", json=body), 404)
    refused(scene.ask("POST", "/feed", "ann", json=body | {"run_id": "abc"}), 422)


def test_threads_nest_at_any_depth_and_come_back_as_a_tree(scene):
    number = scene.say("ann")
    chain = [scene.answer("bob", number, "0")]
    for i in range(1, MAX_DEPTH + 15):
        chain.append(scene.answer("ann", chain[-1], str(i), "comment"))
    other = scene.answer("cid", number, "beside")
    told = scene.get(f"/feed/{number}")
    assert [one["id"] for one in told["comments"]] == [chain[0], other] and told["comment_count"] == len(chain) + 1
    seen, depth = flatten(told["comments"])
    assert sorted(seen) == sorted([*chain, other]) and depth == MAX_DEPTH
    assert seen[chain[-1]]["parent_comment_id"] == chain[-2], "what is cut flat still says whom it answers"


def flatten(tree, depth=1):
    """Every comment of a tree by its number, and how deep it goes."""
    found, deepest = {}, depth if tree else 0
    for one in tree:
        below, deeper = flatten(one["replies"], depth + 1)
        found |= {one["id"]: one} | below
        deepest = max(deepest, deeper)
    return found, deepest


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 30), min_size=1, max_size=25))
def test_every_comment_stands_once_below_what_it_answers(quick, choices):
    quick.hub.limits.rates.clear()
    number, known = quick.say("ann"), []
    for choice in choices:
        to = known[choice % (len(known) + 1) - 1] if choice % (len(known) + 1) else None
        known.append(quick.answer("bob", to or number, "c", "comment" if to else "post"))
    told = quick.get(f"/feed/{number}", per_page=100)
    seen, _ = flatten(told["comments"])
    assert sorted(seen) == known and told["comment_count"] == len(known)
    for one in seen.values():
        assert all(reply["parent_comment_id"] == one["id"] for reply in one["replies"])


def test_comments_come_in_pages_of_those_on_the_post_itself(scene):
    number = scene.say("ann")
    tops = [scene.answer("bob", number, f"{i}") for i in range(3)]
    below = scene.answer("ann", tops[2], "last", "comment")
    first, last = scene.get(f"/feed/{number}", per_page=2), scene.get(f"/feed/{number}", per_page=2, page=2)
    assert [one["id"] for one in first["comments"]] == tops[:2] and first["has_next"]
    assert last["comments"][0]["replies"][0]["id"] == below and not last["has_next"]


def test_a_comment_needs_something_to_stand_on_in_this_task(scene):
    number = scene.say("ann")
    scene.open("other")
    body = {"type": "comment", "content": "x", "parent_id": number}
    refused(scene.ask("POST", "/api/tasks/other/feed", "ann", json=body), 404)
    for parent in (number + 1000, 0, -1, 2**63 - 1, 2**63, 2**200):
        for kind in ("post", "comment"):
            wrong = body | {"parent_id": parent, "parent_type": kind}
            refused(scene.ask("POST", "/feed", "ann", json=wrong), 404)
    refused(scene.ask("POST", "/feed", "ann", json={"type": "comment", "content": "x"}), 422)


def test_a_vote_counts_once_and_may_be_changed(scene):
    number = scene.say("ann")
    assert scene.post(f"/feed/{number}/vote", "bob", type="up") == {"upvotes": 1, "downvotes": 0}
    assert scene.post(f"/feed/{number}/vote", "bob", type="up") == {"upvotes": 1, "downvotes": 0}
    assert scene.post(f"/feed/{number}/vote", "cid", type="up") == {"upvotes": 2, "downvotes": 0}
    assert scene.post(f"/feed/{number}/vote", "bob", type="down") == {"upvotes": 1, "downvotes": 1}
    [item] = scene.get("/feed")["items"]
    assert (item["upvotes"], item["downvotes"]) == (1, 1)
    comment = scene.answer("bob", number)
    assert scene.post(f"/comments/{comment}/vote", "ann", type="up") == {"upvotes": 1, "downvotes": 0}
    assert scene.get(f"/feed/{number}")["comments"][0]["upvotes"] == 1


def test_nobody_votes_for_themselves_or_on_what_is_not_there(scene):
    number = scene.say("ann")
    comment = scene.answer("ann", number)
    refused(scene.ask("POST", f"/feed/{number}/vote", "ann", json={"type": "up"}), 403)
    refused(scene.ask("POST", f"/comments/{comment}/vote", "ann", json={"type": "up"}), 403)
    refused(scene.ask("POST", f"/feed/{number}/vote", "bob", json={"type": "sideways"}), 422)
    scene.open("other")
    for path in (
        f"/feed/{number + 999}/vote",
        f"/comments/{comment + 999}/vote",
        f"/feed/{2**63}/vote",
        "/feed/0/vote",
    ):
        refused(scene.ask("POST", path, "bob", json={"type": "up"}), 404)
    refused(scene.ask("POST", f"/api/tasks/other/feed/{number}/vote", "bob", json={"type": "up"}), 404)


def test_votes_that_race_are_all_counted(scene):
    scene.hub.limits.rates.clear()
    number, agents = scene.say("ann"), [f"voter-{i}" for i in range(8)]
    for agent in agents:
        with scene.hub.database.write() as connection:
            scene.tokens[agent] = register(connection, agent)[1]
    threads = [
        threading.Thread(target=scene.ask, args=("POST", f"/feed/{number}/vote", agent), kwargs={"json": {"type": way}})
        for agent in agents
        for way in ("down", "up", "up")
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    told = scene.get(f"/feed/{number}")
    with scene.hub.database.read() as connection:
        ways = connection.execute(select(votes.c.type, func.count()).group_by(votes.c.type)).all()
    counted = dict(map(tuple, ways))
    assert sum(counted.values()) == len(agents)
    assert (told["upvotes"], told["downvotes"]) == (counted.get("up", 0), counted.get("down", 0))


def test_a_claim_ends_by_itself_even_in_an_answer_that_was_kept(scene):
    made = scene.post("/claim", "ann", content="try order 4")
    assert [one["id"] for one in scene.get("/feed")["active_claims"]] == [made["id"]]
    scene.get("/feed")
    soon = later(1.5)
    with scene.hub.database.write() as connection:
        connection.execute(update(claims).values(expires_at=soon))
    scene.hub.answers = type(scene.hub.answers)()
    assert scene.get("/feed")["active_claims"][0]["expires_at"] == soon
    while now() <= soon:
        time.sleep(0.05)
    assert scene.get("/feed")["active_claims"] == [] and scene.get("/search", type="claim")["results"] == []


def test_the_same_claim_again_lasts_longer_and_is_not_doubled(scene):
    first = scene.post("/claim", "ann", content="try order 4")
    again = scene.post("/claim", "ann", content="try order 4")
    assert first["id"] == again["id"] and again["expires_at"] > first["expires_at"]
    assert not first["renewed"] and again["renewed"]
    scene.post("/claim", "bob", content="try order 4")
    scene.post("/claim", "ann", content="try order 5")
    assert len(scene.get("/feed")["active_claims"]) == 3


def test_claims_that_ended_are_taken_away_with_their_words(scene):
    scene.post("/claim", "ann", content="an old idea")
    with scene.hub.database.write() as connection:
        connection.execute(update(claims).values(expires_at=later(-1)))
    scene.post("/claim", "bob", content="a new idea")
    with scene.hub.database.read() as connection:
        assert connection.execute(select(claims.c.content)).scalars().all() == ["a new idea"]
        assert connection.execute(select(func.count()).select_from(search_entries)).scalar() == 1
    assert [one["content"] for one in scene.get("/search", q="idea", type="claim")["results"]] == ["a new idea"]


def test_an_agent_cannot_claim_everything(scene):
    for i in range(claims_module.MAX_OF_AGENT):
        scene.post("/claim", "ann", content=f"idea {i}")
    assert "claims" in refused(scene.ask("POST", "/claim", "ann", json={"content": "one more"}), 409)
    scene.post("/claim", "ann", content="idea 3")
    scene.post("/claim", "bob", content="one more")


def test_a_closed_task_is_read_and_not_written(scene):
    number = scene.say("ann")
    comment = scene.answer("ann", number)
    scene.close()
    for path, body in (
        ("/feed", {"type": "post", "content": "x"}),
        ("/feed", {"type": "comment", "content": "x", "parent_id": number}),
        (f"/feed/{number}/vote", {"type": "up"}),
        (f"/comments/{comment}/vote", {"type": "up"}),
        ("/claim", {"content": "x"}),
        ("/skills", {"name": "x"}),
        ("/items", {"title": "x"}),
    ):
        refused(scene.ask("POST", path, "bob", json=body), 409)
    assert scene.get("/feed")["items"] and scene.get(f"/feed/{number}")["comments"]


def test_unknown_tasks_are_404_and_strangers_401(scene):
    for path in ("/feed", "/feed/1", "/skills", "/search", "/items", "/items/GOLF-1"):
        refused(scene.ask("GET", f"/api/tasks/nothing{path}"), 404)
    for path, body in (("/feed", {"type": "post", "content": "x"}), ("/claim", {"content": "x"})):
        refused(scene.ask("POST", f"/api/tasks/nothing{path}", "ann", json=body), 404)
        refused(scene.ask("POST", path, json=body), 401)
    for number in (0, 99, 2**63, 2**80):
        refused(scene.ask("GET", f"/feed/{number}"), 404)


def test_texts_that_no_database_keeps_are_refused(scene):
    for content in ("", "   \n", "a\0b", "half \ud800 a character", "x" * 20_001, None, 5):
        refused(scene.ask("POST", "/feed", "ann", content=json.dumps({"type": "post", "content": content})), 422)
    with scene.hub.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(posts)).scalar() == 0


def test_signs_that_no_database_takes_are_refused_in_a_path_or_a_query(scene):
    for path in (
        *("/api/tasks/a%00b/feed", "/api/tasks/a%00b/search", "/api/tasks/a%00b/skills", "/api/tasks/a%00b/items"),
        *("/feed?agent=%00", "/feed?since=%00", "/search?q=%00", "/search?agent=%00", "/skills?q=%00"),
        *("/items?label=%00", "/items?assignee=%00", "/items?parent=%00", "/items/%00", "/items/%00/comments"),
        *("/api/feed?task=%00", "/feed?since=yesterday", "/feed?page=0", "/feed?per_page=101", "/feed/x"),
    ):
        answer = scene.ask("GET", path)
        assert 400 <= answer.status_code < 500, (path, answer.text)
    longest = scene.ask("POST", "/feed", "ann", json={"type": "post", "content": "é" * 20_000})
    assert longest.status_code == 201


def test_a_flood_of_posts_is_stopped_and_told_when_to_come_again(quick):
    codes = [quick.ask("POST", "/feed", "ann", json={"type": "post", "content": "x"}).status_code for _ in range(70)]
    assert codes[0] == 201 and codes[-1] == 429
    answer = quick.ask("POST", "/feed", "ann", json={"type": "post", "content": "x"})
    assert int(answer.headers["Retry-After"]) >= 1
    quick.say("bob")


def test_hot_lists_what_has_no_votes_between_liked_and_disliked(scene):
    disliked, plain, liked = scene.say("ann", "bad"), scene.say("ann", "plain"), scene.say("ann", "good")
    scene.post(f"/feed/{liked}/vote", "bob", type="up")
    scene.post(f"/feed/{disliked}/vote", "bob", type="down")
    newest = scene.say("ann", "new")

    def order(sort):
        return [one["id"] for one in scene.get("/api/feed", sort=sort)["items"]]

    assert order("new") == [newest, liked, plain, disliked]
    assert order("hot") == [liked, newest, plain, disliked]
    assert order("top") == [liked, newest, plain, disliked]
    with scene.hub.database.write() as connection:
        connection.execute(update(posts).where(posts.c.id == liked).values(created_at=later(-3 * 24 * 3600)))
    scene.say("bob", "later")
    assert order("hot")[-2:] == [disliked, liked], "an old liked post sinks, and is still there"


def test_the_front_page_shows_all_kinds_of_all_tasks(scene):
    scene.open("other")
    sha = scene.run("ann", 2.0, tldr="order 2")
    better = scene.run("ann", 1.5, parent=sha, tldr="order 3")
    scene.say("ann", "what I did", run_id=sha)
    scene.post("/skills", "ann", name="warm start", description="begin well", source_run_id=better)
    scene.post("/claim", "bob", content="order 4")
    scene.ask("POST", "/api/tasks/other/feed", "bob", json={"type": "post", "content": "elsewhere"})
    items = {one["type"]: one for one in scene.get("/api/feed")["items"]}
    assert set(items) == {"post", "result", "skill", "claim"}
    assert items["post"]["task_id"] == "other" and items["result"]["task_name"] == "Golf"
    assert (items["result"]["verified_score"], items["result"]["tldr"]) == (2.0, "order 2")
    assert (items["skill"]["name"], items["skill"]["score_delta"]) == ("warm start", -0.5)
    assert items["claim"]["expires_at"]
    assert [one["type"] for one in scene.get("/api/feed", task="other")["items"]] == ["post"]
    pages = [scene.get("/api/feed", per_page=3, page=page, sort=sort) for page in (1, 2) for sort in ("new", "hot")]
    assert [len(page["items"]) for page in pages] == [3, 3, 1, 1] and pages[0]["has_next"]


def test_the_front_page_follows_what_happens_and_lets_ended_claims_go(quick):
    quick.post("/claim", "ann", content="soon over")
    with quick.hub.database.write() as connection:
        connection.execute(update(claims).values(expires_at=(soon := later(1.5))))
    assert len(quick.get("/api/feed")["items"]) == 1
    while now() <= soon:
        time.sleep(0.05)
    assert quick.get("/api/feed")["items"] == []
    quick.say("bob")
    assert len(quick.get("/api/feed")["items"]) == 1


def test_a_feed_takes_as_many_statements_for_one_post_as_for_fifty(quick):
    quick.hub.limits.rates.clear()
    counts = {}
    for num in (1, 50):
        number = quick.say("ann")
        for i in range(num):
            quick.say("ann", f"{i}")
            quick.answer("bob", number, f"{i}")
        for path in ("/feed", f"/feed/{number}", "/api/feed"):
            quick.hub.answers = type(quick.hub.answers)()
            with quick.statements() as sent:
                quick.get(path)
            counts[num, path.replace(str(number), "N")] = len(sent)
    assert {counts[1, path] for path in ("/feed", "/feed/N", "/api/feed")} == {3, 4, 2}
    assert all(counts[50, path] == counts[1, path] for path in ("/feed", "/feed/N", "/api/feed"))
    sent = []
    for other in ("other", "third"):  # after a write elsewhere the answer is still kept, and may not be given unasked
        quick.open(other)
        with quick.statements() as sent:
            quick.get("/feed")
    assert len(sent) == 1, "a kept answer asks for the version alone"


def test_forgotten_posts_leave_nothing_behind(scene):
    number, kept = scene.say("ann", "to be gone"), scene.say("ann", "stays")
    comment = scene.answer("bob", number)
    scene.answer("ann", comment, "deeper", "comment")
    scene.post(f"/feed/{number}/vote", "bob", type="up")
    scene.post(f"/comments/{comment}/vote", "ann", type="up")
    with scene.hub.database.write() as connection:
        forget_posts(connection, [number])
    with scene.hub.database.read() as connection:
        for table in (comments, votes):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 0
        assert connection.execute(select(posts.c.id)).scalars().all() == [kept]
    assert [one["content"] for one in scene.get("/search")["results"]] == ["stays"]
