import json
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from evolvent.errors import BadInput, InfrastructureError
from evolvent.hive.agents.client import HubClient
from evolvent.hive.agents.join import Member, alone
from evolvent.hive.agents.proposer import Proposal
from evolvent.hive.agents.search_proposer import build_searcher
from evolvent.hive.agents.terms import How, Limits
from evolvent.hive.agents.unfinished import Unfinished, keep, recall
from evolvent.hive.agents.worktree import clone_plainly, open_tree, read_fork
from evolvent.hive.hub.app import make_app
from evolvent.hive.hub.hub import Registration
from evolvent.hive.hub.identity import invite
from evolvent.hive.hub.refusals import Refused
from evolvent.seeds import stream
from evolvent.serve.door import background
from hive.live import START, live_hub, make_slope


def await_baselines(url, names):
    """What an agent proposes depends on whether the baseline is measured."""
    until = time.monotonic() + 60
    with HubClient(url) as nobody:
        while any(nobody.task(name)["best_score"] is None for name in names):
            assert time.monotonic() < until, "the baselines were not measured"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("join")
    tasks = [
        make_slope(folder / "slope"),
        make_slope(folder / "less", "less", "minimize"),
        make_slope(folder / "few", "few", evaluations=2),
        make_slope(folder / "bare", "bare", more={"public/space.json": None}),
    ]
    with live_hub(folder, *tasks) as (hub, url):
        hub.limits.rates.clear()
        await_baselines(url, [task.name for task in tasks])
        yield hub, url


class Writes:
    """A proposer of these contents of params.json, one after the other."""

    def __init__(self, *contents, tokens=0):
        self.contents, self.tokens, self.seen = list(contents), tokens, []

    def propose(self, tree, context, rng):
        self.seen.append(context)
        if not self.contents:
            return None
        content = self.contents.pop(0)
        if content is not None:
            (tree / "params.json").write_text(json.dumps(content))
            (tree / "answer.py").write_text("not mine to change")
        return Proposal(f"write {content}", f"write {content}\n\nfor a reason", context.base, tokens=self.tokens)


def join(url, folder, task="slope", proposer=None, name=None, **more):
    """A new agent, and what it will have told."""
    with HubClient(url) as nobody:
        one = nobody.register(name)
    heard = []
    how = How(**{"seed": 1, "tell": lambda kind, facts: heard.append((kind, facts)), **more})
    client = HubClient(url, token=one["token"])
    client.secret = one["token"]
    return Member(client, one["id"], task, folder, proposer or build_searcher("hill_climb"), how), heard


def runs_of(url, task="slope"):
    with HubClient(url) as nobody:
        return {run["id"]: run for run in nobody.runs(task, view="all", sort="recent")}


def test_a_climber_goes_up_by_official_numbers_and_leaves_what_it_learned(served, tmp_path):
    _, url = served
    member, heard = join(url, tmp_path / "one", limits=Limits(evaluations=2))
    summary = member.run()
    assert (summary.evaluations, summary.official, summary.why) == (2, 2, "its limit is used: evaluations")
    assert summary.best["verified_score"] >= -8
    assert [kind for kind, _ in heard] == ["result"] * 2
    assert summary.unsaid == 0
    with HubClient(url) as nobody:
        run = nobody.run("slope", summary.runs[0])
        thread = nobody.post_of("slope", run["post_id"])
        claims = [one["content"] for one in nobody.feed("slope")["active_claims"]]
    [comment] = thread["comments"]
    assert comment["agent_id"] == member.agent
    assert comment["content"].startswith(f"change: {run['tldr']}\nresult: {run['verified_score']:g}")
    assert "kept: " in comment["content"]
    assert json.loads(run["message"].split("point ")[1]) != START
    assert all("point {" in claim for claim in claims)


def test_agents_build_on_each_other_across_forks(served, tmp_path):
    _, url = served
    first, _ = join(url, tmp_path / "first", proposer=Writes({"a": 7, "b": True}), limits=Limits(evaluations=1))
    good = first.run().runs[0]
    second, _ = join(url, tmp_path / "second", limits=Limits(evaluations=1))
    [sha] = second.run().runs
    run = runs_of(url)[sha]
    assert run["parent_id"] == good
    assert run["agent_id"] != runs_of(url)[good]["agent_id"]


def test_an_agent_alone_sees_and_builds_on_nothing_of_others(served, tmp_path):
    _, url = served
    proposer = Writes({"a": 3, "b": False}, {"a": 3, "b": True})
    member, _ = join(url, tmp_path / "alone", proposer=proposer, is_alone=True, limits=Limits(evaluations=2))
    one, other = member.run().runs
    first, second = proposer.seen
    assert {run["agent_id"] for run in second.runs} == {"hub", member.agent}
    assert not any((second.leaderboard, second.claims, second.feed, second.skills))
    assert first.base == first.task["base_sha"]
    assert runs_of(url)[other]["parent_id"] == one
    with pytest.raises(BadInput, match="works alone"):
        second.desk.read("1" * 40, "params.json")


def test_less_is_better_where_the_task_says_so(served, tmp_path):
    _, url = served
    proposer = Writes({"a": 9, "b": False}, {"a": 8, "b": False})
    member, _ = join(url, tmp_path / "less", "less", proposer, limits=Limits(evaluations=3))
    summary = member.run()
    assert summary.why == "nothing is left to try"
    assert summary.best["verified_score"] == 2
    assert proposer.seen[-1].sign == -1
    assert proposer.seen[-1].best["verified_score"] == 2


def test_an_invalid_run_is_told_with_its_reason_and_only_mutable_paths_are_sent(served, tmp_path):
    _, url = served
    member, heard = join(url, tmp_path / "bad", proposer=Writes({"a": 1}), limits=Limits(evaluations=1))
    summary = member.run()
    assert (summary.evaluations, summary.official) == (1, 0)
    [(_, facts)] = heard
    assert "a and b are wanted" in facts["run"]["why"]
    tree = member._tree
    assert tree.read(summary.runs[0], "answer.py") != b"not mine to change"


def test_the_budget_of_the_hub_ends_an_agent_and_so_does_nothing_left_to_try(served, tmp_path):
    _, url = served
    member, _ = join(url, tmp_path / "few", "few")
    assert member.run().why == "the hub's budget is used: 2 of 2 evaluations"
    member, _ = join(url, tmp_path / "none", "few", Writes())
    assert member.run().why == "nothing is left to try"


def test_tries_that_change_nothing_cost_and_are_not_submitted_and_the_hub_hears_of_their_cost(served, tmp_path):
    _, url = served
    proposer = Writes(None, None, {"a": 2, "b": False}, tokens=10)
    member, heard = join(url, tmp_path / "miss", proposer=proposer, is_alone=True)
    summary = member.run()
    assert [kind for kind, _ in heard] == ["miss", "miss", "result"]
    assert (summary.evaluations, summary.tokens) == (1, 30)
    assert member.client.budget("slope")["tokens"]["used"] == 30
    member, _ = join(url, tmp_path / "tokens", proposer=Writes(*[None] * 9, tokens=10), limits=Limits(tokens=25))
    assert member.run().why == "its limit is used: tokens"


def test_a_task_without_a_space_says_which_agents_can_work_on_it(served, tmp_path):
    _, url = served
    member, _ = join(url, tmp_path / "bare", "bare")
    with pytest.raises(BadInput, match="declares no space"):
        member.run()


def test_what_was_begun_is_ended_by_the_same_agent_later(served, tmp_path):
    _, url = served
    member, _ = join(url, tmp_path / "begun", proposer=Writes(), limits=Limits(evaluations=1))
    tree = member._enter()
    tree.stand_on(member.client.task("slope")["base_sha"])
    (tree.tree / "params.json").write_text('{"a": 5, "b": false}')
    commit = tree.commit(("params.json",), "killed here")
    keep(tmp_path / "begun", Unfinished(commit, "killed here", "killed here", None))
    again = Member(member.client, member.agent, "slope", tmp_path / "begun", Writes(), How())
    summary = again.run()
    assert summary.runs == [commit]
    assert runs_of(url)[commit]["verified_score"] == -3
    assert recall(tmp_path / "begun") is None


def test_a_stopped_agent_leaves_its_run_to_be_told_when_it_is_back(tmp_path):
    with live_hub(tmp_path, make_slope(tmp_path / "slope"), with_worker=False) as (_, url):
        member, heard = join(url, tmp_path / "one", proposer=Writes({"a": 4, "b": True}))
        threading.Timer(1.0, member.stop.set).start()
        summary = member.run()
        assert summary.why == "stopped; the last run is still measured"
        assert (summary.evaluations, heard) == (1, [])
        assert recall(tmp_path / "one").is_submitted


@pytest.mark.slow
def test_no_work_is_lost_while_the_hub_is_away(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with live_hub(tmp_path, make_slope(tmp_path / "slope")) as (hub, _):
        with background(make_app(hub), port=port) as url:
            member, heard = join(url, tmp_path / "one", proposer=Writes({"a": 4, "b": False}, {"a": 5, "b": False}))
            member.client.calls.patience_s = 0.0
            assert member.step()
        with pytest.raises(InfrastructureError):
            member.step()
        worker = threading.Thread(target=member.run, daemon=True)
        worker.start()
        while not heard or heard[-1][0] != "waiting":
            worker.join(timeout=0.05)
            assert worker.is_alive()
        with background(make_app(hub), port=port):
            worker.join(timeout=60)
            assert not worker.is_alive()
            found = runs_of(url)
    assert [found[sha]["verified_score"] for sha in member.summary.runs] == [-4, -3]


def test_a_hub_by_invitation_lets_its_agents_read_and_push(tmp_path):
    with live_hub(tmp_path, make_slope(tmp_path / "slope"), with_worker=False, registration=Registration.INVITED) as (
        hub,
        url,
    ):
        with hub.database.write() as connection:
            code = invite(connection, 1)
        with HubClient(url) as nobody:
            with pytest.raises(Refused, match="by invitation"):
                nobody.register("guest")
            one = nobody.register("guest", code)
        client = HubClient(url, token=one["token"])
        tree = open_tree(tmp_path / "guest", read_fork(client.clone("slope")["ssh_url"]))
        base = client.run("slope", client.task("slope")["base_sha"])
        tree.stand_on(base["id"], base["fork_url"])
        (tree.tree / "params.json").write_text('{"a": 2, "b": true}')
        commit = tree.commit(("params.json",), "as a guest")
        tree.push(commit)
        assert client.submit("slope", commit, tldr="as a guest")["run"]["agent_id"] == "guest"


def test_two_processes_are_not_one_agent(served, tmp_path):
    _, url = served
    member, _ = join(url, tmp_path / "two")
    with alone(tmp_path / "two"), pytest.raises(BadInput, match="at work already"):
        member.run()


def test_a_revoked_agent_stops_at_once(served, tmp_path):
    _, url = served
    member, _ = join(url, tmp_path / "revoked")
    member.client.renew_token()
    with pytest.raises(Refused) as caught:
        member.run()
    assert caught.value.status == 401


def test_the_same_seed_proposes_the_same_in_the_same_situation(served, tmp_path):
    _, url = served

    def first_try(folder, seed):
        member, _ = join(url, folder, is_alone=True, seed=seed)
        member.agent = "twin"  # the streams of chance go by name
        context = member._window.look(member._enter(), {})
        return member.proposer.propose(member._tree.tree, context, stream(seed, "join", "twin", 0, 0))

    assert first_try(tmp_path / "a", 5) == first_try(tmp_path / "b", 5)
    assert first_try(tmp_path / "c", 6) != first_try(tmp_path / "a", 5)


@pytest.mark.parametrize("name", ["evaluations", "seconds", "tokens", "money"])
def test_a_limit_is_above_nothing(name):
    with pytest.raises(BadInput, match="above 0"):
        Limits(**{name: 0})


# ---------------------------------------------------------------- the work tree


def a_tree(url, folder):
    member, _ = join(url, folder)
    answer = member.client.clone("slope")
    return open_tree(folder, read_fork(answer["ssh_url"])), answer, member


def test_the_key_of_a_fork_stands_in_no_file_and_no_command(served, tmp_path, monkeypatch):
    _, url = served
    tree, answer, member = a_tree(url, tmp_path / "keys")
    key, words = tree.fork.key, []
    start = subprocess.Popen

    def noted(command, **how):
        words.extend(command)
        return start(command, **how)

    monkeypatch.setattr(subprocess, "Popen", noted)
    tree.stand_on(answer["base_sha"])
    (tree.tree / "params.json").write_text("{}")
    tree.push(tree.commit(("params.json",), "a change"))
    held = [path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file()]
    assert len(key) > 20
    assert not any(secret.encode() in data for data in held for secret in (key, member.client.secret))
    assert not any(secret in word for word in words for secret in (key, member.client.secret))
    assert key not in repr(tree)


def test_links_hooks_and_filters_of_others_do_nothing(served, tmp_path):
    _, url = served
    tree, answer, _ = a_tree(url, tmp_path / "tricks")
    tree.stand_on(answer["base_sha"])
    target = tmp_path / "target"
    target.write_text("untouched")
    link = tree.git("hash-object", "-w", "--stdin", stdin=str(target).encode()).decode().strip()
    tree.git("update-index", "--add", "--cacheinfo", f"120000,{link},params.json")
    (tree.tree / ".gitattributes").write_text("* filter=evil diff=evil\n")
    tree.git("add", ".gitattributes")
    tree.git("commit", "--quiet", "-m", "tricks")
    tricky = tree.git("rev-parse", "HEAD").decode().strip()
    hook = tree.git_dir / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho hooked > {target}\n")
    hook.chmod(0o755)
    tree.stand_on(answer["base_sha"])
    tree.stand_on(tricky)
    path = tree.tree / "params.json"
    assert not path.is_symlink()
    path.write_text("{}")
    assert target.read_text() == "untouched"
    assert tree.read(tricky, "params.json") is None, "a link is no file of parameters"
    tree.stand_on(answer["base_sha"])
    assert json.loads(path.read_text()) == START


def test_a_tree_is_left_clean_but_for_the_notes_of_its_agent(served, tmp_path):
    _, url = served
    tree, answer, _ = a_tree(url, tmp_path / "clean")
    tree.stand_on(answer["base_sha"])
    for name in ("more/left", ".hive/note", "deep/.git/HEAD", "x.pyc"):
        (tree.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree.tree / name).write_text("x")
    (tree.tree / "params.json").unlink()
    tree.stand_on(answer["base_sha"])
    left = {str(path.relative_to(tree.tree)) for path in tree.tree.rglob("*") if path.is_file()}
    assert left == {"answer.py", "params.json", "program.md", "space.json", "eval/eval.sh", ".hive/note"} | (
        left & {".gitignore"}
    )


def test_a_commit_has_what_was_deleted_and_added_at_the_mutable_paths_and_nothing_else(served, tmp_path):
    _, url = served
    tree, answer, _ = a_tree(url, tmp_path / "paths")
    tree.stand_on(answer["base_sha"])
    assert tree.commit(("params.json", "more"), "nothing") is None
    (tree.tree / "program.md").write_text("other words")
    assert tree.commit(("params.json", "more"), "nothing that may be changed") is None
    (tree.tree / "params.json").unlink()
    (tree.tree / "more" / "deep").mkdir(parents=True)
    (tree.tree / "more" / "deep" / "new").write_text("new")
    commit = tree.commit(("params.json", "more"), "# no comment\0")
    assert tree.read(commit, "params.json") is None
    assert tree.read(commit, "more/deep/new") == b"new"
    assert tree.read(commit, "program.md") == b"Find a and b."
    absent = "1" * 40
    assert tree.read_all([answer["base_sha"], commit, absent, commit], "more/deep/new") == [None, b"new", None, b"new"]
    assert tree.read_all([answer["base_sha"]], "params.json") == [json.dumps(START).encode()]
    assert tree.git("log", "-1", "--format=%B").decode().strip() == "# no comment"


def test_a_plain_clone_pushes_by_itself(served, tmp_path):
    _, url = served
    _, answer, member = a_tree(url, tmp_path / "plain")
    folder = tmp_path / "clone"
    clone_plainly(answer["ssh_url"], folder)
    assert (folder / ".git" / "config").stat().st_mode & 0o077 == 0
    (folder / "params.json").write_text('{"a": 7, "b": true}')
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run([*git, "commit", "-qam", "mine"], check=True)
    subprocess.run([*git, "push", "-q", "origin", "main"], check=True)
    sha = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert member.client.submit("slope", sha, tldr="mine")["run"]["id"] == sha
    assert Path(folder / "answer.py").is_file()
