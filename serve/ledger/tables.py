"""The audit's tables, as they are now; how they came to be so is in `migrations`.

Times are unix seconds, as everywhere in the gateway; lists and records are JSON.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

METADATA: Final = MetaData()

INTERACTIONS: Final = Table(
    "interactions",
    METADATA,
    Column("id", String, primary_key=True),
    Column("at", Double, nullable=False),
    Column("request_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("api", String, nullable=False),
    Column("alias", String, nullable=False),
    Column("adapter", String),
    Column("policy_digest", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", Integer, nullable=False),
    Column("outcome", String, nullable=False),
    Column("choices", JSON, nullable=False),
    Column("guards", JSON, nullable=False),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("tokens_counted_by", String),
    Column("first_token_s", Double),
    Column("duration_s", Double, nullable=False),
    Column("queued_s", Double, nullable=False),
    Column("overhead_s", Double, nullable=False),
    Column("request_digest", String, nullable=False),
    Column("picture_digests", JSON, nullable=False),
    Column("reply_digest", String, nullable=False),
    Index("interactions_at", "at"),
    Index("interactions_request_id", "request_id"),
)
"""One row per request: `serve.ledger.interaction.Interaction` without its content."""

CONTENTS: Final = Table(
    "contents",
    METADATA,
    Column("interaction_id", ForeignKey("interactions.id", ondelete="CASCADE"), primary_key=True),
    Column("expires_at", Double, nullable=False),
    Column("messages", JSON, nullable=False),
    Column("replies", JSON, nullable=False),
    Index("contents_expires_at", "expires_at"),
)
"""What was said, apart, so that it can go without taking the audit with it."""

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("models", JSON(none_as_null=True)),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("in_flight", Integer),
    Column("mode", String),
    Column("expires_at", Double),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
    Index("keys_key_id", "key_id", unique=True),
)
"""Keys by SHA-256 in hexadecimal; a revoked one stays, since audit rows name it."""
