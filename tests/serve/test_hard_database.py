"""Claims about a database that goes while callers ask: nobody waits for it, and no row is lost or doubled."""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.audited import added_keys, headers_of, measured
from tests.serve.databases import Postgres, fetch
from tests.serve.gateways import PATIENCE_S, ask, eventually, running_gateway, settings_for

PER_SECOND = 20
IN_TIME_S = 4.0
"""Half of the shortest outage: who waits for the database, or for a connection to it, waits longer."""


@dataclass
class Load:
    """Callers who ask at a steady pace, whatever becomes of those before them."""

    url: str
    key: str
    took_s: dict[str, float] = field(default_factory=dict)
    """By request id."""
    statuses: list[int] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        is_over = threading.Event()
        with (
            httpx.Client(base_url=self.url, timeout=PATIENCE_S) as client,
            ThreadPoolExecutor(max_workers=PER_SECOND) as callers,
        ):
            pace = threading.Thread(target=self._keep_pace, args=(client, callers, is_over))
            pace.start()
            try:
                yield
            finally:
                is_over.set()
                pace.join()

    def _keep_pace(self, client: httpx.Client, callers: ThreadPoolExecutor, is_over: threading.Event) -> None:
        while not is_over.wait(1 / PER_SECOND):
            callers.submit(self._ask, client, uuid.uuid4().hex)

    def _ask(self, client: httpx.Client, request_id: str) -> None:
        """Every other reply is streamed."""
        body = ask(stream=request_id < "8")
        began = time.monotonic()
        answer = client.post("/v1/chat/completions", json=body, headers=headers_of(self.key, request_id))
        self.took_s[request_id] = time.monotonic() - began
        self.statuses.append(answer.status_code)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("outage_s", [8, pytest.param(60, marks=pytest.mark.bench)])
def test_a_database_that_is_away_delays_no_reply_and_loses_no_row(
    engine: ScriptedEngine, bundle: Path, tmp_path: Path, postgres: Postgres, outage_s: int
) -> None:
    """The callers' key is in that database, too: it holds as it was last read."""
    url = postgres.new_database()
    settings = settings_for(engine, bundle, ledger={"url": SecretStr(url)}, state_dir=tmp_path / "state")
    key = added_keys(settings, caller={})["caller"]
    with running_gateway(settings, engine) as gateway, httpx.Client(base_url=gateway.url) as operator:
        load = Load(gateway.url, key)
        with load.running():
            eventually(lambda: shipped(operator) > 0)
            postgres.stop()
            try:
                asked_before, rows_before = len(load.took_s), shipped(operator)
                time.sleep(outage_s)
                assert measured(operator)["groundrule_spooled_bytes"] > 0
                assert shipped(operator) - rows_before <= 2 * PER_SECOND, "it was away"
            finally:
                postgres.start()
            assert len(load.took_s) - asked_before > outage_s, "callers were there meanwhile"
    # Stopped, the gateway does not wait for its next try: it ships what there is.
    assert list((settings.state_dir / "spool").iterdir()) == []
    assert set(load.statuses) == {200}
    assert max(load.took_s.values()) < IN_TIME_S
    kept = asyncio.run(fetch(url, "SELECT request_id FROM interactions"))
    assert sorted(row["request_id"] for row in kept) == sorted(load.took_s)


def shipped(operator: httpx.Client) -> float:
    return measured(operator).get('groundrule_ledger_rows_total{outcome="shipped"}', 0)
