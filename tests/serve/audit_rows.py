"""Audit rows and the settings of an audit, for tests and for the programs that they start (so: no pytest)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from serve.ledger.interaction import ChoiceRecord, GuardRun, Interaction, Scanned
from serve.observe.metrics import Metrics
from serve.settings import Settings

AWAY = "postgresql://nobody:hidden-word@127.0.0.1:9/audit"
"""A database that nobody answers for."""


def audit_settings(directory: Path, url: str, **ledger: Any) -> Settings:
    """Settings of a gateway whose audit goes there; its engine is never asked."""
    return Settings(
        engine={"remote": {"url": "http://127.0.0.1:9"}},  # type: ignore[arg-type]
        state_dir=directory / "state",
        ledger={"url": SecretStr(url), **ledger},  # type: ignore[arg-type]
    )


def interaction(number: int = 1, **changes: Any) -> Interaction:
    choice = ChoiceRecord(
        verdict="refuse",
        action="none",
        would="withheld",
        finish="stop",
        clauses=("P19.D1", "P19.R3"),
        sources={"visual": 1, "textual": 1},
        flags=("invalid_citation",),
        objections=("invented_clause",),
        scanned={"reasoning": Scanned(300, 300, 300), "answer": Scanned(80, 80, 40)},
    )
    row = Interaction(
        id=f"i_{number}",
        at=1_800_000_000.25,
        request_id=f"r_{number}",
        key_id="k_01234567",
        api="chat",
        alias="groundrule",
        adapter="pst@0123456789ab",
        policy_digest="f" * 64,
        mode="enforce",
        stream=True,
        status=200,
        outcome="ok",
        choices=(choice,),
        guards=(GuardRun("words", "answer", "passed", 3, 0.002),),
        prompt_tokens=11,
        completion_tokens=7,
        reasoning_tokens=None,
        tokens_counted_by="engine",
        first_token_s=0.1,
        duration_s=0.5,
        queued_s=0.0,
        overhead_s=0.001,
        request_digest="a" * 64,
        picture_digests=("b" * 64,),
        reply_digest="c" * 64,
    )
    return replace(row, **changes)


def new_metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def rows_counted(metrics: Metrics, outcome: str) -> float:
    name, labels = "groundrule_ledger_rows_total", {"outcome": outcome}
    return metrics.registry.get_sample_value(name, labels) or 0.0
