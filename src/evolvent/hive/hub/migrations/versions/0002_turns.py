"""When a worker last took up a run of an agent: they take turns."""

from alembic import op
from sqlalchemy import Column, String

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; nobody was served yet."""
    op.add_column("agents", Column("served_at", String(32), nullable=False, server_default=""))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("agents", "served_at")
