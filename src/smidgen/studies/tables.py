"""The run store's tables. A change here is a new revision in `migrations/versions`, which a test compares with this."""

import sqlalchemy as sa

HEAD = "0004"  # the latest revision

metadata = sa.MetaData()
store_table = sa.Table("smidgen_store", metadata, sa.Column("version", sa.Integer, primary_key=True))
revision_table = sa.Table("alembic_version", metadata, sa.Column("version_num", sa.String(32), primary_key=True))
studies = sa.Table(
    "studies",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("digest", sa.String(32), nullable=False, unique=True),  # of name, fingerprint and options
    sa.Column("created", sa.Double, nullable=False),  # seconds since 1970
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("task_name", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("options", sa.Text, nullable=False),  # JSON
    sa.Column("asked", sa.Text, nullable=False),  # JSON: budget and place of the latest run, not part of the digest
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("owner", sa.String(80)),  # who worked on it last
    sa.Column("lease_until", sa.Double),  # while it runs, see `pulse`; null: of a program that did not write it
    sa.Column("summary", sa.Text),  # JSON
    sa.Column("trials", sa.Text, nullable=False),  # JSON list of keys in the order they were used
)
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("trial", sa.Text, nullable=False),  # JSON
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("owner", sa.String(80)),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("predictions", sa.LargeBinary),  # float64, C order, zlib
    sa.Column("shape", sa.Text),  # JSON
    sa.Column("seconds", sa.Double),
    sa.Column("cpu_seconds", sa.Double),
    sa.Column("peak_bytes", sa.BigInteger),
    sa.Column("model_bytes", sa.BigInteger),
    sa.Column("error", sa.Text),
    sa.Column("notes", sa.Text),  # JSON list; null: none
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("finished", sa.Double),
    sa.Index("trials_running", "state", "owner"),
    sa.Index("trials_begun", "created", "key"),  # the page lists them in this order
    # All that a list shows or sorts by, away from the predictions, which are most of a row. Not in PostgreSQL: it keeps
    # long values outside the row, and what it takes into an index is bounded.
    sa.Index("trials_listed", "key", "created", "state", "seconds", "peak_bytes", "model_bytes", "trial").ddl_if(
        dialect="sqlite"
    ),
)
study_trials = sa.Table(
    "study_trials",
    metadata,
    sa.Column("study", sa.String(80), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True, index=True),
)

# Many machines, see `offers` and `shipping`. These rows live as long as the run that made them.
coordinators = sa.Table(
    "coordinators",
    metadata,
    sa.Column("owner", sa.String(80), primary_key=True),  # the process that runs the study
    sa.Column("study", sa.String(80), nullable=False, index=True),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("begun", sa.Double, nullable=False),
    sa.Column("program", sa.String(40), nullable=False),  # version of smidgen
    sa.Column("data", sa.String(32), nullable=False),  # digest in task_data
    sa.Column("memory", sa.BigInteger),  # bytes that a trial may take; null: any
)
offers = sa.Table(
    "offers",
    metadata,
    sa.Column("owner", sa.String(80), primary_key=True),  # the coordinator
    sa.Column("key", sa.String(64), primary_key=True, index=True),
    sa.Column("trial", sa.Text, nullable=False),  # JSON
    sa.Column("method", sa.String(200), nullable=False),  # name@version
    sa.Column("place", sa.BigInteger, nullable=False),  # taken in this order
    sa.Column("longest", sa.Double),  # seconds that it may take; null: any
    sa.Column("too_small", sa.BigInteger, nullable=False, server_default="0"),  # bytes that were not enough for it
    sa.Column("failure", sa.Text),  # JSON [kind, reason]: it ended, and the reason is none of the trial's
    sa.Index("offers_placed", "owner", "place"),
)
workers = sa.Table(
    "workers",
    metadata,
    sa.Column("owner", sa.String(80), primary_key=True),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("study", sa.String(80)),  # the only one that it works for; null: any
)
task_data = sa.Table(
    "task_data",
    metadata,
    sa.Column("digest", sa.String(32), primary_key=True),  # of the whole, not packed
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("parts", sa.Integer, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),  # zlib
)
