"""The tables of runs. Times are epoch milliseconds; JSON is kept as text, as it goes on the wire."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows by itself only where the key is called INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

runs = Table(
    "headrace_runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    # One run a firing, and one live run a job whose overlap policy says so: NULLs do not collide.
    Column("firing_key", Text, unique=True),
    Column("overlap_key", Text, unique=True),
    # The splitter's lease.
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index("ix_headrace_runs_job_created_at", "job", "created_at"),
    Index("ix_headrace_runs_created_at", "created_at"),
    Index("ix_headrace_runs_ended_at", "ended_at"),
    Index(
        "ix_headrace_runs_splitting",
        "lease_until",
        sqlite_where=text("state = 'splitting'"),
        postgresql_where=text("state = 'splitting'"),
    ),
)

steps = Table(
    "headrace_steps",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("run_id", ForeignKey("headrace_runs.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("handler", Text, nullable=False),
    Column("cursor", Text),
    Column("sealed", Boolean, nullable=False, server_default=text("false")),
    Column("item_count", BigInteger, nullable=False, server_default="0"),
    Column("batches", BigInteger, nullable=False, server_default="0"),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("dead", BigInteger, nullable=False, server_default="0"),
    Column("cancelled", BigInteger, nullable=False, server_default="0"),
    Column("items_done", BigInteger, nullable=False, server_default="0"),
    Column("attempts", BigInteger, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index("ix_headrace_steps_run_id_number", "run_id", "number", unique=True),
    sqlite_autoincrement=True,
)

batches = Table(
    "headrace_batches",
    metadata,
    Column("id", RowId, primary_key=True),
    # Its step's run, written again so that one update of a batch tells the run.
    Column("run_id", String(32), nullable=False),
    Column("step_id", ForeignKey("headrace_steps.id", ondelete="CASCADE"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False, server_default="1"),
    Column("state", String(16), nullable=False),
    Column("payload", Text, nullable=False),
    Column("item_count", Integer, nullable=False),
    # The attempt that runs: its lease, its fencing number, how often the batch was executed before and with it.
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("started_at", BigInteger),
    # Set on a batch that was pushed: when a sweep asks the driver whether its task still exists.
    Column("check_at", BigInteger),
    # "queue/task" of a task that somebody else made for one of our handlers.
    Column("adopted_from", Text, unique=True),
    Column("error", Text, nullable=False, server_default=""),
    Column("ended_at", BigInteger),
    Index("ix_headrace_batches_step_id_number", "step_id", "number", unique=True),
    Index(
        "ix_headrace_batches_pending",
        "id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_headrace_batches_lease",
        "lease_until",
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    Index(
        "ix_headrace_batches_check",
        "check_at",
        sqlite_where=text("state = 'pushed'"),
        postgresql_where=text("state = 'pushed'"),
    ),
    sqlite_autoincrement=True,
)

attempts = Table(
    "headrace_attempts",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("batch_id", ForeignKey("headrace_batches.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("number", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error", Text, nullable=False, server_default=""),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Index("ix_headrace_attempts_batch_id_number", "batch_id", "number"),
    Index(
        "ix_headrace_attempts_troubles",
        "run_id",
        "ended_at",
        sqlite_where=text("outcome <> 'done'"),
        postgresql_where=text("outcome <> 'done'"),
    ),
)

overrides = Table(
    "headrace_overrides",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("set_at", BigInteger, nullable=False),
    Column("set_by", Text, nullable=False),
)

audit = Table(
    "headrace_audit",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("old", Text),
    Column("new", Text),
    Index("ix_headrace_audit_at", "at"),
    sqlite_autoincrement=True,
)
