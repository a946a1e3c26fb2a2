"""Agents as functions, files, command lines and URLs; and what becomes of those that crash, hang or stay silent."""

import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps, loads

import psutil
import pytest

from evolvent.codec import from_json, to_json
from evolvent.errors import BadInput
from evolvent.records import Outcome, said
from evolvent.rollouts.seat import Budgets
from evolvent.rollouts.workflows import Demonstrate
from evolvent.serve.agent import Coached, OutsideAgent
from evolvent.serve.errand import OUTPUT
from evolvent.serve.launch import find_runner, settled
from outside import EXAMPLES, clever, fault, nano, played

TOOL = EXAMPLES / "tool_process.py"
ASK = """
import json, os, sys, urllib.request
def ask(*texts, **more):
    body = {"model": "m", "messages": [{"role": "user", "content": t} for t in texts], **more}
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["choices"][0]["message"]["content"]
task = json.loads(sys.stdin.readline())
"""


@pytest.fixture
def script(tmp_path):
    """An agent's file."""

    def write(text, name="agent.py"):
        path = tmp_path / name
        path.write_text(ASK + textwrap.dedent(text))
        return str(path)

    return write


def one(agent, policy=None, **changes):
    [episode] = played(policy or clever(), agent if callable(agent) else OutsideAgent(agent), **changes)
    return episode


@pytest.mark.parametrize("agent", [f"{TOOL}", f"{TOOL}:agent", f"{sys.executable} {TOOL}"])
def test_one_file_is_a_script_a_function_and_a_command_line(agent):
    episode = one(agent)
    assert episode.outcome == Outcome.OK and episode.answer == episode.task.private.answer, fault(episode)
    assert episode.info["calls"] == 2 and episode.traces[0].trainable


def test_an_agent_behind_a_url_gets_the_task_and_the_base_url():
    module = {}
    exec(compile(TOOL.read_text(), str(TOOL), "exec"), module)

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert "private" not in asked and asked["messages"][0]["role"] == "user"
            body = dumps({"answer": module["agent"](asked, asked["base_url"])}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        episodes = played(clever(), OutsideAgent(f"http://127.0.0.1:{server.server_port}/run"), 4)
        server.shutdown()
    assert [e.answer for e in episodes] == [e.task.private.answer for e in episodes]


def test_a_swapped_in_agent_with_a_protocol_of_its_own_leaves_its_own_contexts(script):
    agent = script("""
        plan = ask(task["question"] + " plan?")
        print("thinking...")
        print(ask("carry out: " + plan))
    """)
    episode = one(agent)
    assert episode.outcome == Outcome.OK and episode.info["calls"] == 2 and episode.info["contexts"] == 2
    assert "starts a context of its own" in episode.info["notes"][0]


def test_more_agents_than_may_run_at_once_take_turns(script):
    agent = script("""print(ask(task["question"]))""")
    for patience_s in (None, 0.01):
        found = played(clever(), OutsideAgent(agent, max_at_once=3), 7, patience_s=patience_s)
        assert [e.outcome for e in found] == [Outcome.OK] * 7, [fault(e) for e in found]


def test_with_patience_a_slow_agent_holds_up_nobody_else(script):
    agent = script("""
        import time
        slow = task["task_id"].endswith("-0")
        time.sleep(1.5 * slow)
        print(ask(task["question"]), flush=True)
    """)
    policy, started = clever(), time.perf_counter()
    seen = []

    async def sample(prompts, how, sample=policy.sample):
        seen.append((time.perf_counter() - started, sorted(p.stream[0] for p in prompts)))
        return await sample(prompts, how)

    policy.sample = sample
    found = played(policy, OutsideAgent(agent), 3, patience_s=0.01)
    assert all(e.outcome == Outcome.OK for e in found)
    assert seen[-1][1] == ["chain-1-train-0-0"] and seen[-1][0] - seen[0][0] > 0.5


# ---------------------------------------------------------------- what goes wrong


def test_a_crash_before_the_first_answer_is_a_fault_and_one_after_it_is_the_agents(script):
    early = one(script("""raise SystemExit("no config")""", "early.py"))
    assert early.outcome == Outcome.INFRASTRUCTURE_FAILED and "no config" in fault(early)
    assert "before its first answered call" in fault(early)
    late = one(script("""x = ask("1+1?"); int("not " + x)""", "late.py"))
    assert late.outcome == Outcome.AGENT_FAILED and "ValueError" in late.info["agent_error"]
    assert late.traces[0].trainable and late.answer == ""


def test_a_function_that_raises_is_told_with_its_line(tmp_path):
    path = tmp_path / "f.py"
    path.write_text("def agent(task, base_url):\n    return 1 / 0\n")
    broken = one(f"{path}:agent")
    assert "ZeroDivisionError" in fault(broken) and "f.py:2" in fault(broken)


def test_an_agent_that_ignores_its_base_url_is_a_fault_that_says_so(script):
    silent = one(script("""print("42")"""))
    assert silent.outcome == Outcome.INFRASTRUCTURE_FAILED
    assert (
        "never asked its base URL" in fault(silent) and "OPENAI_BASE_URL" in fault(silent) and "'42'" in fault(silent)
    )


def test_an_agent_that_prints_nothing_has_failed(script):
    episode = one(script("""ask("1+1?")"""))
    assert episode.outcome == Outcome.AGENT_FAILED and episode.answer == ""


def test_an_agent_that_hangs_is_ended_with_all_its_children(script, tmp_path):
    agent = script(f"""
        import subprocess, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        ask("1+1?")
        time.sleep(60)
    """)
    episode = one(OutsideAgent(agent, timeout_s=2.0))
    assert episode.outcome == Outcome.INFRASTRUCTURE_FAILED and "within 2 s" in fault(episode)
    pids = [int(p) for p in (tmp_path / "pids").read_text().split()]
    assert _are_over(pids)


def _are_over(pids):
    """Whether all of them end soon: what was killed may need a moment on a busy machine."""
    deadline = time.monotonic() + 10
    while any(map(_is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(_is_alive, pids))


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_that_stays_behind_is_ended_and_does_not_hold_up_the_answer(script):
    agent = script("""
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], start_new_session=True)
        print(child.pid, ask("1+1?"))
    """)
    pid, answer = one(OutsideAgent(agent, timeout_s=20.0)).answer.split()
    assert answer == "1+1?" and _are_over([int(pid)])


def test_what_is_printed_is_read_as_asked(script):
    agent = script("""
        ask("1+1?")
        print("one")
        print("two")
    """)
    assert one(OutsideAgent(agent)).answer == "two"
    assert one(OutsideAgent(agent, answer_is=OUTPUT)).answer == "one\ntwo"
    as_json = script("""ask("1+1?"); print("log"); print(json.dumps({"answer": "a\\nb"}))""", "j.py")
    assert one(OutsideAgent(as_json)).answer == "a\nb"


def test_a_command_line_may_hold_the_question(script):
    agent = script("""print(ask(sys.argv[1] + " " + sys.argv[2]))""")
    episode = one(f"{agent} say {{question}}")
    assert episode.answer == episode.task.question


def test_where_the_policy_breaks_the_agent_is_not_to_blame(script):
    class Broken:
        name, version = "agent", 0
        renderer = clever().renderer

        async def sample(self, prompts, how):
            from evolvent.errors import InfrastructureError

            raise InfrastructureError("the card is gone")

    agent = script("""
        try:
            ask("1+1?")
        except Exception:
            print("42")
    """)
    with pytest.raises(Exception, match="the card is gone"):
        one(agent, Broken())


def test_an_agent_that_spends_its_budget_without_an_answer_has_failed_and_the_trace_says_at_what(script):
    agent = script("""
        while True:
            ask("1+1?")
    """)
    episode = one(agent, nano(), budgets=Budgets(4, 250, 9))
    assert episode.outcome == Outcome.AGENT_FAILED and episode.traces[0].truncation == "episode"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("{home}/agnet.py", "did you mean"),
        ("{home}/agent.py:nothing", "no such function"),
        ("nowhere.at_all:agent", "nothing found"),
        ("no-such-program --flag", "no such agent"),
        ("'", "cannot be read"),
        ("", "no agent is named"),
        ("{home}/broken.py:agent", "cannot be loaded"),
        ("{home}/odd.py:agent", "asks for 'config'"),
    ],
)
def test_a_wrong_name_says_what_is_wrong_and_the_cure(agent, words, tmp_path):
    (tmp_path / "agent.py").write_text("def agent(task, base_url): ...")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")
    (tmp_path / "odd.py").write_text("def agent(task, config): ...")
    with pytest.raises(BadInput, match=words):
        find_runner(agent.format(home=tmp_path))


def test_the_workflows_survive_json_and_paths_are_made_absolute(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("")
    monkeypatch.chdir(tmp_path)
    agent = OutsideAgent(settled("a.py:agent"), timeout_s=3.0)
    assert from_json(to_json(Coached(agent, 0.5))) == Coached(agent, 0.5)
    assert agent.agent == f"{tmp_path}/a.py:agent" and settled("a.py") == f"{tmp_path}/a.py"
    assert settled("http://x/y") == "http://x/y" and settled("my.module:agent") == "my.module:agent"
    with pytest.raises(BadInput):
        OutsideAgent("a.py", timeout_s=0)


def test_a_coached_agent_recites_what_our_own_demonstration_would():
    agent = OutsideAgent(f"{TOOL}:agent")
    [theirs] = played(clever(), Coached(agent))
    [ours] = played(clever(), Demonstrate())
    assert theirs.traces[0].tokens == ours.traces[0].tokens and theirs.traces[0].mask == ours.traces[0].mask
    assert not any(t.sampled_logprobs for t in theirs.traces[0].turns)


def test_a_coroutine_that_blocks_holds_up_nobody(tmp_path):
    """With the blocking client of openai in a coroutine the loop that plays the episode could never answer."""
    path = tmp_path / "blocks.py"
    path.write_text(
        "import openai, asyncio\n"
        "async def agent(task, base_url):\n"
        "    with openai.OpenAI(base_url=base_url, api_key='none') as client:\n"
        "        said = client.chat.completions.create(model='m', messages=task['messages'])\n"
        "    raise TimeoutError('too late') if task['task_id'].endswith('-1') else SystemExit(3)\n"
        "    return said.choices[0].message.content\n"
    )
    found = played(clever(), OutsideAgent(f"{path}:agent", timeout_s=20.0), 2)
    assert [e.outcome for e in found] == [Outcome.AGENT_FAILED] * 2, [fault(e) for e in found]
    assert "exit(3)" in found[0].info["agent_error"] and "too late" in found[1].info["agent_error"]


def test_an_agent_on_an_endpoint_is_played_and_not_trained_on(script):
    from evolvent.policies.scripted import Fixed

    agent = script("""print(ask("1+1?", temperature=0))""")
    episode = one(agent, Fixed("two"))
    assert episode.answer == "two" and not episode.traces[0].trainable
    assert episode.traces[0].turns[-1].message == said("assistant", "two")


@pytest.mark.slow
def test_a_third_party_framework_is_trained_on_unchanged():
    pytest.importorskip("pydantic_ai")
    episode = one(f"{EXAMPLES / 'with_pydantic_ai.py'}:agent")
    assert episode.answer == episode.task.private.answer, fault(episode)


def test_no_thread_or_session_is_left_behind():
    from evolvent.serve.gateway import open_gateway

    played(clever(), OutsideAgent(f"{TOOL}:agent"), 8)
    assert not open_gateway().desk._held
    deadline = time.monotonic() + 5
    while any(t.name == "agent" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(t.name == "agent" for t in threading.enumerate())
