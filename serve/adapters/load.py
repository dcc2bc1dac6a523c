"""Brings an engine to what the registry says: every adapter loaded under its immutable name."""

from collections.abc import Sequence

from serve.adapters.registry import Version
from serve.engine.client import EngineClient
from serve.engine.supervisor import EngineStartError


async def bring_up(versions: Sequence[Version], client: EngineClient, *, loads: bool = True) -> None:
    """Load what is missing and verify by the engine's own list; raises EngineStartError.

    A name that the engine lists already is taken as it is: names hold the digest of the weights.
    `loads`: False where another process loads the adapters, and this one only waits for them.
    """
    offered = await client.model_parents()
    wanted = [version for version in versions if version.engine_name is not None]
    for version in wanted if loads else ():
        if version.bundle and version.engine_name and version.engine_name not in offered:
            await client.load_adapter(version.engine_name, str(version.bundle))
    offered = await client.model_parents()
    missing = [version.engine_name for version in wanted if version.engine_name not in offered]
    if missing:
        raise EngineStartError(f"the engine does not list what it was given: {missing}")
