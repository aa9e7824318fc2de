"""The tables of access governance. Times are epoch milliseconds; e-mails and names are text."""

from sqlalchemy import (
    JSON,
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
from sqlalchemy.dialects.postgresql import JSONB

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
# PostgreSQL compares and sorts the binary form alone.
Json = JSON().with_variant(JSONB(), "postgresql")

schema_version = Table("governance_schema", metadata, Column("version", Integer, nullable=False))

users = Table(
    "users",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("last_modified", BigInteger, nullable=False),
    # The id of a user who is gone is nobody else's: links of directories may still name it.
    sqlite_autoincrement=True,
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

groups = Table(
    "groups",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # A temporary group is gone at this time; NULL: it stays.
    Column("expires_at", BigInteger),
    sqlite_autoincrement=True,
)

# One row a reason: a user may be in a group directly and by a directory.
memberships = Table(
    "memberships",
    metadata,
    Column("group_id", ForeignKey(groups.c.id, ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    # direct, ldap or request
    Column("source", String(10), primary_key=True),
    Column("expires_at", BigInteger),
    Index("ix_memberships_user_id", "user_id"),
    sqlite_with_rowid=False,
)

# The directories: another party's tree, which stands in for LDAP servers. governance.directory alone reads it.
directory_entries = Table(
    "directory_entries",
    metadata,
    Column("source", String(40), primary_key=True),
    Column("dn", String(200), primary_key=True),
    Column("uuid", String(36), nullable=False),
    # user or group
    Column("kind", String(10), nullable=False),
    Column("attributes", Json, nullable=False),
    UniqueConstraint("source", "uuid"),
)

directory_members = Table(
    "directory_members",
    metadata,
    Column("source", String(40), primary_key=True),
    Column("dn", String(200), primary_key=True),
    Column("member", String(200), primary_key=True),
    sqlite_with_rowid=False,
)

# Which of our users and groups a directory's entry is. The uuid stays when an entry is renamed or moved.
ldap_links = Table(
    "ldap_links",
    metadata,
    Column("source", String(40), primary_key=True),
    Column("uuid", String(36), primary_key=True),
    Column("dn", String(200), nullable=False),
    # user or group, and the id in its table
    Column("kind", String(10), nullable=False),
    Column("object_id", BigInteger, nullable=False),
    # The last run that found the entry in the directory.
    Column("seen_by", String(32), nullable=False),
    Index("ix_ldap_links_source_dn", "source", "dn"),
    Index("ix_ldap_links_kind_object_id", "kind", "object_id"),
    sqlite_with_rowid=False,
)

user_tokens = Table(
    "user_tokens",
    metadata,
    # SHA-256 of the token, in hex: who reads the table cannot sign in.
    Column("digest", String(64), primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("name", Text, nullable=False),
    # NULL: the creator is gone.
    Column("creator_id", ForeignKey(users.c.id, ondelete="SET NULL")),
    # Where its files are; NULL until the storage is there.
    Column("bucket", Text),
    # creating or active
    Column("state", String(10), nullable=False),
    Column("last_modified", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

workspace_members = Table(
    "workspace_members",
    metadata,
    Column("workspace_id", ForeignKey(workspaces.c.id, ondelete="CASCADE"), primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("role", String(10), nullable=False),
    sqlite_with_rowid=False,
)

workspace_operations = Table(
    "workspace_operations",
    metadata,
    Column("id", String(32), primary_key=True),
    # E-mail of who asked for it, and alone may see it.
    Column("owner", Text, nullable=False),
    # JSON, as it was asked for.
    Column("request", Json, nullable=False),
    # QUEUED, PROCESSING, SUCCESS or ERROR
    Column("state", String(10), nullable=False),
    # Unique: however often the work is begun, it makes one workspace.
    Column("workspace_id", ForeignKey(workspaces.c.id), unique=True),
    Column("error", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
)

# The storage vendor: another party's table. A key that it has seen makes no second bucket.
storage_buckets = Table(
    "storage_buckets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("idempotency_key", Text, nullable=False, unique=True),
)

# What of an entity was exported last, and when.
rdr_export = Table(
    "rdr_export",
    metadata,
    # user or workspace
    Column("entity_type", String(10), primary_key=True),
    Column("entity_id", BigInteger, primary_key=True, autoincrement=False),
    Column("last_modified", BigInteger, nullable=False),
    Column("last_export", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def _sink(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("body", Json, nullable=False),
        Column("last_modified", BigInteger, nullable=False),
        # How often it was sent.
        Column("received", Integer, nullable=False),
    )


# The research data repository: another party's tables.
rdr_sink_users = _sink("rdr_sink_users")
rdr_sink_workspaces = _sink("rdr_sink_workspaces")

access_requests = Table(
    "access_requests",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("hours", Integer, nullable=False),
    # pending, approved, revoked or expired
    Column("state", String(10), nullable=False),
    Column("decided_by", Text),
    Column("group_id", BigInteger),
    Column("expires_at", BigInteger),
    # The run that ends it.
    Column("expiry_run", String(32)),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
