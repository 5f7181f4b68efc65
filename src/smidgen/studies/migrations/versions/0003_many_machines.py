"""Trials are offered to workers on other machines."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("trials_begun", "trials", ["created", "key"])
    op.create_table(
        "coordinators",
        sa.Column("owner", sa.String(80), primary_key=True),
        sa.Column("study", sa.String(80), nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("begun", sa.Double, nullable=False),
        sa.Column("program", sa.String(40), nullable=False),
        sa.Column("data", sa.String(32), nullable=False),
        sa.Column("memory", sa.BigInteger),
    )
    op.create_index("ix_coordinators_study", "coordinators", ["study"])
    op.create_table(
        "offers",
        sa.Column("owner", sa.String(80), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("trial", sa.Text, nullable=False),
        sa.Column("method", sa.String(200), nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("longest", sa.Double),
        sa.Column("too_small", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("failure", sa.Text),
    )
    op.create_index("ix_offers_key", "offers", ["key"])
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(80), primary_key=True),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("study", sa.String(80)),
    )
    op.create_table(
        "task_data",
        sa.Column("digest", sa.String(32), primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.execute("UPDATE smidgen_store SET version = 2")
