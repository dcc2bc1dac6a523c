"""What the routes work with: built once in `serve.app`, handed to every request, never global."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from policies.catalog import Catalog
from serve.adapters.registry import Registry
from serve.api.errors import ErrorAnswers
from serve.engine.client import EngineClient
from serve.engine.replica import Replica
from serve.observe.metrics import Metrics
from serve.settings import LimitSettings


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The parts of a running gateway."""

    registry: Registry
    catalog: Catalog
    replica: Replica
    client: EngineClient
    limits: LimitSettings
    metrics: Metrics
    errors: ErrorAnswers
    base_alias: str
    started: int
    """Unix time."""


def state_of(request: Request) -> GatewayState:
    """The gateway that this request came to."""
    return cast(GatewayState, request.state.gateway)
