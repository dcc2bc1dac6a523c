"""The keys in force: those of the environment, and beside them those of a table, read again and again.

Knows neither HTTP nor SQL. A key is only ever seen here as its SHA-256 digest. It has 256 random bits (or
is the operator's, of 16 characters at least), so a plain digest cannot be searched, and looking one up
in a dictionary tells nothing by its time: nobody can choose the digest of a guess.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from serve.door.caller import Allowance, Caller, Scope
from serve.gate.values import Mode

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key of the table: everything but the key itself."""

    digest: bytes
    """`digest_of` the key."""
    name: str
    scopes: frozenset[Scope] = frozenset(Scope)
    models: frozenset[str] | None = None
    """Aliases; None: every one."""
    allowance: Allowance = field(default_factory=Allowance)
    mode: Mode | None = None
    """None: the gateway's."""
    expires_at: float | None = None
    """Unix time."""
    revoked: bool = False

    @property
    def caller(self) -> Caller:
        """Who holds it."""
        return Caller(
            key_id_of(self.digest),
            self.name,
            self.scopes,
            self.models,
            self.allowance,
            self.mode,
            self.expires_at,
        )


class KeyStoreAway(Exception):
    """The table cannot be read now; it may be later."""


class KeyStore(Protocol):
    """Where keys are kept beside the environment."""

    async def all(self) -> Sequence[StoredKey]:
        """Every key ever added, revoked ones too: a gateway whose last key was revoked must not stand open.

        Raises KeyStoreAway.
        """


class KeyRing:
    """Who holds which key. Without a single one, in the environment or the table, everybody on this machine
    may come in."""

    def __init__(
        self, environment: Sequence[bytes] = (), *, has_store: bool = False, may_be_open: bool = True
    ) -> None:
        """`environment`: digests; `has_store`: a table is to be read, and until it was, nothing is open;
        `may_be_open`: False where others than this machine can call, so that a lost table lets nobody in."""
        self._environment = {digest: StoredKey(digest, "environment").caller for digest in environment}
        self._callers = dict(self._environment)
        self._store_is_empty = not has_store
        self._may_be_open = may_be_open
        self.is_complete = not has_store
        """Whether the table was read at least once, so that a key that is not known is no key."""

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return self._may_be_open and self._store_is_empty and not self._environment

    def find(self, digest: bytes) -> Caller | None:
        """Who holds the key of that digest, expired or not."""
        return self._callers.get(digest)

    async def refresh(self, store: KeyStore) -> None:
        """Take over what the table says now. Raises KeyStoreAway, and keeps what it last said."""
        stored = await store.all()
        held = {key.digest: key.caller for key in stored if not key.revoked}
        # Those of the environment win: the operator's own way in.
        self._callers = held | self._environment
        self._store_is_empty = not stored
        self.is_complete = True

    async def keep_fresh(self, store: KeyStore, every_s: float = 5.0) -> None:
        """Refresh for good; a table that is away is told of once, and again when it is back."""
        is_away = False
        while True:
            try:
                await self.refresh(store)
            except KeyStoreAway as error:
                if not is_away:
                    _log.warning("keys_not_refreshed", extra={"fields": {"error": str(error)}})
                is_away = True
            except Exception as error:  # noqa: BLE001 - whatever it is, keys must be revocable ever after
                if not is_away:
                    fields = {"error": type(error).__name__}
                    _log.error("keys_not_refreshed", extra={"fields": fields}, exc_info=error)
                is_away = True
            else:
                if is_away:
                    _log.info("keys_refreshed")
                is_away = False
            await asyncio.sleep(every_s)


def new_key() -> str:
    """A fresh key, to be shown once: `gr-` and 256 random bits."""
    return "gr-" + secrets.token_urlsafe(32)


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).digest()


def key_id_of(digest: bytes) -> str:
    """How logs, audit and the command line name a key."""
    return "k_" + digest.hex()[:8]
