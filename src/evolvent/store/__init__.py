"""What is kept: run directories, episodes as Parquet, checkpoints, copies of numbers for trackers, pages."""

from evolvent.store.atomic import append_line, write_bytes, write_file, write_folder, write_text
from evolvent.store.episodes import read_episodes, write_episodes
from evolvent.store.page import write_report_page
from evolvent.store.run import SCHEMA, Run
from evolvent.store.sinks import Sink, Sinks, open_sinks

__all__ = [
    "SCHEMA",
    "Run",
    "Sink",
    "Sinks",
    "append_line",
    "open_sinks",
    "read_episodes",
    "write_bytes",
    "write_episodes",
    "write_file",
    "write_folder",
    "write_report_page",
    "write_text",
]
