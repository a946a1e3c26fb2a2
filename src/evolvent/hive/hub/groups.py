"""Lets writes that wait at the same moment share one transaction, so that many agents pay for one commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
MAX_GROUP = 16
_Work = tuple[Callable[[Connection], Any], "Future[Any]"]


class Groups:
    """One thread that writes; each work is kept or undone by itself, and is answered once the whole is kept."""

    def __init__(self, write: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._write = write
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, work: Callable[[Connection], T]) -> Future[T]:
        """Do it soon: the future has what it returned, or what it raised, in which case nothing of it was kept."""
        future: Future[T] = Future()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="hub-writes", daemon=True)
                self._thread.start()
        self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Finish what waits, and stop."""
        with self._starting:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._queue.put(None)
        if thread is not None:
            thread.join()

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < MAX_GROUP:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    self._queue.put(None)  # for the next turn
                    break
                group.append(more)
            self._run([one for one in group if one[1].set_running_or_notify_cancel()])

    def _run(self, group: list[_Work]) -> None:
        made: list[tuple[Any, BaseException | None]] = []
        try:
            if not group:
                return
            with self._write() as connection:
                if len(group) == 1:
                    made.append((group[0][0](connection), None))
                else:
                    made += [_try(connection, work) for work, _ in group]
        except BaseException as error:  # each of them has to hear why
            made = [(None, error)] * len(group)
        for (_, future), (result, trouble) in zip(group, made, strict=True):
            if trouble is None:
                future.set_result(result)
            else:
                future.set_exception(trouble)


def _try(connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
    """Do one work of a group: what it returned, or what it raised, and then it left nothing."""
    connection.exec_driver_sql("SAVEPOINT one")
    try:
        made = work(connection)
    except Exception as error:
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one")
        connection.exec_driver_sql("RELEASE SAVEPOINT one")
        return None, error
    connection.exec_driver_sql("RELEASE SAVEPOINT one")
    return made, None
