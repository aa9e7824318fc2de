"""what a run is about; tasks that ended with a warning, or cancelled"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_INDEXES = (
    ("ix_headrace_runs_object", "headrace_runs", ["object", "created_at"], "object IS NOT NULL"),
    ("ix_headrace_batches_warned", "headrace_batches", ["id"], "state = 'done' AND error <> ''"),
    ("ix_headrace_batches_cancelled", "headrace_batches", ["id"], "state = 'cancelled'"),
)


def upgrade() -> None:
    op.add_column("headrace_runs", sa.Column("object", sa.Text()))
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
