"""The tables of access governance. Times are epoch milliseconds; e-mails and names are text."""

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
    UniqueConstraint,
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

# SQLite gives numbers by itself only where the key's type is called INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")

schema_version = Table("governance_schema", metadata, Column("version", Integer, nullable=False))

users = Table(
    "users",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("last_modified", BigInteger, nullable=False),
)

access_modules = Table(
    "access_modules",
    metadata,
    Column("name", String(40), primary_key=True),
    # How long a completion counts; NULL: for ever.
    Column("expires_after_days", Integer),
)

user_modules = Table(
    "user_modules",
    metadata,
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("module", ForeignKey(access_modules.c.name), primary_key=True),
    Column("completed_at", BigInteger),
    Column("bypassed_at", BigInteger),
    Column("expires_at", BigInteger),
    sqlite_with_rowid=False,
)

access_tiers = Table("access_tiers", metadata, Column("name", String(40), primary_key=True))

tier_requirements = Table(
    "tier_requirements",
    metadata,
    Column("tier", ForeignKey(access_tiers.c.name), primary_key=True),
    Column("module", ForeignKey(access_modules.c.name), primary_key=True),
)

# A row is the access: to take a tier is to delete its row.
user_tiers = Table(
    "user_tiers",
    metadata,
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("tier", ForeignKey(access_tiers.c.name), primary_key=True),
    Column("since", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Where projects may stand; a project with any other parent, or none, is outside.
allowed_parents = Table(
    "allowed_parents",
    metadata,
    Column("parent_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", Text, nullable=False),
    Column("parent_id", BigInteger),
)

project_grants = Table(
    "project_grants",
    metadata,
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), primary_key=True),
    Column("role", String(20), primary_key=True),
    sqlite_with_rowid=False,
)

# One row a user and project for good: closed when repaired, opened again when it comes back.
audit_findings = Table(
    "audit_findings",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    UniqueConstraint("user_id", "project_id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(40), nullable=False),
    Column("object", Text, nullable=False),
    Column("old", Text),
    Column("new", Text),
    sqlite_autoincrement=True,
)

user_messages = Table(
    "user_messages",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("message_key", Text, nullable=False, unique=True),
    Column("state", String(16), nullable=False, server_default="pending"),
    Column("recipient", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(
        "ix_user_messages_pending",
        "id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    sqlite_autoincrement=True,
)
