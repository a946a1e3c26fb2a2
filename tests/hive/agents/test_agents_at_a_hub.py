"""Commands and models as agents of a hub that is really there, with its git, its worker and the public client."""

import subprocess
import sys
from pathlib import Path

import pytest

from evolvent.cli.hive_agents import build_edit_loop
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.command_agent import CommandAgent, Mode, drive
from evolvent.hive.agents.files import Seat
from evolvent.hive.agents.join import Member
from evolvent.hive.agents.room import Isolate, probe
from evolvent.hive.agents.terms import How, Limits
from evolvent.hive.agents.worktree import clone_plainly
from evolvent.serve import PolicyDesk, background, make_app
from hive.agents.test_edit_loop import Writer
from hive.live import live_hub, make_slope
from reciter import RENDERER

CLIENT = Path(sys.executable).with_name("hive")
EVAL = """\
import json
told = json.load(open("params.json"))
print("---")
print("worth:", -abs(told["a"] - 7) - (not told["b"]))
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agents")
    more = {"public/eval/eval.sh": "exec python3 -B eval/check.py\n", "public/eval/check.py": EVAL}
    with live_hub(folder, make_slope(folder / "slope", more=more)) as (hub, url):
        hub.limits.rates.clear()
        yield url


def sit(url, folder, name):
    """A client with a token, and the seat of its agent."""
    with HubClient(url) as nobody:
        made = nobody.register(name)
    return HubClient(url, token=made["token"]), Seat(folder, url, "slope", made["id"], made["token"])


def edit(a, b):
    return f'IDEA: a = {a}\nFILE: params.json\n```\n{{"a": {a}, "b": {b}}}\n```'


def test_a_model_reads_edits_measures_and_submits_and_its_tokens_are_counted_by_the_hub(served, tmp_path):
    writer = Writer()
    writer.replies = [edit(4, "false"), "I am out of ideas.", "Truly.", edit(9, "true"), edit(7, "true")]
    client, seat = sit(served, tmp_path / "model", "model")
    with background(make_app(PolicyDesk(writer, RENDERER, "w", default_max_tokens=2048))) as url:
        loop = build_edit_loop(f"{url}/v1#w", {"price": "1,1"}, tell=lambda _: None)
        member = Member(client, seat.agent, "slope", seat.folder, loop, How(limits=Limits(evaluations=3)))
        summary = member.run()
    runs = {run["tldr"]: run for run in client.runs("slope", view="all", agent=seat.agent)}
    assert {name: run["verified_score"] for name, run in runs.items()} == {"a = 4": -4.0, "a = 9": -2.0, "a = 7": 0.0}
    assert {name: run["score"] for name, run in runs.items()} == {"a = 4": -4.0, "a = 9": -2.0, "a = 7": 0.0}
    assert summary.evaluations == 3 and summary.tokens == pytest.approx(1e6 * summary.money)
    used = client.budget("slope")
    # what came to nothing between two runs is counted with the next one
    assert used["tokens"]["used"] == summary.tokens > 0
    assert used["money"]["used"] == pytest.approx(summary.tokens / 1e6)
    assert '"b": true' in writer.asked[-1][0] and "-4" in writer.asked[1][0]


@pytest.mark.skipif(bool(probe()), reason=f"no room for an agent here: {probe()}")
def test_a_command_makes_one_try_at_a_time_and_is_told_what_came_of_the_last(served, tmp_path):
    program = """
import json, os, sys
context = json.load(open(os.environ["EVOLVENT_HIVE_CONTEXT"]))
mine = [run for run in context["runs"] if run["agent_id"] == context["agent"]]
json.dump({"a": 5 + len(mine), "b": True}, open("params.json", "w"))
json.dump({"tldr": f"a = {5 + len(mine)}", "tokens": 7, "money": 0.5}, open(os.environ["EVOLVENT_HIVE_REPORT"], "w"))
os.makedirs("more", exist_ok=True)
os.symlink("/etc/hostname", "more/link") if len(mine) == 1 else None
"""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "agent.py").write_text(program)
    client, seat = sit(served, tmp_path / "command", "command")
    agent = CommandAgent(
        f"{sys.executable} {tmp_path}/tools/agent.py",
        seat,
        Isolate.BWRAP,
        see=(tmp_path / "tools",),
        tell=lambda _: None,
    )
    member = Member(client, seat.agent, "slope", seat.folder, agent, How(limits=Limits(evaluations=3)))
    summary = member.run()
    runs = list(client.runs("slope", view="all", agent=seat.agent, sort="recent:asc"))
    assert [run["tldr"] for run in runs] == ["a = 5", "a = 6", "a = 7"], summary.why
    assert [run["verified_score"] for run in runs][::2] == [-2.0, 0.0]
    assert runs[1]["verification_status"] == "failed" and "link" in runs[1]["why"]
    used = client.budget("slope")
    assert used["tokens"]["used"] == 21 and used["money"]["used"] == 1.5 and used["evaluations"]["used"] == 3


@pytest.mark.skipif(bool(probe()), reason=f"no room for an agent here: {probe()}")
@pytest.mark.skipif(not CLIENT.exists(), reason="the public client is not installed")
def test_a_command_that_drives_itself_does_so_with_the_public_client(served, tmp_path):
    assert subprocess.run([CLIENT, "--help"], capture_output=True, check=False).returncode == 0
    program = """
set -e
grep -q "hive run submit" && hive task context > context.txt
hive feed claim "a = 6"
echo '{"a": 6, "b": true}' > params.json
bash eval/eval.sh > run.log 2>&1
git add params.json && git commit -qm "a = 6"
mv context.txt /tmp
hive push
hive run submit -m "a = 6. nearer" --score "$(sed -n 's/^worth: //p' run.log)" --parent none
hive feed post "seven is near"
"""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "agent.sh").write_text(program)
    client, seat = sit(served, tmp_path / "free", "driver")
    said = []
    agent = CommandAgent(
        f"bash {tmp_path}/tools/agent.sh", seat, Isolate.BWRAP, Mode.FREE, see=(tmp_path / "tools",), tell=said.append
    )

    def clone(folder):
        answer = client.clone("slope")
        clone_plainly(answer["ssh_url"], folder)
        return answer

    assert drive(agent, client.task("slope"), clone) == 0, seat.log.read_text()
    [run] = client.runs("slope", view="all", agent="driver")
    assert run["score"] == -1.0 and run["tldr"] == "a = 6"
    assert any(post.get("content") == "seven is near" for post in client.feed("slope")["items"])
    # once more: the tree is the command's own by now, and is not cloned again
    assert drive(agent, client.task("slope"), None) != 0 and "status" in said[-1]
