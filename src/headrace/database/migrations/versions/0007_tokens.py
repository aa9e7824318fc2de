"""tokens of operators, and the filters of the audit"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "headrace_tokens",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_headrace_tokens"),
        sa.UniqueConstraint("hash", name="uq_headrace_tokens_hash"),
        sqlite_autoincrement=True,
    )
    live = sa.text("revoked_at IS NULL")
    op.create_index(
        "ix_headrace_tokens_live",
        "headrace_tokens",
        ["name"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index("ix_headrace_audit_actor", "headrace_audit", ["actor", "id"])
    op.create_index("ix_headrace_audit_action", "headrace_audit", ["action", "id"])
    op.create_index("ix_headrace_audit_actor_action", "headrace_audit", ["actor", "action", "id"])
    op.create_index("ix_headrace_audit_object", "headrace_audit", ["object", "id"])
