"""A worker: leases measurements from a hub over HTTP, runs them in the sandbox, hands in what was measured.

Workers hold nothing that cannot be lost: a job whose worker was killed is leased again when its heartbeat has been
missing for long enough, and a result whose lease is over is refused, so nothing is measured twice into the record.
"""

from __future__ import annotations

import base64
import io
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from evolvent.envs.sandbox import best
from evolvent.errors import BadInput, EvolventError, InfrastructureError, VerifierError
from evolvent.hive.hub.reports import tell_report
from evolvent.hive.sealed import Bench
from evolvent.hive.task_folder import Shelf, build_task

WAIT_S, TIMEOUT_S = 1.5, 60.0  # a server that ends gives its requests two seconds
PATIENCE_S = (0.5, 1, 2, 5, 10, 30)
MAX_ERROR = 4000


class Refusal(InfrastructureError):
    """The hub does not take what it was asked or told."""


@dataclass(frozen=True, slots=True)
class Done:
    """One measurement that a worker made: what, of whom, what came out, and how long it took."""

    task: str
    commit: str
    kind: str
    said: str
    seconds: float


@dataclass
class Worker:
    """Works for one hub; `home` keeps the tasks that it was sent. `tell` hears of each measurement."""

    url: str
    key: str = field(repr=False)
    bench: Bench
    name: str = "worker"
    tell: Callable[[Done], None] = lambda _: None
    transport: httpx.BaseTransport | None = None

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._client = httpx.Client(
            base_url=self.url.rstrip("/") + "/api/work",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=TIMEOUT_S,
            transport=self.transport,
        )

    def run(self, stop: threading.Event | None = None, *, max_jobs: int | None = None, until_idle: bool = False) -> int:
        """Work until told to stop, so many jobs, or until none waits; how many were. An absent hub is waited for."""
        self._stop = stop = stop or threading.Event()
        num, failures = 0, 0
        while not stop.is_set() and (max_jobs is None or num < max_jobs):
            try:
                job = self._lease(0.0 if until_idle else WAIT_S)
                failures = 0
                if job is not None:
                    self._work(job)
                    num += 1
                elif until_idle:
                    break
            except httpx.TransportError:
                stop.wait(PATIENCE_S[min(failures, len(PATIENCE_S) - 1)])
                failures += 1
        return num

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _lease(self, wait_s: float) -> dict[str, Any] | None:
        response = self._ask("lease", {"worker": self.name, "wait_s": wait_s})
        if response.status_code == 204:
            return None
        try:
            job: dict[str, Any] = response.json()["job"]
        except (ValueError, KeyError, TypeError):
            got = ascii(response.text[:80])
            raise Refusal("this is no hub", where=self.url, got=got, cure="hub=URL as serve prints it") from None
        return job

    def _work(self, job: Mapping[str, Any]) -> None:
        start_s = time.monotonic()
        with self._heart(job):
            try:
                reports = self._measure(job)
                said = " against ".join(_say(one) for one in reports)
                self._hand_in(job, "finish", {"reports": reports})
            except httpx.TransportError:
                raise
            except (EvolventError, OSError) as error:  # a scorer that breaks will break again, a machine may not
                retry = not isinstance(error, VerifierError | Refusal)
                self._hand_in(job, "fail", {"error": str(error)[:MAX_ERROR], "is_retryable": retry})
                said = f"failed: {str(error).splitlines()[0]}"
        self.tell(Done(job["task"], job["commit"], job["kind"], said, time.monotonic() - start_s))

    def _measure(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        self._fetch_task(job["digest"])
        artifacts = [job["files"]] + ([job["incumbent"]["files"]] if job["incumbent"] else [])
        reports: list[dict[str, Any]] = []
        for packed in artifacts:
            files = {path: base64.b64decode(data) for path, data in packed.items()}
            try:
                result = self.bench.measure_files(job["digest"], files, seeds=job["seeds"], bundle=job["bundle"])
            except VerifierError as error:
                if not reports:
                    raise
                # the scorer did not break on the challenger: an incumbent that breaks it could else never be beaten
                reports.append({"outcome": "invalid", "why": f"{error.what}"})
            else:
                reports.append(tell_report(result))
        return reports

    def _fetch_task(self, digest: str) -> None:
        if (self.bench.shelf.home / digest).is_dir():
            return
        response = self._client.get(f"/tasks/{digest}")
        _check(response)
        try:
            with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
                members = [(one.name, archive.extractfile(one)) for one in archive if one.isreg()]
                task = build_task({name: found.read() for name, found in members if found}, digest[:12])
            got = task.digest
        except (tarfile.TarError, BadInput) as error:
            got = str(error)
        if got != digest:
            raise InfrastructureError("the task came broken", where=self.url, got=got, wanted=digest)
        self.bench.shelf.put(task)

    def _hand_in(self, job: Mapping[str, Any], verb: str, said: dict[str, Any]) -> None:
        for wait_s in (*PATIENCE_S, None):
            try:
                response = self._ask(f"{job['id']}/{verb}", {"lease": job["lease"], **said})
            except httpx.TransportError:
                if wait_s is None or self._stop.wait(wait_s):  # told to stop: the lease ends, and another measures it
                    raise
                continue
            if response.status_code != 409:  # somebody else has it by now: drop the result
                _check(response)
            return

    @contextmanager
    def _heart(self, job: Mapping[str, Any]) -> Any:
        """Beat while the job is worked on."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(job["lease_s"] / 3):
                try:
                    self._ask(f"{job['id']}/beat", {"lease": job["lease"]}, timeout_s=max(1.0, job["lease_s"] / 3))
                except (httpx.TransportError, EvolventError):
                    continue  # the next beat tries again; the lease outlives two

        heart = threading.Thread(target=beat, daemon=True)
        heart.start()
        try:
            yield
        finally:
            done.set()
            heart.join()

    def _ask(self, path: str, said: dict[str, Any], timeout_s: float = TIMEOUT_S) -> httpx.Response:
        response = self._client.post(f"/{path}", json=said, timeout=timeout_s)
        if response.status_code >= 500 or response.status_code == 429:
            raise httpx.ReadError(f"the hub says {response.status_code}")
        if response.status_code != 409:
            _check(response)
        return response


def open_worker(url: str, key: str, home: Path | str, name: str = "worker") -> Worker:
    """A worker that keeps its tasks in a folder, with the best sandbox here; without one it takes no job at all."""
    return Worker(url, key, Bench(Shelf(home), best()), name)


def _check(response: httpx.Response) -> None:
    if response.status_code == 429 or response.status_code >= 500:
        raise httpx.ReadError(f"the hub says {response.status_code}")  # it is asked again later
    if response.status_code in (401, 403):
        cure = "use the key of a user with the role worker"
        raise BadInput(
            "the hub does not let this worker in", where=str(response.url), got=response.text[:200], cure=cure
        )
    if response.status_code >= 400:
        cure = "is this the address of a hub?" if response.status_code == 404 else ""
        got = f"{response.status_code} {response.text[:300]}"
        raise Refusal("the hub refused", where=str(response.url), got=got, cure=cure)


def _say(report: Mapping[str, Any]) -> str:
    if report["outcome"] != "scored":
        return f"invalid: {report['why']}"
    numbers = [sum(cases) / len(cases) for cases in report["by_seed"]]
    return f"{sum(numbers) / len(numbers):.6g}"
