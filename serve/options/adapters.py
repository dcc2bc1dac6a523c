"""Which versions there are, and the names that callers use for them."""

from pydantic import Field

from serve.options.table import AbsolutePath, Table


class PolicyChangeSettings(Table):
    """An operator's word on a bundle that was trained on other policies than those served."""

    trained_digest: str = Field(pattern=r"^[0-9a-f]{12,64}$")
    """The beginning of the digest of the policies it was trained on: the word holds for no other bundle's."""
    served_digest: str = Field(pattern=r"^[0-9a-f]{12,64}$")
    """The beginning of the digest of the policies served: the word holds for no others."""
    changed_meaning: tuple[str, ...]
    """Clauses that mean something else than the model learned; citations of them count as invalid."""


class AdapterSettings(Table):
    """One bundle and the names that callers use for it."""

    bundle: AbsolutePath
    aliases: tuple[str, ...] = ()
    """Beside the name in the bundle's manifest."""
    pool: str | None = None
    """Which of engine.pools has it; None: the first that loads adapters."""
    policy_change: PolicyChangeSettings | None = None
    """None: the bundle was trained on the policies served, else it is refused."""


class ModelSettings(Table):
    """A model whose engine loads no adapters: alignment is merged into its weights, or it is as published."""

    alias: str
    pool: str
    model: str | None = None
    """Its name in the engine; None: the pool's model."""
    reasoning_format: str = "think"
    """How it marks its reasoning (policies.formats), such as llava_cot."""
    aligned: bool = True
    """Whether it writes traces: its answers then need one, as an adapter's do."""
