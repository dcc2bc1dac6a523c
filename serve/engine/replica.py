"""One engine as the gateway sees it now. Its supervisor writes here; everybody else only reads."""

from dataclasses import dataclass, field
from typing import Literal

from serve.engine.breaker import Breaker

State = Literal["starting", "loading adapters", "ready", "down", "stopped"]


@dataclass(slots=True, eq=False)
class Replica:
    """Where an engine listens, and whether requests may go there."""

    url: str = ""
    base_model: str = ""
    """What the engine calls the base model."""
    state: State = "starting"
    reason: str = "the engine is starting"
    """What the gateway waits for, for /readyz and for callers. Holds no host names."""
    in_flight: int = 0
    """Requests of this process that it is answering."""
    breaker: Breaker = field(default_factory=Breaker)

    @property
    def is_ready(self) -> bool:
        """Healthy, every adapter is loaded, and it did not just fail again and again."""
        return self.state == "ready" and self.breaker.may_ask

    def become(self, state: State, reason: str = "") -> None:
        """Change state and reason together."""
        if state == "ready" and self.state != "ready":
            self.breaker.succeeded()  # what failed before it was down says nothing of it now
        self.state, self.reason = state, reason
