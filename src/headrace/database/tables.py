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
    # Whose end a queued run waits for: the overlap key without the number of its place.
    Column("overlap_scope", Text),
    # The function of the job has returned, with no step that waits.
    Column("sealed", Boolean, nullable=False, server_default=text("false")),
    # The splitter's lease.
    Column("lease_until", BigInteger),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    # Splitters in a row that a database or a network let down.
    Column("failures", Integer, nullable=False, server_default="0"),
    # The batch whose handler pushed this run.
    Column("parent_run_id", String(32)),
    Column("parent_batch", BigInteger),
    # Who may see it in the operations API.
    Column("owner", Text),
    # What it is about, such as user/7.
    Column("object", Text),
    # The schedule that started it, and the time it was due.
    Column("schedule", Text),
    Column("scheduled_at", BigInteger),
    # W3C trace context, as the header traceparent has it: each of its pushes carries it on.
    Column("trace", String(55)),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index("ix_headrace_runs_job_created_at", "job", "created_at"),
    Index("ix_headrace_runs_created_at", "created_at"),
    Index("ix_headrace_runs_state_created_at", "state", "created_at"),
    Index("ix_headrace_runs_ended_at", "ended_at"),
    Index(
        "ix_headrace_runs_splitting",
        "lease_until",
        sqlite_where=text("state = 'splitting'"),
        postgresql_where=text("state = 'splitting'"),
    ),
    Index(
        "ix_headrace_runs_queued",
        "overlap_scope",
        "created_at",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_headrace_runs_parent",
        "parent_run_id",
        sqlite_where=text("parent_run_id IS NOT NULL"),
        postgresql_where=text("parent_run_id IS NOT NULL"),
    ),
    Index(
        "ix_headrace_runs_object",
        "object",
        "created_at",
        sqlite_where=text("object IS NOT NULL"),
        postgresql_where=text("object IS NOT NULL"),
    ),
)

steps = Table(
    "headrace_steps",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("run_id", ForeignKey("headrace_runs.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("handler", Text, nullable=False),
    # JSON: the numbers of the steps whose end this one waits for.
    Column("after", Text, nullable=False, server_default="[]"),
    Column("even_if_failed", Boolean, nullable=False, server_default=text("false")),
    # Why it was left out.
    Column("reason", Text, nullable=False, server_default=""),
    Column("cursor", Text),
    Column("sealed", Boolean, nullable=False, server_default=text("false")),
    Column("item_count", BigInteger, nullable=False, server_default="0"),
    Column("batches", BigInteger, nullable=False, server_default="0"),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("dead", BigInteger, nullable=False, server_default="0"),
    Column("cancelled", BigInteger, nullable=False, server_default="0"),
    Column("items_done", BigInteger, nullable=False, server_default="0"),
    Column("items_failed", BigInteger, nullable=False, server_default="0"),
    Column("attempts", BigInteger, nullable=False, server_default="0"),
    # When an attempt of it last ended.
    Column("moved_at", BigInteger),
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
    # Not to be pushed for a time before this.
    Column("due_at", BigInteger),
    # Batches with one key run one at a time, in the order of their ids.
    Column("order_key", Text),
    # The queue, where it has a cap of what may be outstanding.
    Column("queue", Text),
    # Attempts that failed, and that died, since the batch was written or retried by a person.
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    # One letter an item: ItemState. NULL while all are left.
    Column("outcomes", Text),
    # JSON: what the handler keeps for its next attempt, and what it returned.
    Column("saved", Text),
    Column("result", Text),
    # Why it is dead, or waits.
    Column("cause", String(16), nullable=False, server_default=""),
    Column("error", Text, nullable=False, server_default=""),
    Column("ended_at", BigInteger),
    Index("ix_headrace_batches_step_id_number", "step_id", "number", unique=True),
    Index(
        "ix_headrace_batches_pending",
        "id",
        sqlite_where=text("state = 'pending' AND due_at IS NULL"),
        postgresql_where=text("state = 'pending' AND due_at IS NULL"),
    ),
    Index(
        "ix_headrace_batches_pending_of_run",
        "run_id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_headrace_batches_due",
        "due_at",
        sqlite_where=text("state = 'pending' AND due_at IS NOT NULL"),
        postgresql_where=text("state = 'pending' AND due_at IS NOT NULL"),
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
    Index(
        "ix_headrace_batches_order",
        "order_key",
        "id",
        sqlite_where=text("order_key IS NOT NULL AND ended_at IS NULL"),
        postgresql_where=text("order_key IS NOT NULL AND ended_at IS NULL"),
    ),
    Index(
        "ix_headrace_batches_queue",
        "queue",
        "state",
        "id",
        sqlite_where=text("queue IS NOT NULL AND ended_at IS NULL"),
        postgresql_where=text("queue IS NOT NULL AND ended_at IS NULL"),
    ),
    Index(
        "ix_headrace_batches_dead",
        "id",
        sqlite_where=text("state = 'dead'"),
        postgresql_where=text("state = 'dead'"),
    ),
    Index(
        "ix_headrace_batches_died",
        "ended_at",
        sqlite_where=text("state = 'dead'"),
        postgresql_where=text("state = 'dead'"),
    ),
    # What a page of tasks finds in one state, the newest first; rows come here only by ending so.
    Index(
        "ix_headrace_batches_warned",
        "id",
        sqlite_where=text("state = 'done' AND error <> ''"),
        postgresql_where=text("state = 'done' AND error <> ''"),
    ),
    Index(
        "ix_headrace_batches_cancelled",
        "id",
        sqlite_where=text("state = 'cancelled'"),
        postgresql_where=text("state = 'cancelled'"),
    ),
    Index(
        "ix_headrace_batches_undecided",
        "id",
        sqlite_where=text("state = 'undecided'"),
        postgresql_where=text("state = 'undecided'"),
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
    Column("trace", Text, nullable=False, server_default=""),
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
    # The latest that ended badly, of all runs.
    Index(
        "ix_headrace_attempts_failures",
        "ended_at",
        sqlite_where=text("outcome IN ('failed', 'permanent', 'timed_out', 'lost')"),
        postgresql_where=text("outcome IN ('failed', 'permanent', 'timed_out', 'lost')"),
    ),
)

# What the handler logged in an attempt, written when the attempt ends. Most log nothing, and have no row.
logs = Table(
    "headrace_logs",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("batch_id", ForeignKey("headrace_batches.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    # The attempt's begin: what tells two executions with one number apart.
    Column("started_at", BigInteger, nullable=False),
    # JSON: [[epoch milliseconds, level, text], …].
    Column("lines", Text, nullable=False),
    # Lines before these that were too many to keep.
    Column("left_out", Integer, nullable=False, server_default="0"),
    Index("ix_headrace_logs_batch_id_id", "batch_id", "id"),
)

# Items in trouble alone: those that failed, and those that are tried again.
items = Table(
    "headrace_items",
    metadata,
    Column("batch_id", ForeignKey("headrace_batches.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("run_id", String(32), nullable=False),
    Column("value", Text, nullable=False),
    Column("state", String(1), nullable=False),
    Column("error", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("ix_headrace_items_run_id_at", "run_id", "at"),
)

effects = Table(
    "headrace_effects",
    metadata,
    Column("batch_id", ForeignKey("headrace_batches.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("run_id", String(32), nullable=False),
    Column("state", String(8), nullable=False),
    Column("repeatable", Boolean, nullable=False),
    Column("result", Text),
    Column("error", Text, nullable=False, server_default=""),
    Column("begun_at", BigInteger, nullable=False),
    Column("done_at", BigInteger),
)

# Keys of pushes: a second push of one is refused until it expires, whether or not the run is still kept.
keys = Table(
    "headrace_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("run_id", String(32), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_headrace_keys_expires_at", "expires_at"),
)

# What the service keeps beside cron.yaml: one row an entry, by its URL. NULL is what the file or the contract says.
schedules = Table(
    "headrace_schedules",
    metadata,
    Column("url", Text, primary_key=True),
    Column("schedule", Text),
    Column("timezone", Text),
    Column("missed", String(8)),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    # The next time, and what it was found by: another schedule in the file begins anew.
    Column("next_at", BigInteger, nullable=False),
    Column("timing", Text, nullable=False),
    Column("last_at", BigInteger),
    Column("last_run_id", String(32)),
    Column("late_since", BigInteger),
    Column("created_at", BigInteger, nullable=False),
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
    # Each filter of the audit's list reads an index in the order of the list.
    Index("ix_headrace_audit_actor", "actor", "id"),
    Index("ix_headrace_audit_action", "action", "id"),
    Index("ix_headrace_audit_actor_action", "actor", "action", "id"),
    Index("ix_headrace_audit_object", "object", "id"),
    sqlite_autoincrement=True,
)

# Tokens of operators, each known by its hash alone.
tokens = Table(
    "headrace_tokens",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    # Words with a blank between.
    Column("permissions", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index(
        "ix_headrace_tokens_live",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

# One row a rule and what it is about, used again each time the rule holds.
alerts = Table(
    "headrace_alerts",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("rule", String(16), nullable=False),
    Column("object", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("detail", Text, nullable=False),
    Column("fired_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    Column("acknowledged_at", BigInteger),
    Column("acknowledged_by", Text),
    # Whether this firing was notified, and when one last was.
    Column("told", Boolean, nullable=False),
    Column("told_at", BigInteger),
    Index("ix_headrace_alerts_rule_object", "rule", "object", unique=True),
    Index("ix_headrace_alerts_state_fired_at", "state", "fired_at"),
    sqlite_autoincrement=True,
)

# The outbox of alerts: one row a message and route.
notifications = Table(
    "headrace_notifications",
    metadata,
    Column("id", RowId, primary_key=True),
    # What tells its receiver a second sending from another message.
    Column("key", Text, nullable=False, unique=True),
    Column("alert_id", ForeignKey("headrace_alerts.id", ondelete="CASCADE"), nullable=False),
    Column("route", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", BigInteger, nullable=False),
    Column("error", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Index(
        "ix_headrace_notifications_waiting",
        "due_at",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
    Index("ix_headrace_notifications_ended_at", "ended_at"),
)

# When what is done at most once in a while was last done.
marks = Table(
    "headrace_marks",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("at", BigInteger, nullable=False),
)

# What ended in each minute, by handler: for charts and rates.
minutes = Table(
    "headrace_minutes",
    metadata,
    Column("minute", BigInteger, primary_key=True),
    Column("handler", Text, primary_key=True),
    Column("done", BigInteger, nullable=False),
    Column("dead", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("busy", BigInteger, nullable=False),
)
