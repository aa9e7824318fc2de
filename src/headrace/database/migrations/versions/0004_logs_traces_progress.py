"""lines that attempts logged, trace contexts, when a step last moved"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("headrace_runs", sa.Column("trace", sa.String(length=55)))
    op.add_column("headrace_steps", sa.Column("moved_at", sa.BigInteger()))
    op.create_table(
        "headrace_logs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.Column("left_out", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["headrace_batches.id"], name="fk_headrace_logs_batch_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_headrace_logs"),
    )
    op.create_index("ix_headrace_logs_batch_id_id", "headrace_logs", ["batch_id", "id"])
