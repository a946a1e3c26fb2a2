import gzip
import http.client
import os
import socket
import threading
from base64 import b64encode
from dataclasses import replace

import pytest

from evolvent.hive.hub.repositories import Spot, name_base
from evolvent.hive.hub.smart_http import NUM_READERS
from hive.hub.git_door import (
    LIMITS,
    NOTHING,
    Hall,
    ask_to_move,
    deltas_bomb,
    make_commit,
    make_pack,
    make_tree,
    name_object,
    packet,
    zeros_bomb,
)


@pytest.fixture(scope="module")
def hall(tmp_path_factory):
    opened = Hall(tmp_path_factory.mktemp("hall"))
    yield opened
    opened.close()


@pytest.fixture
def guest(hall):
    return hall.join()


@pytest.fixture(scope="module")
def resident(hall):
    """An agent for all that is refused, and so changes nothing."""
    return hall.join("resident")


def pack_of(text, parent=None, mode="100644"):
    """A commit by hand with one file: its name, and the pack."""
    blob = text.encode() if isinstance(text, str) else text
    tree = make_tree((mode, "solve.py", name_object("blob", blob)))
    commit = make_commit(name_object("tree", tree), parent)
    return name_object("commit", commit), make_pack([("blob", blob), ("tree", tree), ("commit", commit)])


# --- what agents do all day


def test_a_clone_holds_what_the_task_shows_and_nothing_of_what_is_sealed(hall, guest):
    names = guest.git("ls-files").split()
    assert names == [".gitignore", "data.txt", "eval/eval.sh", "program.md", "solve.py"]
    assert guest.git("rev-parse", "HEAD") == hall.base
    assert guest.git("cat-file", "--batch-all-objects", "--batch-check").count("blob") == len(names)


def test_a_push_is_told_with_its_commits_before_the_agent_hears_that_it_stands(hall, guest):
    one, two = guest.commit("print(1)"), guest.commit("print(2)")
    status, said = guest.push("main", "main:refs/tags/second")
    assert status == 0, said
    assert hall.told[-1] == (guest.fork, guest.name, {"refs/heads/main": two, "refs/tags/second": two}, [two, one])
    assert hall.repositories.knows("labels", guest.name, one)
    guest.push("main:refs/heads/again")
    assert hall.told[-1] == (guest.fork, guest.name, {"refs/heads/again": two}, [])


def test_a_run_is_fetched_by_its_name_from_anothers_fork_without_a_key(hall, guest):
    other = hall.join()
    run = guest.commit("print('mine')")
    guest.push("HEAD:refs/heads/try")
    other.git("fetch", "-q", f"http://127.0.0.1:{hall.port}/git/{guest.fork}", run)
    assert other.git("show", "FETCH_HEAD:solve.py") == "print('mine')"


def test_a_pinned_run_outlives_its_branch_even_where_somebody_cleans_up(hall, guest):
    run = guest.commit("print('old')")
    guest.push("main")
    hall.repositories.pin("labels", guest.name, run)
    guest.git("reset", "-q", "--hard", hall.base)
    new = guest.commit("print('new')")
    assert guest.push("--force", "main")[0] == 0
    guest.git("-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now", at=guest.path)
    other = hall.join()
    other.git("fetch", "-q", guest.url, run)
    assert other.git("show", "FETCH_HEAD:solve.py") == "print('old')"
    assert guest.refs() == {"refs/heads/main": new}, "pins are nobody's branches"


def test_a_new_version_of_the_task_is_pulled_from_upstream_and_pushed_on(tmp_path):
    hall = Hall(tmp_path)
    try:
        guest = hall.join()
        task = replace(hall.task, files={**hall.task.files, "public/data.txt": b"more"})
        new = hall.repositories.publish(task)
        guest.git("pull", "-q", f"http://127.0.0.1:{hall.port}/git/{name_base('labels')}", "main")
        assert guest.git("rev-parse", "HEAD") == new
        assert (guest.tree / "data.txt").read_text() == "more"
        assert guest.push("main")[0] == 0
        assert hall.told[-1][3] == [new]
    finally:
        hall.close()


def test_branches_are_removed_and_the_main_one_is_not(guest):
    guest.commit("print(3)")
    guest.push("main:refs/heads/extra")
    assert guest.push(":refs/heads/extra")[0] == 0
    status, said = guest.push(":refs/heads/main")
    assert status != 0, said
    assert list(guest.refs()) == ["refs/heads/main"]


def test_two_pushes_at_once_to_two_branches_both_stand_and_to_one_only_the_first(hall, guest):
    here = [(pack_of(f"print({i})", hall.base), f"refs/heads/b{i}") for i in range(4)]
    same = [(pack_of(f"print('s{i}')", hall.base), "refs/heads/main") for i in range(4)]
    answers = {}

    def push(number, one):
        (commit, pack), ref = one
        old = hall.base if ref.endswith("main") else NOTHING
        answers[number] = guest.push_by_hand([(old, commit, ref)], pack)[1]

    threads = [threading.Thread(target=push, args=pair) for pair in enumerate(here + same)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(f"ok refs/heads/b{i}".encode() in answers[i] for i in range(4)), answers
    assert sum(b"ok refs/heads/main" in answers[4 + i] for i in range(4)) == 1, answers
    assert guest.is_sound() is True


def test_a_client_of_the_old_protocol_is_served_as_well(hall, guest):
    run = guest.commit("print('v0')")
    assert guest.try_git("-c", "protocol.version=0", "push", guest.url, "main")[0] == 0
    guest.git("-c", "protocol.version=0", "clone", "-q", guest.url, str(guest.tree) + "-old", at=hall.folder)
    assert guest.git("rev-parse", "HEAD", at=str(guest.tree) + "-old") == run


def test_a_shallow_clone_pushes_too(hall, guest):
    guest.commit("print('deep')")
    guest.push("main")
    guest.git("clone", "-q", "--depth", "1", guest.url, str(guest.tree) + "-flat", at=hall.folder)
    flat = str(guest.tree) + "-flat"
    guest.git("commit", "-q", "--allow-empty", "-m", "flat", at=flat)
    guest.git("push", "-q", guest.url, "main", at=flat)
    assert hall.told[-1][3] == [guest.git("rev-parse", "HEAD", at=flat)]


# --- who may


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:{port}/git/{own}.git", "could not read Username"),
        ("http://{me}:wrong@127.0.0.1:{port}/git/{own}.git", "this key opens nothing"),
        ("http://{me}:{me}@127.0.0.1:{port}/git/{own}.git", "this key opens nothing"),
        ("http://{me}:key-of-{me}@127.0.0.1:{port}/git/fork--labels--target.git", "403"),
        ("http://{me}:key-of-{me}@127.0.0.1:{port}/git/task--labels.git", "403"),
        ("http://hasty:key@127.0.0.1:{port}/git/{own}.git", "429"),
    ],
)
def test_a_push_without_the_right_key_or_to_anothers_repository_is_refused(hall, resident, url, words):
    hall.repositories.fork("labels", "target")
    resident.git("commit", "-q", "--allow-empty", "-m", "no")
    num_told = len(hall.told)
    status, said = resident.try_git("push", url.format(port=hall.port, me=resident.name, own=resident.fork), "main")
    assert status != 0
    assert words in said, said
    assert len(hall.told) == num_told
    assert not hall.repositories.knows("labels", "target", resident.git("rev-parse", "HEAD"))


def test_who_is_refused_hears_how_to_identify_and_when_to_come_again(hall, resident):
    for path, header, value in (
        (f"/git/{resident.fork}/info/refs?service=git-receive-pack", {}, ("WWW-Authenticate", "Basic realm")),
        (
            "/git/task--labels/info/refs?service=git-upload-pack",
            {"Authorization": "Basic aGFzdHk6eA=="},
            ("Retry-After", "7"),
        ),
    ):
        line = http.client.HTTPConnection("127.0.0.1", hall.port)
        line.request("GET", path, headers=header)
        assert value[1] in line.getresponse().headers[value[0]]
        line.close()


@pytest.mark.parametrize("said", ["Basic %%%", "Basic " + "YQ==", "Basic AGE6Yg==", "Basic /////w==", "Basic YTpiAGM="])
def test_credentials_that_are_no_text_are_a_clients_mistake(resident, said):
    assert resident.post(b"0000", headers={"Authorization": said})[0] == 400


# --- attacks: on addresses and headers


@pytest.mark.parametrize(
    "path",
    [
        "/git/../git/{own}/info/refs?service=git-upload-pack",
        "/git/%2e%2e/{own}/info/refs?service=git-upload-pack",
        "/git/%2e%2e%2f%2e%2e%2fetc/info/refs?service=git-upload-pack",
        "/git//{own}/info/refs?service=git-upload-pack",
        "/git/{own}%00.git/info/refs?service=git-upload-pack",
        "/git/{own}/../task--labels/info/refs?service=git-upload-pack",
        "/git/{own}.git.git/info/refs?service=git-upload-pack",
        "/git/{own}%0a/info/refs?service=git-upload-pack",
        "/git/FORK--labels--a/info/refs?service=git-upload-pack",
        "/git/fork--labels--/info/refs?service=git-upload-pack",
        "/git/fork--labels--{me}--x/info/refs?service=git-upload-pack",
        "/git/.empty/info/refs?service=git-upload-pack",
        "/git/.locks/info/refs?service=git-upload-pack",
        "/git/{own}/objects/info/alternates",
        "/git/{own}/HEAD",
        "/git/{own}/config",
        "/git/{own}/git-upload-archive",
        "/git/link--labels/info/refs?service=git-upload-pack",
        "/git/task--linked/info/refs?service=git-upload-pack",
    ],
)
def test_no_address_leads_out_of_the_repositories_or_into_their_files(hall, resident, path):
    link = hall.repositories.home / "task--linked.git"
    if not link.is_symlink():
        link.symlink_to(hall.repositories.path("task--labels"))
    status, said = resident.post(None, method="GET", path=path.format(own=resident.fork, me=resident.name))
    assert status == 404, said


@pytest.mark.parametrize(
    ("query", "method", "status"),
    [
        ("", "GET", 403),
        ("?service=git-evil", "GET", 403),
        ("?service=git-upload-archive", "GET", 403),
        ("?service=upload-pack", "GET", 403),
        ("?service=git-upload-pack&service=git-receive-pack", "GET", 403),
        ("?service=git-upload-pack%20--x", "GET", 403),
        ("?service=git-upload-pack", "POST", 405),
        ("?service=git-upload-pack", "DELETE", 405),
    ],
)
def test_only_gits_two_services_are_spoken_in_their_own_way(resident, query, method, status):
    assert resident.post(None, method=method, path=f"/git/{resident.fork}/info/refs{query}")[0] == status


@pytest.mark.parametrize(
    "header",
    [
        {"Git-Protocol": "version=2:GIT_DIR=/etc"},
        {"Git-Protocol": "version=2; touch /tmp/x"},
        {"Git-Protocol": "version=" + "9" * 5000},
        {"Git-Protocol": "--upload-pack=evil"},
        {"Git-Dir": "/etc", "Path-Translated": "/etc", "Git-Http-Export-All": "1", "Git-Config-Count": "1"},
        {"Proxy": "http://evil", "Remote-User": "target", "Remote-Addr": "x", "Query-String": "service=git-evil"},
    ],
)
def test_no_header_reaches_git(resident, header):
    path = f"/git/{resident.fork}/info/refs?service=git-upload-pack"
    status, said = resident.post(None, method="GET", path=path, headers=header)
    assert status == 200
    assert said.startswith(b"001e# service=git-upload-pack\n0000"), "an unknown protocol is the oldest one"
    assert said == resident.post(None, method="GET", path=path)[1]


# --- attacks: on what is sent


def test_a_compressed_request_is_read_and_a_bomb_of_one_is_not(resident):
    wish = b"0014command=ls-refs\n0000"
    told = {"Content-Encoding": "gzip", "Git-Protocol": "version=2"}
    status, said = resident.post(gzip.compress(wish), service="git-upload-pack", headers=told)
    assert (status, b"refs/heads/main" in said) == (200, True)
    bomb = gzip.compress(b"\0" * 2**26)
    assert resident.post(bomb, service="git-upload-pack", headers=told)[0] == 413
    assert resident.post(bomb, headers=told)[0] == 413
    assert resident.post(gzip.compress(wish)[:-6], service="git-upload-pack", headers=told)[0] == 400
    assert resident.post(b"no gzip at all", headers=told)[0] == 400
    assert resident.post(wish, headers={"Content-Encoding": "br"})[0] == 415
    assert resident.post(wish, headers={"Content-Type": "text/plain"})[0] == 415


@pytest.mark.parametrize(
    "body",
    [
        b"fffg",
        b"0003",
        b"00",
        b"fff0short",
        packet(b"push-cert\0x") + b"0000",
        packet(b"x" * 500),
        packet(b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/a\xff\0" + b"report-status"),
        packet(b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/a\nb\0" + b"report-status"),
        packet(b"0" * 39 + b"G " + b"1" * 40 + b" refs/heads/a\0") + b"0000",
        b"".join(packet(b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/a%d" % i) for i in range(100)) + b"0000",
        b"".join(packet(b"shallow " + b"1" * 40) for i in range(2000)) + b"0000",
    ],
)
def test_what_is_no_push_never_reaches_git(resident, body):
    status, _ = resident.post(body)
    assert status in (400, 413)
    assert resident.is_sound() is True


def test_the_question_whether_one_may_push_is_answered(resident):
    assert resident.post(b"0000") == (200, b"")
    assert resident.post(b"") == (200, b"")


@pytest.mark.parametrize(
    "ref",
    [
        "refs/replace/" + "1" * 40,
        "refs/runs/" + "1" * 40,
        "refs/hub/base",
        "refs/notes/commits",
        "refs/heads",
        "HEAD",
        "config",
        "objects/info/alternates",
        "refs/heads/../../config",
        "refs/heads/../runs/x",
        "refs/heads//x",
        "refs/heads/.x",
        "refs/heads/x.lock",
        "refs/heads/-x",
        "refs/heads/a..b",
        "refs/heads/a~1",
        "refs/heads/$(id)",
        "refs/heads/a@{1}",
        "refs/heads/" + "x" * 260,
        "refs/heads/" + "x" * 205,
    ],
)
def test_a_ref_that_is_no_plain_branch_or_tag_is_refused_in_gits_own_words(hall, resident, ref):
    commit, pack = pack_of("print('ref')", hall.base)
    status, said = resident.push_by_hand([(NOTHING, commit, ref), (NOTHING, commit, "refs/heads/good")], pack)
    assert status == 200
    assert f"ng {ref} ".encode() in said
    assert b"ng refs/heads/good" in said, "all or nothing"
    assert resident.refs() == {"refs/heads/main": hall.base}
    assert sorted(path.name for path in resident.path.iterdir()) == ["HEAD", "config", "objects", "packed-refs", "refs"]
    assert not hall.repositories.knows("labels", resident.name, commit)


def test_the_number_of_branches_is_limited_and_freeing_one_makes_room(guest):
    guest.commit("print('many')")
    names = [f"main:refs/heads/n{i}" for i in range(LIMITS.num_refs)]
    status, said = guest.push(*names)
    assert status != 0
    assert "at most 6 branches" in said
    assert guest.push(*names[1:])[0] == 0
    assert guest.push(":refs/heads/n1", names[0])[0] == 0
    assert guest.push(names[1])[0] != 0


def test_a_push_that_is_too_large_is_refused_in_words_and_leaves_nothing(hall, resident):
    before = sorted(resident.path.rglob("*"))
    resident.commit(os.urandom(LIMITS.push_bytes + 100), "big")
    status, said = resident.push("main")
    assert status != 0
    assert "a push has at most 1048576 bytes" in said
    resident.commit(os.urandom(5 * LIMITS.push_bytes), "big")
    status, said = resident.push("main")
    assert (status != 0, "413" in said) == (True, True)
    assert sorted(resident.path.rglob("*")) == before
    assert resident.refs() == {"refs/heads/main": hall.base}


def test_a_fork_that_is_full_takes_no_more_and_stays_what_it_was(guest):
    first = guest.commit(os.urandom(900_000), "big")
    assert guest.push("main")[0] == 0
    before = sorted(guest.path.rglob("*"))
    guest.commit(os.urandom(900_000), "big")
    status, said = guest.push("main")
    assert status != 0
    assert "the fork is full" in said
    assert sorted(guest.path.rglob("*")) == before
    assert guest.refs() == {"refs/heads/main": first}
    assert guest.is_sound() is True


def test_a_file_of_zeros_is_taken_for_what_it_weighs_and_is_no_artifact(hall, guest):
    commit, pack = zeros_bomb(hall.base)
    _, said = guest.push_by_hand([(NOTHING, commit, "refs/heads/bomb")], pack)
    assert b"ok refs/heads/bomb" in said
    assert hall.repositories.room(guest.fork) > LIMITS.fork_bytes // 2
    assert "too large" in hall.repositories.take(Spot(guest.fork, commit), hall.task).trouble
    assert guest.is_sound() is True


def test_a_pack_of_eight_gigabytes_in_four_hundred_bytes_is_refused(hall, resident):
    commit, pack = deltas_bomb(hall.base)
    assert len(pack) < 500
    _, said = resident.push_by_hand([(NOTHING, commit, "refs/heads/bomb")], pack)
    assert b"ng refs/heads/bomb" in said
    assert resident.refs() == {"refs/heads/main": hall.base}


def test_a_commit_is_not_had_by_naming_it(hall, resident):
    """The objects of another's fork, of the base's next version, or of nobody: they must come along."""
    other = hall.join()
    theirs = other.commit("print('theirs')")
    other.push("main")
    for commit in (theirs, "12" * 20):
        _, said = resident.push_by_hand([(NOTHING, commit, "refs/heads/taken")], make_pack([]))
        assert b"ng refs/heads/taken" in said, said
        assert not hall.repositories.knows("labels", resident.name, commit)
    assert resident.is_sound() is True


def _blob(text):
    return name_object("blob", text.encode())


@pytest.mark.parametrize(
    ("entries", "is_taken"),
    [
        ([("100644", ".git", _blob("x"))], False),
        ([("40000", ".GIT", name_object("tree", b""))], False),
        ([("100644", "..", _blob("x"))], False),
        ([("100644", "a/b", _blob("x"))], False),
        ([("100644", "a", _blob("x")), ("100644", "a", _blob("x"))], False),
        ([("100644", "solve.py", "13" * 20)], False),
        ([("120000", ".gitmodules", _blob("x"))], False),
        ([("120000", "solve.py", _blob("x"))], True),
        ([("160000", "solve.py", "13" * 20)], True),
    ],
)
def test_a_tree_that_tricks_those_who_check_it_out_is_refused_or_is_no_artifact(hall, resident, entries, is_taken):
    tree = make_tree(*entries)
    commit = make_commit(name_object("tree", tree), hall.base)
    pack = make_pack([("blob", b"x"), ("tree", tree), ("tree", b""), ("commit", commit)])
    name = name_object("commit", commit)
    _, said = resident.push_by_hand([(NOTHING, name, "refs/heads/odd")], pack)
    assert (b"ok refs/heads/odd" in said) is is_taken, said
    assert hall.repositories.knows("labels", resident.name, name) is is_taken
    if is_taken:
        assert hall.repositories.take(Spot(resident.fork, name), hall.task).trouble
        assert b"ok refs/heads/odd" in resident.push_by_hand([(name, NOTHING, "refs/heads/odd")])[1]


@pytest.mark.parametrize("where", [10, 30, -30, -5])
def test_a_pack_that_is_torn_or_changed_is_refused_and_leaves_nothing(hall, resident, where):
    commit, pack = pack_of("print('torn')", hall.base)
    before = sorted(resident.path.rglob("*"))
    for data in (pack[:where], pack[:where] + bytes([pack[where] ^ 1]) + pack[where:][1:]):
        _, said = resident.push_by_hand([(NOTHING, commit, "refs/heads/torn")], data)
        assert b"ok refs/heads/torn" not in said
    assert [path for path in sorted(resident.path.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]


def test_a_client_that_dies_in_the_middle_of_a_push_leaves_nothing(hall, guest):
    commit, pack = pack_of(os.urandom(300_000), hall.base)
    body = ask_to_move([(NOTHING, commit, "refs/heads/half")]) + pack
    key = b64encode(f"{guest.name}:key-of-{guest.name}".encode()).decode()
    head = (
        f"POST /git/{guest.fork}/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {key}\r\n"
        f"Content-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    num_told = len(hall.told)
    for part in (1, 2, 3):
        line = socket.create_connection(("127.0.0.1", hall.port))
        sent = body[: part * len(body) // 4]
        line.sendall(head + b"%x\r\n" % len(sent) + sent + b"\r\n")
        line.close()
    assert guest.refs() == {"refs/heads/main": hall.base}
    assert len(hall.told) == num_told
    assert guest.is_sound() is True
    assert b"ok refs/heads/half" in guest.post(body)[1]


def test_clients_that_send_nothing_more_keep_nobody_waiting(hall, guest):
    lines = []
    for _ in range(40):
        line = socket.create_connection(("127.0.0.1", hall.port))
        line.sendall(
            f"POST /git/{guest.fork}/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            "Content-Type: application/x-git-upload-pack-request\r\n\r\n0014".encode()
        )
        lines.append(line)
    assert guest.refs() == {"refs/heads/main": hall.base}
    assert guest.push("main:refs/heads/through")[0] == 0
    [line.close() for line in lines]


def test_what_a_killed_git_left_behind_stands_in_nobodys_way(hall, guest):
    run = guest.commit("print('after')")
    for left in ("refs/heads/main.lock", "packed-refs.lock", "refs/tags/x.lock"):
        (guest.path / left).parent.mkdir(parents=True, exist_ok=True)
        (guest.path / left).touch()
    (guest.path / "objects" / "tmp_objdir-incoming-a1b2c3").mkdir()
    assert guest.push("main")[0] == 0
    assert guest.refs() == {"refs/heads/main": run}
    assert guest.is_sound() is True


def test_clients_that_do_not_read_what_they_asked_for_keep_nobody_waiting(hall, guest):
    """Twice as many as there are processes for readers, each with a megabyte in the mail."""
    run = guest.commit(os.urandom(900_000), "big")
    assert guest.push("main")[0] == 0
    wish = packet(b"want " + run.encode() + b" ofs-delta\n") + b"0000" + packet(b"done\n")
    lines = []
    for _ in range(2 * NUM_READERS):
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", hall.port))
        line.sendall(
            f"POST /git/{guest.fork}/git-upload-pack HTTP/1.1\r\nHost: x\r\nContent-Length: {len(wish)}\r\n"
            "Content-Type: application/x-git-upload-pack-request\r\n\r\n".encode()
            + wish
        )
        lines.append(line)
    assert [line.recv(12) for line in lines] == [b"HTTP/1.1 200"] * len(lines)
    assert hall.join().git("fetch", "-q", guest.url, run) == ""
    [line.close() for line in lines]
