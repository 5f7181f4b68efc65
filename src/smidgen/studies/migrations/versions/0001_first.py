"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    store = op.create_table("smidgen_store", sa.Column("version", sa.Integer, primary_key=True))
    op.bulk_insert(store, [{"version": 1}])
    op.create_table(
        "studies",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("digest", sa.String(32), nullable=False, unique=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("task_name", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("asked", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("owner", sa.String(80)),
        sa.Column("summary", sa.Text),
        sa.Column("trials", sa.Text, nullable=False),
    )
    op.create_table(
        "trials",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("trial", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("owner", sa.String(80)),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("predictions", sa.LargeBinary),
        sa.Column("shape", sa.Text),
        sa.Column("seconds", sa.Double),
        sa.Column("cpu_seconds", sa.Double),
        sa.Column("peak_bytes", sa.BigInteger),
        sa.Column("model_bytes", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("finished", sa.Double),
    )
    op.create_index("trials_running", "trials", ["state", "owner"])
    op.create_table(
        "study_trials",
        sa.Column("study", sa.String(80), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
    )
    op.create_index("ix_study_trials_key", "study_trials", ["key"])
