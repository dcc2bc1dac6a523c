"""Which replica answers: the one that knows the beginning of the conversation, unless it is busy.

Rendezvous hashing: every conversation has an order of its own over all replicas, so a replica that comes
or goes moves only its own share of them. Equal beginnings go to one replica, whose cache holds them.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from serve.engine.replica import Replica
from serve.errors import EngineUnavailable

MORE_REQUESTS: Final = 4
TIMES_AS_MANY: Final = 1.5
"""A replica is busy that carries so many more requests, and so many times as many, as the idlest."""


def choose(replicas: Sequence[Replica], affinity: bytes) -> Replica:
    """The conversation's first choice among those that are ready, or the idlest where that one is busy.

    Raises EngineUnavailable if none is ready.
    """
    ready = [replica for replica in replicas if replica.is_ready]
    if not ready:
        raise EngineUnavailable(why_not(replicas))
    if len(ready) == 1:
        return ready[0]
    ranked = sorted(ready, key=lambda replica: _weight(replica, affinity), reverse=True)
    # The first of the idlest in this conversation's own order: its second choice is as steady as its first.
    idlest = min(ranked, key=lambda replica: replica.in_flight)
    return idlest if _is_busy(ranked[0], idlest) else ranked[0]


def why_not(replicas: Sequence[Replica]) -> str:
    """What a caller is told where none is ready."""
    reasons = [replica.reason for replica in replicas if replica.reason]
    return reasons[0] if reasons else "no engine can be reached; try again"


def _is_busy(replica: Replica, idlest: Replica) -> bool:
    load, least = replica.in_flight, idlest.in_flight
    return load >= least + MORE_REQUESTS and load >= TIMES_AS_MANY * least


def _weight(replica: Replica, affinity: bytes) -> bytes:
    return blake2b(replica.url.encode(), key=affinity[:64], digest_size=8).digest()
