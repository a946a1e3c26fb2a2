"""Task folders of other projects, in and out."""

from __future__ import annotations

from evolvent.tasks.formats.harbor import HarborStep, HarborTask, read_task, task_folders, write_task

__all__ = ["HarborStep", "HarborTask", "read_task", "task_folders", "write_task"]
