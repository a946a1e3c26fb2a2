import pytest

from dashboard.stand import BASELINE, Stand
from evolvent.hive.hub.claims import claim
from evolvent.hive.hub.feed import add_post
from evolvent.hive.hub.item_talk import add_item_comment
from evolvent.hive.hub.items import add_item
from evolvent.hive.hub.jobs import enqueue
from evolvent.hive.hub.skills import Skill, add_skill
from evolvent.hive.hub.threads import add_comment

SPITE = (
    "<script>window.pwned=1</script>"
    '"><img src=x onerror="window.pwned=1">'
    "<a href='javascript:window.pwned=1' hx-get='/' style='position:fixed'>x</a>"
    "\u202egnp.exe\u202c\u2066\u200b\x1b[31m"
    "[click](javascript:window.pwned=1) [data](data:text/html,<script>1</script>) ![i](https://example.org/i.png)"
    " {{ 7*7 }} {% raw %} </title></textarea></pre>-->"
)


@pytest.fixture(scope="session")
def peopled(tmp_path_factory):
    """A hub with a task on which agents worked: kept, measured, invalid, waiting and called-off runs, and all words."""
    stand = people(Stand(tmp_path_factory.mktemp("pages")))
    yield stand
    stand.close()


def people(stand):
    """Let agents work and talk on a stand."""
    stand.measure()
    parent, shas = stand.base, [stand.base]
    for place, number in enumerate((0.83, 0.85, None, 0.84, 0.90)):
        more = {"lib/more.py": f"x = {place}\n"} if place == 1 else {}
        said = {"tldr": f"idea {place}", "message": f"Tried **idea** {place}.", "parent": parent, "score": 0.99}
        sha = stand.submit(f"agent-{place % 3}", {"solve.py": BASELINE + f"# {place}\n", **more}, number, **said)
        stand.measure()
        shas.append(sha)
        parent = sha if number else parent
    with stand.hub.database.write() as connection:
        enqueue(connection, stand.name, shas[5], "holdout")
    stand.measure()
    post = stand.act(add_post, "agent-0", "Bins are *never* full.")
    reply = stand.act(add_comment, "agent-1", "Why?", parent=post["id"])
    stand.act(add_comment, "agent-0", "Triplets.", parent=reply["id"], parent_type="comment")
    stand.act(claim, "agent-2", "pairs first", 900)
    stand.act(add_skill, "agent-1", Skill("sort", "Sorting helps.", "items.sort()", shas[1]))
    item = stand.act(add_item, "agent-1", {"title": "Measure parsing", "priority": "high", "labels": ["speed"]})
    stand.act(add_item_comment, "agent-0", item["id"], "Soon.")
    stand.submit("agent-0", {"solve.py": "x = 1\n"}, 0.9, tldr="waits", score=0.95)
    stand.shas, stand.post_id, stand.item = shas, post["id"], item["id"]
    return stand


@pytest.fixture(scope="session")
def attacked(tmp_path_factory):
    """A hub whose agents write nothing but spite, wherever they can."""
    stand = Stand(tmp_path_factory.mktemp("spite"))
    stand.measure()
    files = {"solve.py": f"# {SPITE}\n" * 3, "lib/<img src=x onerror=alert(1)>.py": f"{SPITE}\n"}
    said = {"tldr": SPITE[:290], "message": SPITE * 20, "branch": "a/b"}
    stand.why = stand.log = SPITE
    sha = stand.submit("mallory", files, None, parent=stand.base, score=1e300, **said)
    good = stand.submit("mallory", {"solve.py": f"# {SPITE}\n"}, 0.9, parent=sha, **said)
    stand.measure()
    post = stand.act(add_post, "mallory", SPITE + "\n\n# big\n\n#### skipped\n\n" + "A" * 15_000)
    stand.act(add_comment, "mallory", SPITE, parent=post["id"])
    stand.act(claim, "mallory", SPITE, 900)
    stand.act(add_skill, "mallory", Skill(SPITE[:200], SPITE, SPITE, good))
    item = stand.act(add_item, "mallory", {"title": SPITE[:400], "description": SPITE})
    stand.act(add_item_comment, "mallory", item["id"], SPITE)
    stand.shas, stand.post_id, stand.item = [stand.base, sha, good], post["id"], item["id"]
    yield stand
    stand.close()


def addresses(stand):
    """Every page of a hub."""
    home = f"/tasks/{stand.name}"
    ends = ["", "/graph", "/graph?by=depth", "/runs", "/runs?sort=score", "/feed", "/skills", "/items"]
    ends += [f"/runs/{sha}" for sha in stand.shas] + [f"/feed/{stand.post_id}", f"/items/{stand.item}"]
    agents = [f"/agents/{name}" for name in stand.tokens]
    return ["/", *(home + end for end in ends), "/agents", *agents, "/live", "/search?q=window", "/search", "/nowhere"]
