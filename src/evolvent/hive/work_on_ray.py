"""Workers of a hub as actors of a Ray cluster; each leases over HTTP, so an actor that dies loses nothing."""

from __future__ import annotations

import os
import tempfile
from typing import Any


def work_on_ray(ray: Any, url: str, key: str, num: int, max_jobs: int | None = None) -> int:
    """So many actors at work until each has done its jobs; how many jobs were done. Dead actors are made anew."""
    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
    # a dead actor starts again twice as often as there are jobs to lose, and its call is made again
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Actor)
    actors = [actor.remote(url, key, f"ray-{i + 1}") for i in range(num)]
    return sum(ray.get([one.work.remote(max_jobs) for one in actors]))


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, url: str, key: str, name: str) -> None:
        from evolvent.hive.work import open_worker

        self.worker = open_worker(url, key, tempfile.mkdtemp(prefix="evolvent-worker-"), name)

    def work(self, max_jobs: int | None) -> int:
        """Work; how many jobs were done."""
        return self.worker.run(max_jobs=max_jobs)
