"""What the routes beside the replies work with: built once in `serve.app`, found in every request's state."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from serve.adapters.registry import Registry
from serve.drain import Drain
from serve.engine.pool import Pools
from serve.observe.metrics import Metrics
from serve.observe.multiprocess import Exposition


@dataclass(frozen=True, slots=True)
class GatewayState:
    """How the gateway is, and what it offers."""

    registry: Registry
    pools: Pools
    metrics: Metrics
    exposition: Exposition
    drain: Drain
    base_alias: str
    started: int
    """Unix time."""


def state_of(request: Request) -> GatewayState:
    """The gateway that this request came to."""
    return cast(GatewayState, request.state.gateway)
