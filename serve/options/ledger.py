"""The audit: where rows go, and for how long."""

from typing import Literal

from pydantic import Field, PositiveInt, SecretStr

from serve.options.table import Table


class LedgerSettings(Table):
    """One row per request."""

    enabled: bool = True
    url: SecretStr | None = None
    """SQLAlchemy's, from the environment only; None: SQLite in state_dir."""
    content: bool = False
    """Also keep what was asked and answered."""
    content_days: PositiveInt = 30
    keep_days: PositiveInt | None = None
    """None: rows are kept for good."""
    most_spooled_mib: int = Field(default=1024, ge=1)
    """Rows waiting on disk for a database that is away."""
    on_full: Literal["refuse", "drop"] = "refuse"
    """Beyond that: refuse requests, or answer them and count the rows that are lost."""
