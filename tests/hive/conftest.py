import pytest

from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import Shelf
from hive.forge import HONEST, TASK, commit_files, make_repository, make_task


class Stand:
    """A hub's bench with one task, and a repository that an attacker fills as it likes."""

    def __init__(self, folder):
        self.folder = folder
        self.task = make_task(folder / "task")
        self.shelf = Shelf(folder / "shelf")
        self.digest = self.shelf.put(self.task)
        self.hurried = self.shelf.put(make_task(folder / "hurried", TASK.replace("seconds = 20", "seconds = 1.0")))
        self.bench = Bench(self.shelf)
        self.repository = make_repository(folder / "fork.git")

    def measure(self, commit, **more):
        return self.bench.measure(self.digest, self.repository, commit, **more)

    def run(self, solve=HONEST, **files):
        """Commit solve.py beside other files, and measure that."""
        return self.measure(commit_files(self.repository, {"solve.py": solve, **files.get("files", {})}))

    def hurry(self, solve):
        """The same with a second of time."""
        return self.bench.measure_files(self.hurried, {"solve.py": solve.encode()})


@pytest.fixture(scope="session")
def stand(tmp_path_factory):
    return Stand(tmp_path_factory.mktemp("hive"))


@pytest.fixture
def fresh(tmp_path):
    return Stand(tmp_path)
