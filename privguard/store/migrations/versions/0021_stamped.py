"""Which checkpoints have a time stamp: few among many."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    stamped = sa.text("timestamp_token IS NOT NULL")
    op.create_index(
        "checkpoint_stamped", "checkpoint", ["size"], sqlite_where=stamped, postgresql_where=stamped
    )
