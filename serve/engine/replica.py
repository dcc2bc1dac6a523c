"""One engine as the gateway sees it now. Its supervisor writes here; everybody else only reads."""

from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "loading adapters", "ready", "down", "stopped"]


@dataclass(slots=True)
class Replica:
    """Where an engine listens, and whether requests may go there."""

    url: str = ""
    base_model: str = ""
    """What the engine calls the base model."""
    state: State = "starting"
    reason: str = "the engine is starting"
    """What the gateway waits for, for /readyz and for callers. Holds no host names."""

    @property
    def is_ready(self) -> bool:
        """Healthy, and every adapter is loaded."""
        return self.state == "ready"

    def become(self, state: State, reason: str = "") -> None:
        """Change state and reason together."""
        self.state, self.reason = state, reason
