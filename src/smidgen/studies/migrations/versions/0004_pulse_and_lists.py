"""Studies have a heartbeat; offers are read in their order;
in SQLite lists of trials are read from an index alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("studies", sa.Column("lease_until", sa.Double))
    op.create_index("offers_placed", "offers", ["owner", "place"])
    # Of those that run now on other machines nobody can tell; a day after they began they count as stopped.
    op.execute("UPDATE studies SET lease_until = updated + 86400 WHERE state = 'running'")
    if op.get_bind().dialect.name == "sqlite":
        listed = ["key", "created", "state", "seconds", "peak_bytes", "model_bytes", "trial"]
        op.create_index("trials_listed", "trials", listed)
    op.execute("UPDATE smidgen_store SET version = 3")
