"""The one engine of `engine.remote`."""

from collections.abc import Collection

from serve.engine.client import EngineClient
from serve.engine.replica import Replica
from serve.engine.watch import Watch
from serve.options.engine import RemoteSettings


class RemoteEngine(Watch):
    """One running engine that the gateway connects to."""

    def __init__(
        self, settings: RemoteSettings, replica: Replica, client: EngineClient, expected: Collection[str]
    ) -> None:
        replica.url = settings.url.rstrip("/")
        super().__init__(
            replica,
            client,
            expected=expected,
            model=settings.model,
            poll_interval_s=settings.poll_interval_s,
        )
