"""Claims about what operators can see."""

from tests.fakes.scripted_engine import Scripted
from tests.serve.gateways import REFUSAL, Gateway, ask

NAMES = {
    "groundrule_requests_total",
    "groundrule_errors_total",
    "groundrule_replies_total",
    "groundrule_refusals_total",
    "groundrule_trace_flags_total",
    "groundrule_tokens_total",
    "groundrule_time_to_first_token_seconds",
    "groundrule_request_duration_seconds",
    "groundrule_requests_in_flight",
    "groundrule_engine_up",
    "groundrule_engine_restarts_total",
    "groundrule_blocks_total",
    "groundrule_would_block_total",
    "groundrule_objections_total",
    "groundrule_guard_rulings_total",
    "groundrule_guard_seconds",
    "groundrule_characters_total",
    "groundrule_held_seconds",
    "groundrule_gateway_overhead_seconds",
    "groundrule_dropped_fields_total",
    "groundrule_queue_depth",
    "groundrule_queued_seconds",
    "groundrule_rejected_total",
    "groundrule_picture_fetches_total",
    "groundrule_picture_cache_total",
    "groundrule_replicas_ready",
    "groundrule_replica_tries_total",
    "groundrule_breakers_open",
    "groundrule_ledger_rows_total",
    "groundrule_spooled_bytes",
    "groundrule_workers",
}


def test_names_are_these_and_all_ours(fresh_gateway: Gateway) -> None:
    lines = fresh_gateway.get("/metrics").text.splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    assert {name for name in names if not name.endswith("_created")} == NAMES


def test_a_refusal_is_counted_with_verdict_flags_and_tokens(fresh_gateway: Gateway) -> None:
    fresh_gateway.engine.enqueue(Scripted(REFUSAL))
    fresh_gateway.post(ask())
    alias = 'alias="groundrule"'
    assert fresh_gateway.metric(f'groundrule_requests_total{{{alias},outcome="ok"}}') == 1
    replies = f'groundrule_replies_total{{action="none",{alias},finish="stop",verdict="refuse"}}'
    assert fresh_gateway.metric(replies) == 1
    assert fresh_gateway.metric(f'groundrule_refusals_total{{{alias},by="model"}}') == 1
    assert fresh_gateway.metric(f'groundrule_trace_flags_total{{{alias},flag="invalid_clause"}}') == 1
    assert fresh_gateway.metric(f'groundrule_tokens_total{{{alias},kind="completion"}}') == 7
    assert fresh_gateway.metric(f"groundrule_time_to_first_token_seconds_count{{{alias}}}") == 1
    assert fresh_gateway.metric("groundrule_engine_up") == 1


def test_errors_are_counted_by_code_in_streams_too(fresh_gateway: Gateway) -> None:
    fresh_gateway.engine.enqueue(Scripted(dies_after=14))
    fresh_gateway.events(ask(stream=True))
    fresh_gateway.post(ask() | {"model": "nope"})
    assert fresh_gateway.metric('groundrule_errors_total{code="engine_failed"}') == 1
    assert fresh_gateway.metric('groundrule_errors_total{code="model_not_found"}') == 1


def test_what_alarms_watch_is_there_before_it_happens(fresh_gateway: Gateway) -> None:
    said = fresh_gateway.get("/metrics").text
    for series in (
        'groundrule_ledger_rows_total{outcome="dropped"}',
        'groundrule_ledger_rows_total{outcome="bad"}',
        'groundrule_errors_total{code="internal_error"}',
        'groundrule_errors_total{code="context_length_exceeded"}',
        'groundrule_rejected_total{reason="queue_full"}',
    ):
        assert f"\n{series} 0.0\n" in said


def test_no_label_holds_what_a_caller_or_model_wrote(fresh_gateway: Gateway) -> None:
    fresh_gateway.engine.enqueue(Scripted("zebra", finish="zebra"))
    fresh_gateway.post(ask("zebra", model="zebra"))
    fresh_gateway.post(ask("zebra"))
    fresh_gateway.get("/zebra")
    assert "zebra" not in fresh_gateway.get("/metrics").text
