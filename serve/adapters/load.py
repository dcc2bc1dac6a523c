"""Brings an engine to what the registry says: every adapter loaded under its immutable name."""

from serve.adapters.registry import Registry
from serve.engine.client import EngineClient
from serve.engine.supervisor import EngineStartError


async def load_adapters(registry: Registry, client: EngineClient) -> None:
    """Load what is missing and verify by the engine's own list; raises EngineStartError.

    A name that the engine lists already is taken as it is: names hold the digest of the weights.
    """
    offered = await client.model_parents()
    for version in registry.adapters:
        if version.engine_name and version.engine_name not in offered:
            await client.load_adapter(version.engine_name, str(version.bundle))
    offered = await client.model_parents()
    missing = [v.engine_name for v in registry.adapters if v.engine_name not in offered]
    if missing:
        raise EngineStartError(f"the engine does not list what it was given: {missing}")
