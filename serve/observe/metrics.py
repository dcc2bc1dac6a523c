"""The gateway's metrics, all under `groundrule_`, on a registry that the caller gives.

Every label comes from a closed set: what a caller or a model wrote never becomes one.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FINISHES: Final = frozenset({"stop", "length", "content_filter", "tool_calls", "abort"})


class Metrics:
    """Every series of the gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.requests = Counter(
            "groundrule_requests",
            "Chat requests that reached an alias (none: their caller left before naming one), "
            "by how they ended: ok, aborted, or an error's code.",
            ["alias", "outcome"],
            registry=registry,
        )
        self.errors = Counter(
            "groundrule_errors", "Errors told to callers, on any path.", ["code"], registry=registry
        )
        self.replies = Counter(
            "groundrule_replies",
            "Finished choices, by the model's verdict and by what the gateway did.",
            ["alias", "verdict", "action", "finish"],
            registry=registry,
        )
        self.refusals = Counter(
            "groundrule_refusals",
            "Finished choices that refused, by who refused.",
            ["alias", "by"],
            registry=registry,
        )
        self.trace_flags = Counter(
            "groundrule_trace_flags",
            "What the trace reader objected to in finished choices.",
            ["alias", "flag"],
            registry=registry,
        )
        self.tokens = Counter(
            "groundrule_tokens", "Tokens as counted by the engine.", ["alias", "kind"], registry=registry
        )
        self.first_token = Histogram(
            "groundrule_time_to_first_token_seconds",
            "From a request's arrival to the first text of its reply.",
            ["alias"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.duration = Histogram(
            "groundrule_request_duration_seconds",
            "From a chat request's arrival to the end of its answer.",
            ["alias"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "groundrule_requests_in_flight", "Requests under /v1/ being answered now.", registry=registry
        )
        self.engine_up = Gauge(
            "groundrule_engine_up", "1 while the engine is healthy and has every adapter.", registry=registry
        )
        self.engine_restarts = Counter(
            "groundrule_engine_restarts", "Starts of the engine after its first.", registry=registry
        )

    def observe_reply(
        self, alias: str, verdict: str | None, action: str, finish: str | None, flags: Iterable[str]
    ) -> None:
        """Count one finished choice."""
        known_finish = finish if finish in _FINISHES else "other"
        self.replies.labels(alias, verdict or "none", action, known_finish).inc()
        if verdict == "refuse":
            self.refusals.labels(alias, "model").inc()
        elif action != "none":
            self.refusals.labels(alias, "gateway").inc()
        for flag in flags:
            self.trace_flags.labels(alias, flag).inc()
