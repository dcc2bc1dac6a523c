"""The door's parts in their order: what is cheaper to refuse is refused first.

Key (401, 403), announced size and coding (413, 415), rate (429); then, while the application reads it, the
body (408, 413, 415, 503). What needs the request's content comes behind: `serve.door.admission` (429, 503)
and `serve.door.messages`.
"""

from starlette.types import ASGIApp

from serve.door.auth import RequireKey
from serve.door.body import BodyBudget, BodyCap
from serve.door.keys import KeyRing
from serve.door.limits import RateCap
from serve.door.tallies import Tallies
from serve.observe.metrics import Metrics
from serve.options.door import LimitSettings


def front_door(
    app: ASGIApp, ring: KeyRing, limits: LimitSettings, tallies: Tallies, metrics: Metrics
) -> ASGIApp:
    """The application behind the door. It must itself be behind whoever answers GatewayError."""
    budget = BodyBudget(tallies, limits.bodies_in_flight_bytes, metrics.rejected)
    rated = RateCap(app, tallies, metrics.rejected)
    capped = BodyCap(rated, limits.body_bytes, limits.body_s, limits.inflate_ratio, budget)
    return RequireKey(capped, ring)
