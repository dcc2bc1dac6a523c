"""What answering works with: built once in `serve.app`, found in every request's state, never global."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from starlette.types import Scope

from policies.catalog import Catalog
from serve.adapters.registry import Registry
from serve.api.errors import ErrorAnswers
from serve.api.inputs import InputGuards
from serve.api.records import Records
from serve.door.admission import Place
from serve.door.caller import Caller
from serve.door.messages import Admitted
from serve.engine.call import Engines
from serve.gate.values import Panel
from serve.ledger.interaction import Ledger
from serve.options.door import LimitSettings
from serve.options.gate import GateSettings


class Turns(Protocol):
    """`door.admission.Admission`."""

    def admitted(self, caller: Caller, tokens: int = 0) -> AbstractAsyncContextManager[Place]:
        """A place among the requests that are answered."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running gateway that a reply goes through."""

    registry: Registry
    catalog: Catalog
    turns: Turns
    admit: Callable[[Sequence[Any]], Awaitable[Admitted]]
    """Messages checked, pictures fetched and drawn anew; raises InvalidRequest, InvalidImage."""
    engines: Engines
    panel: Panel
    inputs: InputGuards
    ledger: Ledger
    records: Records
    errors: ErrorAnswers
    gate: GateSettings
    limits: LimitSettings
    guards_wait: bool
    """Some guard has to be waited for, so that it is worth its while to begin before the reply is whole."""
    parsing_pools: frozenset[str | None]
    """Pools whose engine has a reasoning parser, by name; None: the pool of versions that name none."""
    deadline: asyncio.Future[Any] | None = None
    """Done when a gateway that is being stopped can wait no longer."""


def parts_of(scope: Scope) -> Parts:
    """Those of the gateway that this request came to."""
    return cast(Parts, scope["state"]["parts"])
