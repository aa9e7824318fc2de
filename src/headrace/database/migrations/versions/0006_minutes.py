"""what ended in each minute"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    counts = ("done", "dead", "attempts", "failed", "items", "busy")
    op.create_table(
        "headrace_minutes",
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.PrimaryKeyConstraint("minute", "handler", name="pk_headrace_minutes"),
    )
