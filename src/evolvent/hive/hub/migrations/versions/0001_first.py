"""The first tables, and how each database finds words in texts."""

from typing import Any

from alembic import op
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# written out, not taken from schema.py: what a migration once made must not change with it
KEY = BigInteger().with_variant(Integer(), "sqlite")
SQLITE = (
    "CREATE VIRTUAL TABLE search_text USING fts5"
    "(text, content='search_entries', content_rowid='id', tokenize='porter unicode61')",
    "CREATE TRIGGER search_in AFTER INSERT ON search_entries BEGIN"
    " INSERT INTO search_text(rowid, text) VALUES (new.id, new.text); END",
    "CREATE TRIGGER search_out AFTER DELETE ON search_entries BEGIN"
    " INSERT INTO search_text(search_text, rowid, text) VALUES ('delete', old.id, old.text); END",
)
POSTGRES = (
    "ALTER TABLE search_entries ADD COLUMN words tsvector GENERATED ALWAYS AS (to_tsvector('english', text)) STORED",
    "CREATE INDEX search_words ON search_entries USING gin (words)",
    # rows that every submission writes anew: the next version finds room on the same page, without long texts
    *(f"ALTER TABLE {name} SET (fillfactor = 10, toast_tuple_target = 128)" for name in ("tasks", "agents", "spent")),
)
TABLES = (
    "users", "agents", "invites", "tasks", "forks", "commits", "runs", "jobs", "spent", "posts", "comments", "votes",
    "claims", "skills", "items", "item_comments", "search_entries", "events",
)  # fmt: skip


def upgrade() -> None:
    """Make them."""
    parts = (_make_identity, _make_tasks, _make_code, _make_runs, _make_work, _make_talk, _make_items, _make_log)
    for make in parts:
        make()
    for line in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRES:
        op.execute(line)


def downgrade() -> None:
    """Take them away, with all that is in them."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE search_text")
    for name in reversed(TABLES):
        op.drop_table(name)


def _make_identity() -> None:
    op.create_table(
        "users",
        _counted(),
        Column("name", String(80), nullable=False, unique=True),
        Column("role", String(10), nullable=False),
        Column("key_hash", String(64), nullable=False, unique=True),
        Column("created_at", String(32), nullable=False),
        Column("revoked_at", String(32)),
    )
    op.create_table(
        "agents",
        Column("id", String(20), primary_key=True),
        Column("token_hash", String(64), unique=True),
        Column("user_id", KEY, ForeignKey("users.id")),
        Column("registered_at", String(32), nullable=False),
        Column("last_seen_at", String(32), nullable=False),
        Column("num_runs", Integer, nullable=False, server_default="0"),
        Column("revoked_at", String(32)),
    )
    op.create_table(
        "invites",
        Column("code_hash", String(64), primary_key=True),
        Column("uses_left", Integer, nullable=False),
        Column("created_at", String(32), nullable=False),
    )


def _make_tasks() -> None:
    op.create_table(
        "tasks",
        Column("id", String(20), primary_key=True),
        Column("name", String(200), nullable=False),
        Column("description", Text, nullable=False),
        Column("program", Text, nullable=False),
        Column("config", Text, nullable=False),
        Column("digest", String(64), nullable=False),
        Column("base_sha", String(40), nullable=False),
        Column("direction", String(10), nullable=False),
        Column("limits", Text, nullable=False, server_default="{}"),
        Column("state", String(10), nullable=False, server_default="open"),
        Column("owner_id", KEY, ForeignKey("users.id")),
        Column("created_at", String(32), nullable=False),
        Column("last_activity", String(32), nullable=False),
        Column("num_runs", Integer, nullable=False, server_default="0"),
        Column("num_agents", Integer, nullable=False, server_default="0"),
        Column("num_official", Integer, nullable=False, server_default="0"),
        Column("num_improvements", Integer, nullable=False, server_default="0"),
        Column("num_compared", Integer, nullable=False, server_default="0"),
        Column("num_posts", Integer, nullable=False, server_default="0"),
        Column("num_skills", Integer, nullable=False, server_default="0"),
        Column("best_sha", String(40)),
        Column("best_value", Float),
        Column("item_seq", Integer, nullable=False, server_default="0"),
        Column("version", Integer, nullable=False, server_default="1"),
        Column("board_version", Integer, nullable=False, server_default="1"),
    )


def _make_code() -> None:
    op.create_table(
        "forks",
        _task(is_key=True),
        _agent(is_key=True),
        Column("key_hash", String(64), nullable=False),
        Column("base_sha", String(40), nullable=False),
        Column("created_at", String(32), nullable=False),
        Column("num_pushes", Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "commits",
        _task(is_key=True),
        _agent(is_key=True),
        Column("sha", String(40), primary_key=True),
        Column("pushed_at", String(32), nullable=False),
        Index("commits_by_sha", "task_id", "sha"),
    )


def _make_runs() -> None:
    op.create_table(
        "runs",
        _task(is_key=True),
        Column("sha", String(40), primary_key=True),
        Column("number", Integer, nullable=False),
        _agent(),
        Column("parent_sha", String(40)),
        Column("branch", String(250), nullable=False),
        Column("tldr", String(300), nullable=False),
        Column("message", Text, nullable=False),
        Column("claim", Float),
        Column("task_digest", String(64), nullable=False),
        Column("status", String(10), nullable=False),
        Column("why", Text, nullable=False, server_default=""),
        Column("log", Text, nullable=False, server_default=""),
        Column("value", Float),
        Column("low", Float),
        Column("high", Float),
        Column("numbers", Text, nullable=False, server_default="[]"),
        Column("num_cases", Integer, nullable=False, server_default="0"),
        Column("squares", Float, nullable=False, server_default="0"),
        Column("holdout", Text),
        Column("is_valid", Boolean, nullable=False, server_default=text("true")),
        Column("is_kept", Boolean),
        Column("comparison", Text),
        Column("compared_with", String(40)),
        Column("kept_at", String(32)),
        Column("tree_digest", String(64)),
        Column("tier", String(20)),
        Column("seconds", Float, nullable=False, server_default="0"),
        Column("tokens", BigInteger, nullable=False, server_default="0"),
        Column("money", Float, nullable=False, server_default="0"),
        Column("post_id", BigInteger),
        Column("created_at", String(32), nullable=False),
        Column("verified_at", String(32)),
        UniqueConstraint("task_id", "number"),
        ForeignKeyConstraint(["task_id", "parent_sha"], ["runs.task_id", "runs.sha"]),
        Index("runs_by_value", "task_id", "value"),
        Index("runs_by_agent", "agent_id", "task_id"),
    )


def _make_work() -> None:
    op.create_table(
        "jobs",
        _counted(),
        _task(),
        Column("sha", String(40), nullable=False),
        Column("kind", String(10), nullable=False),
        Column("state", String(10), nullable=False),
        Column("payload", Text, nullable=False, server_default="{}"),
        Column("attempt", Integer, nullable=False, server_default="0"),
        Column("not_before", String(32), nullable=False),
        Column("lease", String(64)),
        Column("lease_until", String(32)),
        Column("worker", String(80)),
        Column("error", Text, nullable=False, server_default=""),
        Column("created_at", String(32), nullable=False),
        Column("finished_at", String(32)),
        UniqueConstraint("task_id", "sha", "kind"),
        Index("jobs_by_state", "state", "not_before", "id"),
    )
    op.create_table(
        "spent",
        _task(is_key=True),
        _agent(is_key=True),
        Column("evaluations", Integer, nullable=False, server_default="0"),
        Column("seconds", Float, nullable=False, server_default="0"),
        Column("tokens", BigInteger, nullable=False, server_default="0"),
        Column("money", Float, nullable=False, server_default="0"),
    )


def _make_talk() -> None:
    op.create_table(
        "posts",
        _counted(),
        _task(),
        _agent(),
        Column("content", Text, nullable=False),
        Column("run_sha", String(40)),
        Column("upvotes", Integer, nullable=False, server_default="0"),
        Column("downvotes", Integer, nullable=False, server_default="0"),
        Column("num_comments", Integer, nullable=False, server_default="0"),
        Column("created_at", String(32), nullable=False),
        Index("posts_by_task", "task_id", "created_at"),
        Index("posts_in_order", "task_id", "id"),
    )
    op.create_table(
        "comments",
        _counted(),
        Column("post_id", KEY, ForeignKey("posts.id"), nullable=False),
        Column("parent_comment_id", KEY, ForeignKey("comments.id")),
        _agent(),
        Column("content", Text, nullable=False),
        Column("upvotes", Integer, nullable=False, server_default="0"),
        Column("downvotes", Integer, nullable=False, server_default="0"),
        Column("created_at", String(32), nullable=False),
        Index("comments_by_post", "post_id", "parent_comment_id"),
    )
    op.create_table(
        "votes",
        Column("target_type", String(10), primary_key=True),
        Column("target_id", BigInteger, primary_key=True),
        _agent(is_key=True),
        Column("type", String(4), nullable=False),
    )
    op.create_table(
        "claims",
        _counted(),
        _task(),
        _agent(),
        Column("content", Text, nullable=False),
        Column("expires_at", String(32), nullable=False),
        Column("created_at", String(32), nullable=False),
        Index("claims_by_task", "task_id", "expires_at"),
    )
    op.create_table(
        "skills",
        _counted(),
        _task(),
        _agent(),
        Column("name", String(200), nullable=False),
        Column("description", Text, nullable=False),
        Column("code_snippet", Text, nullable=False),
        Column("source_run_id", String(40)),
        Column("score_delta", Float),
        Column("upvotes", Integer, nullable=False, server_default="0"),
        Column("downvotes", Integer, nullable=False, server_default="0"),
        Column("item_id", String(40)),
        Column("created_at", String(32), nullable=False),
        Index("skills_by_task", "task_id", "upvotes"),
    )


def _make_items() -> None:
    op.create_table(
        "items",
        Column("id", String(40), primary_key=True),
        Column("seq", Integer, nullable=False),
        _task(),
        Column("title", String(500), nullable=False),
        Column("description", Text),
        Column("status", String(20), nullable=False),
        Column("priority", String(10), nullable=False),
        Column("assignee_id", String(20), ForeignKey("agents.id")),
        Column("assigned_at", String(32)),
        Column("parent_id", String(40), ForeignKey("items.id")),
        Column("labels", Text, nullable=False, server_default="[]"),
        Column("metadata", Text),
        Column("created_by", String(20), ForeignKey("agents.id"), nullable=False),
        Column("created_at", String(32), nullable=False),
        Column("updated_at", String(32), nullable=False),
        Column("deleted_at", String(32)),
        UniqueConstraint("task_id", "seq"),
    )
    op.create_table(
        "item_comments",
        _counted(),
        Column("item_id", String(40), ForeignKey("items.id"), nullable=False),
        _agent(),
        Column("content", Text, nullable=False),
        Column("created_at", String(32), nullable=False),
        Column("deleted_at", String(32)),
        Index("item_comments_by_item", "item_id"),
    )


def _make_log() -> None:
    op.create_table(
        "search_entries",
        _counted(),
        _task(),
        Column("kind", String(10), nullable=False),
        Column("ref", BigInteger, nullable=False),
        _agent(),
        Column("text", Text, nullable=False),
        Column("created_at", String(32), nullable=False),
        UniqueConstraint("kind", "ref"),
        Index("search_entries_by_task", "task_id", "created_at"),
    )
    op.create_table(
        "events",
        _counted(),
        Column("at", String(32), nullable=False),
        Column("kind", String(30), nullable=False),
        Column("task_id", String(20)),
        Column("agent_id", String(20)),
        Column("user_id", BigInteger),
        Column("data", Text, nullable=False, server_default="{}"),
        Index("events_by_task", "task_id", "id"),
        sqlite_autoincrement=True,
    )


def _counted() -> Column[Any]:
    return Column("id", KEY, primary_key=True, autoincrement=True)


def _task(*, is_key: bool = False) -> Column[Any]:
    return Column("task_id", String(20), ForeignKey("tasks.id"), primary_key=is_key, nullable=False)


def _agent(*, is_key: bool = False) -> Column[Any]:
    return Column("agent_id", String(20), ForeignKey("agents.id"), primary_key=is_key, nullable=False)
