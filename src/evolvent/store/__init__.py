"""What is kept: run directories, episodes as Parquet, checkpoints, pages."""

from evolvent.store.atomic import append_line, write_bytes, write_file, write_folder, write_text
from evolvent.store.run import SCHEMA, Run

__all__ = ["SCHEMA", "Run", "append_line", "write_bytes", "write_file", "write_folder", "write_text"]
