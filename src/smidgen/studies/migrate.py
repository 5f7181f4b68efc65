"""Raises an older run store to today's schema, with Alembic; imported only when a store needs it.

All of it in the caller's transaction: a process that is killed meanwhile leaves the older store as it was, and others
that hold the file open wait. Revisions only add, so a program that knows the older schema can go on with what it has
open; it refuses the store when it opens it anew.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from smidgen.studies import SCHEMA
from smidgen.studies.tables import HEAD, revision_table, store_table, trials

FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection, to: str = HEAD) -> None:
    """Applies the revisions that the store lacks; none where another process was quicker."""
    if connection.scalar(sa.select(store_table.c.version)) == SCHEMA:
        return
    config = configuration(connection)
    if revision_table.name not in sa.inspect(connection).get_table_names():
        command.stamp(config, _revision(connection))  # from before revisions were written down
    command.upgrade(config, to)


def configuration(connection: sa.Connection) -> Config:
    """For Alembic's commands on this connection."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    given: dict[str, Any] = config.attributes
    given["connection"] = connection
    return config


def _revision(connection: sa.Connection) -> str:
    columns = sa.inspect(connection).get_columns(trials.name)
    return "0002" if any(column["name"] == "notes" for column in columns) else "0001"
