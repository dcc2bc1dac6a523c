"""The gateway's metrics, all under `groundrule_`, on a registry that the caller gives.

Every label comes from a closed set: what a caller or a model wrote never becomes one.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serve.errors import every_code

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_FINISHES: Final = frozenset({"stop", "length", "content_filter", "tool_calls", "abort"})
_REJECTED_FOR: Final = ("requests", "tokens", "bodies", "in_flight", "queue_full", "queue_timeout")
_ROWS: Final = ("written", "shipped", "dropped", "bad")


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
            "groundrule_requests_in_flight",
            "Requests that have a place now.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.engine_up = Gauge(
            "groundrule_engine_up",
            "1 while the engine is healthy and has every adapter.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.engine_restarts = Counter(
            "groundrule_engine_restarts", "Starts of the engine after its first.", registry=registry
        )
        self._add_gate(registry)
        self._add_door(registry)
        self._add_engines(registry)
        self._add_ledger(registry)
        self._start_at_zero()

    def _add_gate(self, registry: CollectorRegistry) -> None:
        self.blocks = Counter(
            "groundrule_blocks",
            "Choices cut off or held back, by where the cause was and what the caller got.",
            ["alias", "stage", "action"],
            registry=registry,
        )
        self.would_block = Counter(
            "groundrule_would_block",
            "While observing: choices, and requests at the guardrail, that enforcing would have blocked.",
            ["alias", "stage"],
            registry=registry,
        )
        self.objections = Counter(
            "groundrule_objections",
            "What the built-in checks objected to.",
            ["alias", "check", "severity"],
            registry=registry,
        )
        self.guard_rulings = Counter(
            "groundrule_guard_rulings",
            "Excerpts by guard: passed, blocked, failed, late, not_run.",
            ["guard", "stage", "status"],
            registry=registry,
        )
        self.guard_seconds = Histogram(
            "groundrule_guard_seconds",
            "How long a guard took over one excerpt.",
            ["guard"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.characters = Counter(
            "groundrule_characters",
            "Characters generated, examined and released, by channel.",
            ["alias", "channel", "kind"],
            registry=registry,
        )
        self.held = Histogram(
            "groundrule_held_seconds",
            "From the arrival of text to its release.",
            ["alias"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.overhead = Histogram(
            "groundrule_gateway_overhead_seconds",
            "What the gateway itself took of a request: neither engine nor guards.",
            ["alias", "stream"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.dropped_fields = Counter(
            "groundrule_dropped_fields",
            "Fields of the engine's replies that nobody scans, and that were left out.",
            registry=registry,
        )

    def _add_door(self, registry: CollectorRegistry) -> None:
        self.queue_depth = Gauge(
            "groundrule_queue_depth",
            "Requests waiting for their turn.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.queued = Histogram(
            "groundrule_queued_seconds", "How long requests waited.", buckets=_SECONDS, registry=registry
        )
        self.rejected = Counter(
            "groundrule_rejected", "Requests that were not let in.", ["reason"], registry=registry
        )
        self.picture_fetches = Counter(
            "groundrule_picture_fetches", "Pictures fetched by URL.", ["outcome"], registry=registry
        )
        self.picture_cache = Counter(
            "groundrule_picture_cache", "Normalised pictures: hit or miss.", ["outcome"], registry=registry
        )

    def _add_engines(self, registry: CollectorRegistry) -> None:
        self.replicas_ready = Gauge(
            "groundrule_replicas_ready",
            "Replicas that take requests.",
            ["pool"],
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.replica_tries = Counter(
            "groundrule_replica_tries",
            "Attempts to begin a reply, by how they ended.",
            ["pool", "outcome"],
            registry=registry,
        )
        self.breakers_open = Gauge(
            "groundrule_breakers_open",
            "Replicas left out after failures in a row.",
            ["pool"],
            multiprocess_mode="livemostrecent",
            registry=registry,
        )

    def _add_ledger(self, registry: CollectorRegistry) -> None:
        self.ledger_rows = Counter(
            "groundrule_ledger_rows",
            "Audit rows: written, shipped, dropped, bad.",
            ["outcome"],
            registry=registry,
        )
        self.spooled_bytes = Gauge(
            "groundrule_spooled_bytes",
            "Audit rows on disk that no database has yet.",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.workers = Gauge(
            "groundrule_workers", "Processes that answer.", multiprocess_mode="livesum", registry=registry
        )

    def _start_at_zero(self) -> None:
        """Alarms watch for increases, and a series that begins with its first event shows none."""
        for counter, values in (
            (self.ledger_rows, _ROWS),
            (self.rejected, _REJECTED_FOR),
            (self.errors, every_code()),
        ):
            for value in values:
                counter.labels(value)

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
