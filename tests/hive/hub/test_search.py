import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolvent.hive.hub import search
from hive.hub.scene import Scene, refused


@pytest.fixture
def scene(any_speaker):
    return Scene(any_speaker)


def found(scene, **params):
    return [one["content"] for one in scene.get("/search", **params)["results"]]


def test_words_are_found_in_posts_results_claims_and_skills(scene):
    sha = scene.run("ann", 3.0, tldr="order 3", claim=2.5)
    scene.say("ann", "the Warmup helps")
    with scene.hub.database.write() as connection:
        from evolvent.hive.hub.feed import post

        number = post(connection, "golf", "ann", "what came of it", run_sha=sha, words="warmup, at order 3")
    scene.post("/claim", "bob", content="a longer warmup")
    skill = scene.post("/skills", "bob", name="warmup", description="how to")
    scene.say("bob", "something else")
    results = {one["type"]: one for one in scene.get("/search", q="warmup")["results"]}
    assert set(results) == {"post", "result", "claim", "skill"}
    assert results["result"]["id"] == str(number) and results["result"]["tldr"] == "order 3"
    assert [results["result"][name] for name in ("score", "verified_score", "claim")] == [3.0, 3.0, 2.5]
    assert results["skill"]["id"] == str(skill["id"]) and results["skill"]["name"] == "warmup"
    assert results["skill"]["description"] == "how to" and results["claim"]["expires_at"]
    for kind in results:
        assert [one["type"] for one in scene.get("/search", q="warmup", type=kind)["results"]] == [kind]


def test_all_words_must_be_there_in_any_form_and_order(scene):
    scene.say("ann", "learning rates that decay")
    scene.say("ann", "a rate of learning")
    assert len(found(scene, q="rate learning")) == 2
    assert found(scene, q="decayed learning RATE") == ["learning rates that decay"]
    assert found(scene, q="rate momentum") == []


CUT = {
    "set lr=0.1 in src/train.py": ("train", "lr", "src/train"),
    "café au lait": ("CAFÉ",),
    "cafe\u0301 noir": ("café noir",),
    "snake_case_name": ("case",),
    "日本語 テキスト": ("日本語",),
    "mail me: ann@example.org": ("example",),
}


def test_both_databases_cut_texts_into_the_same_words(scene):
    for text in CUT:
        scene.say("ann", text)
    for text, asked in CUT.items():
        for words in asked:
            assert text in found(scene, q=words), words
    assert found(scene, q="train") == ["set lr=0.1 in src/train.py"]


SIGNS = ['"', "a OR", "NOT x", "a AND", "text:", "^a", "a*", "(", ")", "{a b}:", "NEAR(a b, 2)", "-", "+", "'", ";--"]
SIGNS += ["& | !", "a & | b", "<->", ":*", "\\", "%", "_", "%s", ":words", "{}"]


def test_signs_of_a_database_s_own_language_are_nothing_but_signs(scene):
    scene.hub.limits.rates.clear()
    scene.say("ann", "plain")
    for words in SIGNS:
        assert found(scene, q=words) == [], words


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=60))
def test_no_words_break_a_search(any_speaker, words):
    with any_speaker.app.state.hub.database.read() as connection:
        search.find_entries(connection, "golf", search.Query(words=words), most=5)


def test_texts_that_grow_when_they_are_read_break_nothing(scene):
    """One of these characters is four plain letters, and Postgres takes a megabyte of different words."""
    code = " ".join("\u3300" * 20 + chr(0x4E00 + i) for i in range(4_500))
    made = scene.post("/skills", "ann", name="long", code_snippet=code)
    assert made["code_snippet"] == code
    scene.say("ann", "a" * 20_000)
    assert [one["name"] for one in scene.get("/skills", q="long")["skills"]] == ["long"]


def test_filters_by_agent_and_moment_and_pages(scene):
    for i in range(3):
        scene.say("ann", f"word {i}")
    scene.say("bob", "word of bob")
    assert found(scene, q="word", agent="bob") == ["word of bob"] and found(scene, agent="nobody") == []
    rows = scene.get("/search", q="word")["results"]
    assert [one["content"] for one in rows] == ["word of bob", "word 2", "word 1", "word 0"]
    assert found(scene, q="word", since=rows[2]["created_at"]) == ["word of bob", "word 2"]
    assert found(scene, q="word", sort="recent:asc")[0] == "word 0"
    page = scene.get("/search", q="word", per_page=3)
    assert page["has_next"] and len(page["results"]) == 3
    assert found(scene, q="word", per_page=3, page=2) == ["word 0"]


def test_what_others_liked_comes_first_where_that_is_asked(scene):
    low, high = scene.say("ann", "low"), scene.say("ann", "high")
    scene.post(f"/feed/{low}/vote", "bob", type="up")
    skill = scene.post("/skills", "ann", name="skill", description="skill")
    assert found(scene, sort="upvotes") == ["low", "skill", "high"]
    scene.post(f"/skills/{skill['id']}/vote", "bob", type="up")
    assert found(scene, sort="upvotes") == ["skill", "low", "high"] and high


@pytest.mark.parametrize(("direction", "best"), [("minimize", "one"), ("maximize", "three")])
def test_scores_sort_by_what_was_measured_and_never_by_what_was_claimed(any_speaker, direction, best):
    scene = Scene(any_speaker, direction=direction)
    order = ["one", "two", "three"]
    for value, name in enumerate(order, start=1):
        scene.say("ann", name, run_id=scene.run("ann", float(value), claim=-100.0 * value))
    scene.say("ann", "claimed", run_id=scene.run("ann", claim=-1e9))
    scene.say("ann", "called off", run_id=scene.run("ann", -7.0, is_valid=False))
    told = found(scene, type="result", sort="score")
    assert told[0] == best and sorted(told[:3]) == sorted(order) and set(told[3:]) == {"claimed", "called off"}


def test_a_search_stays_in_its_task(scene):
    scene.open("other")
    scene.say("ann", "here")
    assert scene.get("/api/tasks/other/search")["results"] == []
    refused(scene.ask("GET", "/api/tasks/none/search"), 404)
    for wrong in ("type=poem", "sort=luck", "sort=score:up", "page=0", "since=soon"):
        assert scene.ask("GET", f"/search?{wrong}").status_code in (400, 422)


def test_a_search_is_one_statement_and_many_words_are_bounded(speaker):
    scene = Scene(speaker)
    scene.hub.limits.rates.clear()
    for i in range(15):
        scene.say("ann", f"some words {i}")
    with scene.statements() as sent:
        assert len(found(scene, q="words")) == 15
    assert len(sent) == 2
    assert len(found(scene, q="some words " * 25)) == 15
    refused(scene.ask("GET", "/search", params={"q": "x" * 301}), 422)
