"""Checkpoints say whether their quorum is met; the signer's state is a file, apart from the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("checkpoint", sa.Column("quorate", sa.Boolean, nullable=False, server_default=sa.false()))
    op.drop_table("signer_state")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT UPDATE (quorate) ON checkpoint TO privguard_service")
