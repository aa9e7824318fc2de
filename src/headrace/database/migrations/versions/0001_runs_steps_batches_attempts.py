"""runs, steps, batches, attempts"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "headrace_runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("firing_key", sa.Text(), nullable=True),
        sa.Column("overlap_key", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=("pk_headrace_runs")),
        sa.UniqueConstraint("firing_key", name=("uq_headrace_runs_firing_key")),
        sa.UniqueConstraint("overlap_key", name=("uq_headrace_runs_overlap_key")),
    )
    op.create_index("ix_headrace_runs_job_created_at", "headrace_runs", ["job", "created_at"], unique=False)
    op.create_index("ix_headrace_runs_created_at", "headrace_runs", ["created_at"], unique=False)
    op.create_index("ix_headrace_runs_ended_at", "headrace_runs", ["ended_at"], unique=False)
    op.create_index(
        "ix_headrace_runs_splitting",
        "headrace_runs",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'splitting'"),
        postgresql_where=sa.text("state = 'splitting'"),
    )
    op.create_table(
        "headrace_steps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("sealed", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("item_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("batches", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("dead", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cancelled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("items_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["headrace_runs.id"], name=("fk_headrace_steps_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=("pk_headrace_steps")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_headrace_steps_run_id_number", "headrace_steps", ["run_id", "number"], unique=True)
    op.create_table(
        "headrace_batches",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("step_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("item_count", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("check_at", sa.BigInteger(), nullable=True),
        sa.Column("adopted_from", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["step_id"], ["headrace_steps.id"], name=("fk_headrace_batches_step_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=("pk_headrace_batches")),
        sa.UniqueConstraint("adopted_from", name=("uq_headrace_batches_adopted_from")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_headrace_batches_check",
        "headrace_batches",
        ["check_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pushed'"),
        postgresql_where=sa.text("state = 'pushed'"),
    )
    op.create_index(
        "ix_headrace_batches_lease",
        "headrace_batches",
        ["lease_until"],
        unique=False,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "ix_headrace_batches_pending",
        "headrace_batches",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_headrace_batches_step_id_number", "headrace_batches", ["step_id", "number"], unique=True)
    op.create_table(
        "headrace_attempts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["headrace_batches.id"], name=("fk_headrace_attempts_batch_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=("pk_headrace_attempts")),
    )
    op.create_index("ix_headrace_attempts_batch_id_number", "headrace_attempts", ["batch_id", "number"], unique=False)
    op.create_index(
        "ix_headrace_attempts_troubles",
        "headrace_attempts",
        ["run_id", "ended_at"],
        unique=False,
        sqlite_where=sa.text("outcome <> 'done'"),
        postgresql_where=sa.text("outcome <> 'done'"),
    )
