"""The tables of the catalogue, and which seed files have been applied."""

from sqlalchemy import Boolean, Column, Computed, ForeignKey, Index, Integer, LargeBinary, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import TSVECTOR

from db.metadata import IDENTITY, INSTANT, VALUES, Lines, mapping, metadata
from domain.catalogue.model import Entry, Role

SEARCH = """
setweight(to_tsvector('english'::regconfig, title || ' '::text || aliases), 'A'::"char")
|| setweight(to_tsvector('english'::regconfig, keywords), 'B'::"char")
|| setweight(to_tsvector('english'::regconfig, duties || ' '::text || description), 'C'::"char")
"""

entries = Table(
    "catalogue_entries",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("icon", Text),
    Column("autonym", Text),
    Column("direction", Text),
    Column("labels", VALUES, nullable=False),
    Column("position", Integer, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("edited", Boolean, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    Column("version", Integer, nullable=False),
    UniqueConstraint("kind", "slug"),
)

roles = Table(
    "roles",
    metadata,
    Column("id", IDENTITY, primary_key=True),
    Column("slug", Text),
    Column("industry", IDENTITY, ForeignKey("catalogue_entries.id"), nullable=False),
    Column("hierarchy_level", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("keywords", Lines, nullable=False),
    Column("duties", Lines, nullable=False),
    Column("aliases", Lines, nullable=False),
    Column("labels", VALUES, nullable=False),
    Column("position", Integer, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("owner", IDENTITY, ForeignKey("accounts.id")),
    Column("status", Text, nullable=False),
    Column("proposed_description", Text),
    Column("proposed_keywords", Lines),
    Column("decided_at", INSTANT),
    Column("reason", Text),
    Column("edited", Boolean, nullable=False),
    Column("created_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    Column("version", Integer, nullable=False),
    Column("search", TSVECTOR, Computed(SEARCH, persisted=True)),
    UniqueConstraint("slug"),
    Index(None, "industry"),
    Index(None, "owner"),
    Index(None, "search", postgresql_using="gin"),
)

seed_files = Table(
    "seed_files",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("applied_at", INSTANT, nullable=False),
    comment="The seed files that were applied last, each with its SHA-256: an older build does not take back what a newer one brought.",
)

mapping.map_imperatively(Entry, entries, version_id_col=entries.c.version)
mapping.map_imperatively(Role, roles, version_id_col=roles.c.version, exclude_properties={"search"})
