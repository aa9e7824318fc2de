"""alerts and their notifications"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "headrace_alerts",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("rule", sa.String(length=16), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("fired_at", sa.BigInteger(), nullable=False),
        sa.Column("resolved_at", sa.BigInteger()),
        sa.Column("acknowledged_at", sa.BigInteger()),
        sa.Column("acknowledged_by", sa.Text()),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("told_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_headrace_alerts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_headrace_alerts_rule_object", "headrace_alerts", ["rule", "object"], unique=True)
    op.create_index("ix_headrace_alerts_state_fired_at", "headrace_alerts", ["state", "fired_at"])
    op.create_table(
        "headrace_notifications",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("alert_id", _ROW_ID, nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["headrace_alerts.id"], name="fk_headrace_notifications_alert_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_headrace_notifications"),
        sa.UniqueConstraint("key", name="uq_headrace_notifications_key"),
    )
    _index_some("notifications", "waiting", "due_at", "state = 'waiting'")
    op.create_index("ix_headrace_notifications_ended_at", "headrace_notifications", ["ended_at"])
    op.create_table(
        "headrace_marks",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_headrace_marks"),
    )
    _index_some("attempts", "failures", "ended_at", "outcome IN ('failed', 'permanent', 'timed_out', 'lost')")
    _index_some("batches", "died", "ended_at", "state = 'dead'")


def _index_some(table: str, name: str, column: str, where: str) -> None:
    op.create_index(
        f"ix_headrace_{table}_{name}",
        f"headrace_{table}",
        [column],
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
