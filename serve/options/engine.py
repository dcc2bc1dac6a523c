"""Where replies are generated."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, SecretStr, model_validator

from serve.options.table import AbsolutePath, Table


class EngineKind(StrEnum):
    """Which server speaks OpenAI's API there."""

    VLLM = "vllm"
    VLLM_0_10 = "vllm-0.10"
    SGLANG = "sglang"
    TRANSFORMERS = "transformers"


class EmbeddedSettings(Table):
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


class RemoteSettings(Table):
    """A vLLM that somebody else runs. It must see the bundles under the same absolute paths."""

    url: str = Field(pattern=r"^https?://[^/?#@]+/?$")
    """Root of the server, without /v1."""
    model: str | None = None
    """The base model's name there; None: the first model it lists that has no parent."""
    tower_lora: bool = False
    """Whether it was started with --enable-tower-connector-lora; else bundles that need that are refused."""
    api_key: SecretStr | None = None
    poll_interval_s: PositiveFloat = 2


class DnsSettings(Table):
    """Replicas behind one name: every address it resolves to is one."""

    host: str
    port: int = Field(8000, ge=1, le=65535)


class KubernetesSettings(Table):
    """Replicas of a Service, read from its EndpointSlices with the pod's own token."""

    service: str
    namespace: str | None = None
    """None: the pod's own."""
    port: str | int
    """Name or number of the Service's port."""


class PoolSettings(Table):
    """Replicas of one model, all alike, that somebody else runs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    kind: EngineKind = EngineKind.VLLM
    urls: tuple[Annotated[str, Field(pattern=r"^https?://[^/?#@]+/?$")], ...] = ()
    """Roots of the servers, without /v1."""
    dns: DnsSettings | None = None
    kubernetes: KubernetesSettings | None = None
    model: str | None = None
    """The base model's name there; None: the first that it lists without a parent."""
    reasoning_parser: bool = False
    """It takes reasoning and answer apart by itself, and a response format holds for the answer alone."""
    tower_lora: bool = False
    """Whether it was started with --enable-tower-connector-lora; else bundles that need that are refused."""
    key_variable: str | None = None
    """Environment variable that holds its key."""
    poll_interval_s: PositiveFloat = 2
    tries: PositiveInt = 3
    """How often replicas are asked, one after the other, before a request fails that had no reply yet."""

    @model_validator(mode="after")
    def _found_in_one_way(self) -> Self:
        if sum(map(bool, (self.urls, self.dns, self.kubernetes))) != 1:
            raise ValueError(f"pool {self.name}: give exactly one of urls, dns and kubernetes")
        return self


class EngineSettings(Table):
    """Where replies are generated: exactly one of the three."""

    embedded: EmbeddedSettings | None = None
    remote: RemoteSettings | None = None
    pools: tuple[PoolSettings, ...] = ()
    connect_timeout_s: PositiveFloat = 5
    read_timeout_s: PositiveFloat = 300
    """Longest silence of the engine within one reply."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(map(bool, (self.embedded, self.remote, self.pools))) != 1:
            raise ValueError("give exactly one of engine.embedded, engine.remote and engine.pools")
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise ValueError("two pools have the same name")
        return self
