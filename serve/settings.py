"""Every setting of the gateway: `gateway.toml`, then `GROUNDRULE_*` environment variables (nested: `__`).

An unknown key in either place stops the start-up and is named. Secrets come from the environment only.
"""

import hashlib
import ipaddress
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

ENV_PREFIX = "GROUNDRULE_"
DEFAULT_CONFIG = Path("gateway.toml")
_SECRETS = (("api_keys",), ("engine", "remote", "api_key"))
_SHORTEST_KEY = 16


class SettingsError(Exception):
    """The gateway must not start; each line says what to change."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _resolved(value: object) -> object:
    return Path(value).expanduser().resolve() if isinstance(value, str | Path) else value


# The engine runs in another directory, so no path may stay relative.
AbsolutePath = Annotated[Path, BeforeValidator(_resolved)]


class EmbeddedSettings(_Table):
    """A vLLM that the gateway starts, watches and stops."""

    model: str
    """Directory of the base model, or its id on a model hub."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where an NVIDIA driver is loaded, else cpu."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """None: float32 on cpu (twice as fast as bfloat16 there), auto on cuda."""
    max_model_len: PositiveInt = 4096
    """Tokens of prompt and reply together."""
    kv_cache_gib: PositiveInt = 2
    """Key-value cache on cpu, GiB; on cuda the engine takes its share of the device."""
    threads: str | None = None
    """VLLM_CPU_OMP_THREADS_BIND, such as 0-3; None: all cores this process may use."""
    max_lora_rank: Annotated[Literal[8, 16, 32, 64, 128, 256], BeforeValidator(int)] = 16
    max_loras: PositiveInt = 2
    """Adapters that may answer within one batch."""
    max_cpu_loras: PositiveInt = 4
    """Adapters held in memory."""
    tower_lora: bool = False
    """Also load what an adapter has for the vision tower (--enable-tower-connector-lora: experimental).
    Without it such a bundle is refused: vLLM would load it and ignore that part."""
    enforce_eager: bool | None = None
    """None: eager on cpu (compiling costs start-up time and gains little there), compiled on cuda."""
    extra_args: tuple[str, ...] = ()
    """Passed on to vLLM's command line."""
    log: AbsolutePath | None = None
    """The engine's output; None: engine.log in a new private temporary directory."""
    start_timeout_s: PositiveFloat = 900
    stop_timeout_s: PositiveFloat = 15

    @property
    def local_model(self) -> Path | None:
        """The model's directory, or None when it is the id of a model on a hub."""
        path = Path(self.model).expanduser()
        return path.resolve() if path.is_dir() else None


class RemoteSettings(_Table):
    """A vLLM that somebody else runs. It must see the bundles under the same absolute paths."""

    url: str = Field(pattern=r"^https?://[^/?#@]+/?$")
    """Root of the server, without /v1."""
    model: str | None = None
    """The base model's name there; None: the first model it lists that has no parent."""
    tower_lora: bool = False
    """Whether it was started with --enable-tower-connector-lora; else bundles that need that are refused."""
    api_key: SecretStr | None = None
    poll_interval_s: PositiveFloat = 2


class EngineSettings(_Table):
    """Where replies are generated: exactly one of the two."""

    embedded: EmbeddedSettings | None = None
    remote: RemoteSettings | None = None
    connect_timeout_s: PositiveFloat = 5
    read_timeout_s: PositiveFloat = 300
    """Longest silence of the engine within one reply."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.embedded is None) == (self.remote is None):
            raise ValueError("give exactly one of engine.embedded and engine.remote")
        return self


class PolicyChangeSettings(_Table):
    """An operator's word on a bundle that was trained on other policies than those served."""

    trained_digest: str = Field(pattern=r"^[0-9a-f]{12,64}$")
    """The beginning of the digest of the policies it was trained on: the word holds for no other bundle's."""
    served_digest: str = Field(pattern=r"^[0-9a-f]{12,64}$")
    """The beginning of the digest of the policies served: the word holds for no others."""
    changed_meaning: tuple[str, ...]
    """Clauses that mean something else than the model learned; citations of them count as invalid."""


class AdapterSettings(_Table):
    """One bundle and the names that callers use for it."""

    bundle: AbsolutePath
    aliases: tuple[str, ...] = ()
    """Beside the name in the bundle's manifest."""
    policy_change: PolicyChangeSettings | None = None
    """None: the bundle was trained on the policies served, else it is refused."""


class LimitSettings(_Table):
    """What one request may cost before it is admitted."""

    body_bytes: PositiveInt = 20 * 1024 * 1024
    images_per_request: PositiveInt = 1
    image_bytes: PositiveInt = 10 * 1024 * 1024
    image_pixels: PositiveInt = 12_500_000
    """A phone's 12 megapixels (4032 x 3024) pass."""
    choices: PositiveInt = 8
    """Largest `n`."""
    in_flight: PositiveInt = 64
    """Requests answered at the same time; one more gets 503 and Retry-After."""


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
    port: int = Field(8000, ge=0, le=65535)
    """0: any free port, named in the log."""
    api_keys: SecretStr | None = None
    """Comma-separated bearer keys, from the environment only; None: no key is asked for."""
    engine: EngineSettings
    adapters: tuple[AdapterSettings, ...] = ()
    policies: AbsolutePath | None = None
    """Directory of your own policy documents, over the packaged ones; None: the packaged ones alone."""
    base_alias: str = "base"
    """The base model without any adapter, so that aligned and unaligned can be compared."""
    default_alias: str = "groundrule"
    """Points to the first bundle; also what a request without `model` gets."""
    reasoning_format: str = "think"
    """How the base model marks its reasoning (policies.formats); a bundle names its own."""
    limits: LimitSettings = LimitSettings()
    drain_timeout_s: PositiveInt = 30
    """After SIGTERM, how long replies under way may take to finish."""

    @model_validator(mode="after")
    def _not_open_without_keys(self) -> Self:
        weak = [key for key in self._split_keys() if len(key) < _SHORTEST_KEY]
        if weak or (self.api_keys is not None and not self._split_keys()):
            raise ValueError(f"api_keys: every key needs at least {_SHORTEST_KEY} characters")
        if not self.api_keys and not _is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is open to the network: set {ENV_PREFIX}API_KEYS, or bind 127.0.0.1"
            )
        return self

    def _split_keys(self) -> list[str]:
        secret = self.api_keys.get_secret_value() if self.api_keys else ""
        return [key.strip() for key in secret.split(",") if key.strip()]

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
