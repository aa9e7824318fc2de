"""steps that wait, items, effects, keys, schedules"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = {
    "headrace_runs": (
        sa.Column("overlap_scope", sa.Text()),
        sa.Column("sealed", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("parent_run_id", sa.String(length=32)),
        sa.Column("parent_batch", sa.BigInteger()),
        sa.Column("owner", sa.Text()),
        sa.Column("schedule", sa.Text()),
        sa.Column("scheduled_at", sa.BigInteger()),
    ),
    "headrace_steps": (
        sa.Column("after", sa.Text(), server_default="[]", nullable=False),
        sa.Column("even_if_failed", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("items_failed", sa.BigInteger(), server_default="0", nullable=False),
    ),
    "headrace_batches": (
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("order_key", sa.Text()),
        sa.Column("queue", sa.Text()),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("outcomes", sa.Text()),
        sa.Column("saved", sa.Text()),
        sa.Column("result", sa.Text()),
        sa.Column("cause", sa.String(length=16), server_default="", nullable=False),
    ),
    "headrace_attempts": (sa.Column("trace", sa.Text(), server_default="", nullable=False),),
}

_INDEXES = (
    ("ix_headrace_batches_pending", "headrace_batches", ["id"], "state = 'pending' AND due_at IS NULL"),
    ("ix_headrace_batches_pending_of_run", "headrace_batches", ["run_id"], "state = 'pending'"),
    ("ix_headrace_batches_due", "headrace_batches", ["due_at"], "state = 'pending' AND due_at IS NOT NULL"),
    ("ix_headrace_runs_queued", "headrace_runs", ["overlap_scope", "created_at"], "state = 'queued'"),
    ("ix_headrace_runs_parent", "headrace_runs", ["parent_run_id"], "parent_run_id IS NOT NULL"),
    (
        "ix_headrace_batches_order",
        "headrace_batches",
        ["order_key", "id"],
        "order_key IS NOT NULL AND ended_at IS NULL",
    ),
    (
        "ix_headrace_batches_queue",
        "headrace_batches",
        ["queue", "state", "id"],
        "queue IS NOT NULL AND ended_at IS NULL",
    ),
    ("ix_headrace_batches_dead", "headrace_batches", ["id"], "state = 'dead'"),
    ("ix_headrace_batches_undecided", "headrace_batches", ["id"], "state = 'undecided'"),
)


def upgrade() -> None:
    for table, columns in _COLUMNS.items():
        for column in columns:
            op.add_column(table, column)
    # Before, a run that was not being split any more was sealed.
    op.execute("UPDATE headrace_runs SET sealed = true WHERE state <> 'splitting'")
    op.drop_index("ix_headrace_batches_pending", "headrace_batches")
    for name, table, names, where in _INDEXES:
        op.create_index(name, table, names, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_index("ix_headrace_runs_state_created_at", "headrace_runs", ["state", "created_at"])
    op.create_table(
        "headrace_items",
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=1), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["headrace_batches.id"], name="fk_headrace_items_batch_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "position", name="pk_headrace_items"),
    )
    op.create_index("ix_headrace_items_run_id_at", "headrace_items", ["run_id", "at"])
    op.create_table(
        "headrace_effects",
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("repeatable", sa.Boolean(), nullable=False),
        sa.Column("result", sa.Text()),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("begun_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["headrace_batches.id"], name="fk_headrace_effects_batch_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "key", name="pk_headrace_effects"),
    )
    op.create_table(
        "headrace_keys",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_headrace_keys"),
    )
    op.create_index("ix_headrace_keys_expires_at", "headrace_keys", ["expires_at"])
    op.create_table(
        "headrace_schedules",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text()),
        sa.Column("timezone", sa.Text()),
        sa.Column("missed", sa.String(length=8)),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("timing", sa.Text(), nullable=False),
        sa.Column("last_at", sa.BigInteger()),
        sa.Column("last_run_id", sa.String(length=32)),
        sa.Column("late_since", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("url", name="pk_headrace_schedules"),
    )
