"""Every setting of the gateway: `gateway.toml`, then `GROUNDRULE_*` environment variables (nested: `__`).

An unknown key in either place stops the start-up and is named. Secrets come from the environment only.
"""

import hashlib
import ipaddress
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import Field, PositiveInt, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from serve.options.adapters import AdapterSettings, ModelSettings
from serve.options.door import ImageSettings, LimitSettings, TlsSettings
from serve.options.engine import EngineSettings
from serve.options.gate import GateSettings, GuardrailSettings, GuardSettings
from serve.options.ledger import LedgerSettings
from serve.options.table import AbsolutePath

ENV_PREFIX = "GROUNDRULE_"
DEFAULT_CONFIG = Path("gateway.toml")
_SECRETS = (("api_keys",), ("engine", "remote", "api_key"), ("ledger", "url"))
_SHORTEST_KEY = 16


class SettingsError(Exception):
    """The gateway must not start; each line says what to change."""


class Settings(BaseSettings):
    """The gateway's configuration."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        # Compose files pass unset variables on as empty ones.
        env_ignore_empty=True,
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    """0: any free port, named in the log."""
    workers: PositiveInt = 1
    """Processes that answer."""
    state_dir: AbsolutePath = Path("groundrule-state")
    """Where the audit's spool lies, and its database where none is named."""
    tls: TlsSettings = TlsSettings()
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may ask; none by default."""
    api_keys: SecretStr | None = None
    """Comma-separated bearer keys, from the environment only, beside those of the keys' table."""
    engine: EngineSettings
    adapters: tuple[AdapterSettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()
    """Further models, of engines that load no adapters."""
    policies: AbsolutePath | None = None
    """Directory of your own policy documents, over the packaged ones; None: the packaged ones alone."""
    base_alias: str = "base"
    """The base model without any adapter, so that aligned and unaligned can be compared."""
    default_alias: str = "groundrule"
    """Points to the first bundle; also what a request without `model` gets."""
    reasoning_format: str = "think"
    """How the base model marks its reasoning (policies.formats); a bundle names its own."""
    gate: GateSettings = GateSettings()
    guards: tuple[GuardSettings, ...] = ()
    guardrail: GuardrailSettings = GuardrailSettings()
    limits: LimitSettings = LimitSettings()
    images: ImageSettings = ImageSettings()
    ledger: LedgerSettings = LedgerSettings()
    drain_timeout_s: PositiveInt = 30
    """After SIGTERM, how long replies under way may take to finish."""
    drain_grace_s: float = Field(default=0, ge=0)
    """After SIGTERM, how long new requests are still taken while /readyz says no."""

    @model_validator(mode="after")
    def _keys_are_long(self) -> Self:
        weak = [key for key in self._split_keys() if len(key) < _SHORTEST_KEY]
        if weak or (self.api_keys is not None and not self._split_keys()):
            raise ValueError(f"api_keys: every key needs at least {_SHORTEST_KEY} characters")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        names = [guard.name for guard in self.guards]
        if len(set(names)) < len(names):
            raise ValueError("guards: two have the same name")
        if self.workers > 1 and self.port == 0:
            raise ValueError("workers: with more than one, name a port")
        if "*" in self.cors_origins:
            raise ValueError("cors_origins: name the origins; * would open the gateway to every web page")
        if self.ledger.content and not self.ledger.enabled:
            raise ValueError("ledger.content: needs ledger.enabled")
        pools = {pool.name for pool in self.engine.pools}
        for asked in (*(a.pool for a in self.adapters if a.pool), *(m.pool for m in self.models)):
            if asked not in pools:
                raise ValueError(f"{asked!r} is none of engine.pools")
        return self

    def _split_keys(self) -> list[str]:
        secret = self.api_keys.get_secret_value() if self.api_keys else ""
        return [key.strip() for key in secret.split(",") if key.strip()]

    @property
    def is_local(self) -> bool:
        """Whether only this machine can call; anybody else needs a key."""
        return _is_loopback(self.host)

    def key_digests(self) -> tuple[bytes, ...]:
        """SHA-256 of every key: what the door compares with, so that keys stay out of memory dumps."""
        return tuple(hashlib.sha256(key.encode()).digest() for key in self._split_keys())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose values `load_settings` passes as arguments."""
        return _UnknownVariables(settings_cls), env_settings, init_settings


class _UnknownVariables(InitSettingsSource):
    """Hands over variables that name no setting, so that `extra="forbid"` names them."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        unknown = {
            key: "…"
            for name in os.environ
            if name.upper().startswith(ENV_PREFIX)
            and (key := name[len(ENV_PREFIX) :].lower()).split("__")[0] not in settings_cls.model_fields
        }
        super().__init__(settings_cls, init_kwargs=dict(unknown))


def load_settings(config: Path | None = None) -> Settings:
    """Read file and environment; raises SettingsError with one line per mistake."""
    if config is None and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    values = _read_toml(config) if config else {}
    try:
        return Settings(**values)  # type: ignore[arg-type]  # validated by pydantic
    except ValidationError as error:
        raise SettingsError("\n".join(_lines(error))) from None


def _read_toml(path: Path) -> dict[str, object]:
    try:
        values: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from error
    for keys in _SECRETS:
        node: object = values
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        if node is not None:
            variable = ENV_PREFIX + "__".join(keys).upper()
            raise SettingsError(f"{path}: {'.'.join(keys)} is a secret: set {variable} instead")
    return values


def _lines(error: ValidationError) -> Iterable[str]:
    for mistake in error.errors(include_input=False, include_url=False):
        where = ".".join(str(part) for part in mistake["loc"])
        what = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            what = "unknown setting"
        yield f"{where}: {what}" if where else what


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
