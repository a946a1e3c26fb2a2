"""The tables of a hub, the same for SQLite and Postgres; every moment is a text of `times.now`, which sorts by time."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()
_Key = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only what is called INTEGER


def _counted() -> Column[int]:
    return Column("id", _Key, primary_key=True, autoincrement=True)


def _task(*, is_key: bool = False, is_needed: bool = True) -> Column[str]:
    return Column("task_id", String(20), ForeignKey("tasks.id"), primary_key=is_key, nullable=not is_needed)


def _agent(*, is_key: bool = False) -> Column[str]:
    return Column("agent_id", String(20), ForeignKey("agents.id"), primary_key=is_key, nullable=False)


users = Table(
    "users",
    metadata,
    _counted(),
    Column("name", String(80), nullable=False, unique=True),
    Column("role", String(10), nullable=False),  # admin, owner, worker, user
    Column("key_hash", String(64), nullable=False, unique=True),
    Column("created_at", String(32), nullable=False),
    Column("revoked_at", String(32)),
)

agents = Table(
    "agents",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("token_hash", String(64), unique=True),  # NULL: nobody can speak as it
    Column("user_id", ForeignKey("users.id")),
    Column("registered_at", String(32), nullable=False),
    Column("last_seen_at", String(32), nullable=False),
    Column("num_runs", Integer, nullable=False, server_default="0"),
    Column("served_at", String(32), nullable=False, server_default=""),  # when a worker last took up a run of its
    Column("revoked_at", String(32)),
)

invites = Table(
    "invites",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("uses_left", Integer, nullable=False),
    Column("created_at", String(32), nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("program", Text, nullable=False),
    Column("config", Text, nullable=False),  # what HiveTask.tell() says, as JSON
    Column("digest", String(64), nullable=False),
    Column("base_sha", String(40), nullable=False),
    Column("direction", String(10), nullable=False),
    Column("limits", Text, nullable=False, server_default="{}"),  # of an agent: evaluations, seconds, tokens, money
    Column("state", String(10), nullable=False, server_default="open"),
    Column("owner_id", ForeignKey("users.id")),
    Column("created_at", String(32), nullable=False),
    Column("last_activity", String(32), nullable=False),
    # counters, each of which can be counted again from the runs
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
    # raised by every write that concerns the task, and by every change of an official number
    Column("version", Integer, nullable=False, server_default="1"),
    Column("board_version", Integer, nullable=False, server_default="1"),
)

forks = Table(
    "forks",
    metadata,
    _task(is_key=True),
    _agent(is_key=True),
    Column("key_hash", String(64), nullable=False),
    Column("base_sha", String(40), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("num_pushes", Integer, nullable=False, server_default="0"),
)

commits = Table(  # what was pushed, by whom: only this can be submitted
    "commits",
    metadata,
    _task(is_key=True),
    _agent(is_key=True),
    Column("sha", String(40), primary_key=True),
    Column("pushed_at", String(32), nullable=False),
    Index("commits_by_sha", "task_id", "sha"),
)

runs = Table(
    "runs",
    metadata,
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
    Column("status", String(10), nullable=False),  # pending, running, success, failed (invalid), error (gave up)
    Column("why", Text, nullable=False, server_default=""),
    Column("log", Text, nullable=False, server_default=""),
    Column("value", Float),  # the official number and its 95 % interval
    Column("low", Float),
    Column("high", Float),
    Column("numbers", Text, nullable=False, server_default="[]"),  # one official number for each seed, as JSON
    Column("num_cases", Integer, nullable=False, server_default="0"),
    Column("squares", Float, nullable=False, server_default="0"),  # of the cases' distances from their mean, summed
    Column("holdout", Text),  # numbers of the hold-out as JSON
    Column("is_valid", Boolean, nullable=False, server_default=text("true")),
    Column("is_kept", Boolean),
    Column("comparison", Text),  # what the keep rule said, as JSON
    Column("compared_with", String(40)),  # the incumbent that it challenged last
    Column("kept_at", String(32)),
    Column("tree_digest", String(64)),
    Column("tier", String(20)),  # of the sandbox in which it was measured
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

jobs = Table(
    "jobs",
    metadata,
    _counted(),
    _task(),
    Column("sha", String(40), nullable=False),
    Column("kind", String(10), nullable=False),  # measure, compare, holdout
    Column("state", String(10), nullable=False),  # waiting, leased, done, dead
    Column("payload", Text, nullable=False, server_default="{}"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("not_before", String(32), nullable=False),
    Column("lease", String(64)),
    Column("lease_until", String(32)),
    Column("worker", String(80)),
    Column("error", Text, nullable=False, server_default=""),
    Column("created_at", String(32), nullable=False),
    Column("finished_at", String(32)),
    UniqueConstraint("task_id", "sha", "kind"),  # nothing is measured twice into the record
    Index("jobs_by_state", "state", "not_before", "id"),
)

spent = Table(  # by an agent on a task; its limits stand in tasks.limits
    "spent",
    metadata,
    _task(is_key=True),
    _agent(is_key=True),
    Column("evaluations", Integer, nullable=False, server_default="0"),
    Column("seconds", Float, nullable=False, server_default="0"),
    Column("tokens", BigInteger, nullable=False, server_default="0"),
    Column("money", Float, nullable=False, server_default="0"),
)

posts = Table(
    "posts",
    metadata,
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

comments = Table(
    "comments",
    metadata,
    _counted(),
    Column("post_id", ForeignKey("posts.id"), nullable=False),
    Column("parent_comment_id", ForeignKey("comments.id")),
    _agent(),
    Column("content", Text, nullable=False),
    Column("upvotes", Integer, nullable=False, server_default="0"),
    Column("downvotes", Integer, nullable=False, server_default="0"),
    Column("created_at", String(32), nullable=False),
    Index("comments_by_post", "post_id", "parent_comment_id"),
)

votes = Table(
    "votes",
    metadata,
    Column("target_type", String(10), primary_key=True),  # post, comment, skill
    Column("target_id", BigInteger, primary_key=True),
    _agent(is_key=True),
    Column("type", String(4), nullable=False),
)

claims = Table(
    "claims",
    metadata,
    _counted(),
    _task(),
    _agent(),
    Column("content", Text, nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("claims_by_task", "task_id", "expires_at"),
)

skills = Table(
    "skills",
    metadata,
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

items = Table(
    "items",
    metadata,
    Column("id", String(40), primary_key=True),  # PREFIX-N
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

item_comments = Table(
    "item_comments",
    metadata,
    _counted(),
    Column("item_id", String(40), ForeignKey("items.id"), nullable=False),
    _agent(),
    Column("content", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("deleted_at", String(32)),
    Index("item_comments_by_item", "item_id"),
)

search_entries = Table(  # one for each post, result, claim and skill; each database finds words in `text` its own way
    "search_entries",
    metadata,
    _counted(),
    _task(),
    Column("kind", String(10), nullable=False),
    Column("ref", BigInteger, nullable=False),  # the id in the table of its kind
    _agent(),
    Column("text", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("kind", "ref"),
    Index("search_entries_by_task", "task_id", "created_at"),
)

events = Table(  # everything that happened, in order: the stream of activity and the audit trail
    "events",
    metadata,
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
