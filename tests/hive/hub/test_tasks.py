from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from evolvent.hive.hub.refs import MAIN, read_ref
from evolvent.hive.hub.refusals import Refused
from evolvent.hive.hub.schema import jobs, runs, tasks
from evolvent.hive.hub.tasks import open_task
from hive.forge import git, make_task
from hive.hub.desk import NAME, Desk


@pytest.fixture
def desk(any_hub, tmp_path):
    return Desk(any_hub, tmp_path)


def another(folder):
    """A task of the same name with other public files."""
    return make_task(folder / "another", more={"public/data.txt": "other"})


def main_of(hub):
    return read_ref(hub.repositories.path(f"task--{NAME}"), MAIN)


def refuse(hub, task):
    with pytest.raises(Refused, match="another task has this name") as found:
        open_task(hub, task)
    assert found.value.status == 409


def test_another_task_of_the_same_name_is_refused_and_nothing_of_it_is_kept(desk, tmp_path):
    base, task = desk.row()["base_sha"], another(tmp_path)
    refuse(desk.hub, task)
    assert main_of(desk.hub) == base and not (desk.hub.shelf.home / task.digest).exists()
    assert desk.row()["digest"] == desk.task.digest
    desk.join("late")
    fork = desk.hub.repositories.path(f"fork--{NAME}--late")
    assert git(fork, "show", "main:data.txt") == "public", "new agents start from what is measured"


def test_the_same_task_opened_again_changes_nothing_and_leads_new_agents_to_it_again(desk, tmp_path):
    told = open_task(desk.hub, desk.task)
    assert open_task(desk.hub, desk.task) == told
    desk.hub.repositories.publish(another(tmp_path))
    assert main_of(desk.hub) != told["base_sha"]
    assert open_task(desk.hub, desk.task) == told and main_of(desk.hub) == told["base_sha"]
    with desk.hub.database.read() as connection:
        for table in (tasks, runs, jobs):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1


def test_of_tasks_of_one_name_that_are_opened_at_once_one_is_opened_and_leads_new_agents(hub, tmp_path):
    both = [make_task(tmp_path / "one"), another(tmp_path)]
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(open_task, hub, task) for task in both]
    [refused] = [end.exception() for end in ends if end.exception()]
    [told] = [end.result() for end in ends if not end.exception()]
    assert isinstance(refused, Refused) and refused.status == 409
    assert main_of(hub) == told["base_sha"]
