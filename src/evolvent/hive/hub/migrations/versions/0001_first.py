"""The first tables, and how each database finds words in texts."""

from alembic import op

from evolvent.hive.hub.schema import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

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
)


def upgrade() -> None:
    """Make them."""
    metadata.create_all(op.get_bind())
    for line in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRES:
        op.execute(line)


def downgrade() -> None:
    """Take them away, with all that is in them."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE search_text")
    metadata.drop_all(op.get_bind())
