"""The first tables: interactions, their contents, keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    _create_interactions()
    op.create_table(
        "contents",
        sa.Column(
            "interaction_id",
            sa.String,
            sa.ForeignKey("interactions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("messages", sa.JSON, nullable=False),
        sa.Column("replies", sa.JSON, nullable=False),
    )
    op.create_index("contents_expires_at", "contents", ["expires_at"])
    op.create_table(
        "keys",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("tokens_per_minute", sa.Integer),
        sa.Column("in_flight", sa.Integer),
        sa.Column("mode", sa.String),
        sa.Column("expires_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("revoked_at", sa.Double),
    )
    op.create_index("keys_key_id", "keys", ["key_id"], unique=True)


def _create_interactions() -> None:
    op.create_table(
        "interactions",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("api", sa.String, nullable=False),
        sa.Column("alias", sa.String, nullable=False),
        sa.Column("adapter", sa.String),
        sa.Column("policy_digest", sa.String, nullable=False),
        sa.Column("mode", sa.String, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("choices", sa.JSON, nullable=False),
        sa.Column("guards", sa.JSON, nullable=False),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("reasoning_tokens", sa.Integer),
        sa.Column("tokens_counted_by", sa.String),
        sa.Column("first_token_s", sa.Double),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("queued_s", sa.Double, nullable=False),
        sa.Column("overhead_s", sa.Double, nullable=False),
        sa.Column("request_digest", sa.String, nullable=False),
        sa.Column("picture_digests", sa.JSON, nullable=False),
        sa.Column("reply_digest", sa.String, nullable=False),
    )
    op.create_index("interactions_at", "interactions", ["at"])
    op.create_index("interactions_request_id", "interactions", ["request_id"])
