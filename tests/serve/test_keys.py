"""Claims about keys: whom they let in where, for how long, and what holds while their table is away."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.door.auth import RequireKey
from serve.door.caller import Scope as Opens
from serve.door.caller import caller_of
from serve.door.keys import KeyRing, KeyStoreAway, StoredKey, digest_of, new_key
from serve.gate.values import Mode
from tests.serve.doors import answer, answering_errors
from tests.serve.gateways import PATIENCE_S

pytestmark = pytest.mark.anyio
OPERATORS = "o" * 24


class ScriptedStore:
    """A table that says what it is told to say, or is away."""

    def __init__(self, *keys: StoredKey) -> None:
        self.keys: Sequence[StoredKey] = keys
        self.is_away = False

    async def all(self) -> Sequence[StoredKey]:
        if self.is_away:
            raise KeyStoreAway("no database")
        return self.keys


class Clock:
    """Unix time, as it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def door(ring: KeyRing, clock: Clock | None = None) -> ASGIApp:
    async def who(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, caller_of(scope).name)

    return answering_errors(RequireKey(who, ring, now=clock or Clock()))


async def ask(app: ASGIApp, key: str | None, path: str = "/v1/chat/completions") -> httpx.Response:
    headers = [] if key is None else [("authorization", f"Bearer {key}")]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get(path, headers=headers)


async def ring_of(store: ScriptedStore, *environment: str) -> KeyRing:
    ring = KeyRing([digest_of(key) for key in environment], has_store=True)
    await ring.refresh(store)
    return ring


async def test_a_key_opens_its_own_parts_of_the_api_and_no_others() -> None:
    key = new_key()
    opens = {Opens.CHAT, Opens.GUARD}
    app = door(await ring_of(ScriptedStore(StoredKey(digest_of(key), "shop", frozenset(opens)))))
    paths = {
        "/v1/chat/completions": 200,
        "/beta/litellm_basic_guardrail_api": 200,
        "/v1/responses": 403,
        "/v1/moderations": 403,
        "/tokenize": 403,
        "/v1/models": 200,
    }
    assert {path: (await ask(app, key, path)).status_code for path in paths} == paths
    assert (await ask(app, key)).json() == "shop"
    refused = (await ask(app, key, "/v1/responses")).json()["error"]
    assert (refused["code"], refused["type"]) == ("forbidden", "permission_error")


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/models", "/beta/x", "/tokenize", "/admin", "/", "/readyz/", "/V1/x"]
)
async def test_every_path_but_the_probes_needs_a_key(path: str) -> None:
    app = door(KeyRing([digest_of(OPERATORS)]))
    assert (await ask(app, None, path)).status_code == 401
    assert (await ask(app, OPERATORS, path)).status_code == 200
    for probe in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert (await ask(app, None, probe)).status_code == 200


async def test_an_expired_key_is_refused_from_that_second_on() -> None:
    key, clock = new_key(), Clock()
    app = door(await ring_of(ScriptedStore(StoredKey(digest_of(key), "a", expires_at=clock.now + 1))), clock)
    assert (await ask(app, key)).status_code == 200
    clock.now += 1
    refused = await ask(app, key)
    assert refused.status_code == 401
    assert "expired" in refused.json()["error"]["message"]


async def test_a_revoked_key_is_refused_once_the_table_was_read_again() -> None:
    key = new_key()
    stored = StoredKey(digest_of(key), "a")
    store = ScriptedStore(stored)
    ring = await ring_of(store, OPERATORS)
    assert (await ask(door(ring), key)).status_code == 200
    store.keys = [replace(stored, revoked=True)]
    await ring.refresh(store)
    assert (await ask(door(ring), key)).status_code == 401
    assert (await ask(door(ring), OPERATORS)).status_code == 200


async def test_a_gateway_whose_last_key_was_revoked_does_not_stand_open() -> None:
    store = ScriptedStore(StoredKey(digest_of(new_key()), "a", revoked=True))
    assert (await ask(door(await ring_of(store)), None)).status_code == 401


async def test_without_any_key_nobody_is_asked_for_one() -> None:
    for ring in (KeyRing(), await ring_of(ScriptedStore())):
        assert (await ask(door(ring), None)).json() == "anonymous"


async def test_where_others_can_call_a_table_that_was_lost_lets_nobody_in() -> None:
    ring = KeyRing(has_store=True, may_be_open=False)
    await ring.refresh(ScriptedStore())
    assert (await ask(door(ring), None)).status_code == 401


async def test_the_last_known_keys_hold_while_the_table_is_away() -> None:
    key = new_key()
    store = ScriptedStore(StoredKey(digest_of(key), "a"))
    ring = await ring_of(store)
    store.is_away = True
    with pytest.raises(KeyStoreAway):
        await ring.refresh(store)
    assert (await ask(door(ring), key)).status_code == 200
    assert (await ask(door(ring), new_key())).status_code == 401


async def test_before_the_table_was_read_an_unknown_key_is_told_to_come_back() -> None:
    ring = KeyRing([digest_of(OPERATORS)], has_store=True)
    assert (await ask(door(ring), OPERATORS)).status_code == 200
    waiting = await ask(door(ring), new_key())
    assert waiting.status_code == 503
    assert waiting.headers["retry-after"] == "1"
    assert (await ask(door(KeyRing(has_store=True)), None)).status_code == 503


async def test_a_key_that_is_added_works_without_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    key, store = new_key(), ScriptedStore()
    store.is_away = True
    ring = KeyRing([digest_of(OPERATORS)], has_store=True)
    with caplog.at_level(logging.INFO, "serve.door.keys"):
        refreshing = asyncio.create_task(ring.keep_fresh(store, 0.01))
        async with asyncio.timeout(PATIENCE_S):
            while not caplog.records:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            store.keys, store.is_away = [StoredKey(digest_of(key), "new")], False
            while ring.find(digest_of(key)) is None:
                await asyncio.sleep(0.01)
        refreshing.cancel()
        await asyncio.gather(refreshing, return_exceptions=True)
    # Told once each, however long it lasted.
    assert [record.getMessage() for record in caplog.records] == ["keys_not_refreshed", "keys_refreshed"]
    assert (await ask(door(ring), key)).json() == "new"


async def test_a_key_can_be_revoked_after_a_failure_that_nobody_foresaw(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(ScriptedStore):
        async def all(self) -> Sequence[StoredKey]:
            if self.is_away:
                raise LookupError("nobody foresaw this")
            return self.keys

    key = new_key()
    store = Failing(StoredKey(digest_of(key), "a"))
    ring = await ring_of(store)
    store.is_away = True
    refreshing = asyncio.create_task(ring.keep_fresh(store, 0.01))
    async with asyncio.timeout(PATIENCE_S):
        while not caplog.records:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert (await ask(door(ring), key)).status_code == 200
        store.keys, store.is_away = [replace(store.keys[0], revoked=True)], False
        while (await ask(door(ring), key)).status_code != 401:
            assert not refreshing.done()
            await asyncio.sleep(0.01)
    refreshing.cancel()
    await asyncio.gather(refreshing, return_exceptions=True)
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (told.getMessage(), vars(told)["fields"]) == ("keys_not_refreshed", {"error": "LookupError"})


async def test_what_a_key_may_is_what_its_row_says() -> None:
    key = new_key()
    stored = StoredKey(
        digest_of(key), "a", frozenset({Opens.CHAT}), frozenset({"pst"}), mode=Mode.STRICTER, expires_at=5.0
    )
    caller = (await ring_of(ScriptedStore(stored))).find(digest_of(key))
    assert caller == stored.caller
    assert caller is not None
    assert caller.key_id == "k_" + digest_of(key).hex()[:8]
    assert (caller.models, caller.mode, caller.expires_at) == (frozenset({"pst"}), Mode.STRICTER, 5.0)


async def test_two_authorizations_are_none() -> None:
    transport = httpx.ASGITransport(app=door(KeyRing([digest_of(OPERATORS)])))
    headers = [("authorization", f"Bearer {OPERATORS}"), ("authorization", "Bearer x")]
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 401


async def test_no_key_is_like_another_and_none_is_kept() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {(len(key), key[:3]) for key in keys} == {(46, "gr-")}
    ring = KeyRing([digest_of(key) for key in keys])
    assert not any(key in repr(vars(ring)) for key in keys)
