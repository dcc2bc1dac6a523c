"""Claims about web pages that ask (CORS): who may, with which headers, and that they read every answer."""

from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI

from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.conftest import Start
from tests.serve.gateways import ALIAS, PATIENCE_S, Gateway, ask

ORIGIN, ANOTHER = "https://chat.example.org", "https://elsewhere.example.org"
KEY = "k" * 24
BROWSERS = {"host", "connection", "content-length", "accept", "accept-encoding", "user-agent"}
"""Headers that a browser writes itself."""


@pytest.fixture
def web(start: Start) -> Iterator[Gateway]:
    with start(cors_origins=[ORIGIN], api_keys=KEY, limits={"body_bytes": 1000}) as gateway:
        yield gateway


def asked(gateway: Gateway, origin: str = ORIGIN, key: str = KEY, **fields: object) -> httpx.Response:
    headers = {"origin": origin, "authorization": f"Bearer {key}"}
    return gateway.post(ask(**fields), headers=headers)  # type: ignore[arg-type]


def preflight(gateway: Gateway, headers: str, origin: str = ORIGIN) -> httpx.Response:
    wishes = {"access-control-request-method": "POST", "access-control-request-headers": headers}
    url = f"{gateway.url}/v1/chat/completions"
    return httpx.options(url, headers={"origin": origin, **wishes}, timeout=PATIENCE_S)


def sent_by_the_sdk(gateway: Gateway) -> set[str]:
    """Headers of a real request of OpenAI's SDK."""
    sent: set[str] = set()
    hooks = {"request": [lambda request: sent.update(request.headers)]}
    with httpx.Client(event_hooks=hooks, timeout=PATIENCE_S) as client:
        sdk = OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0, http_client=client)
        sdk.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "Hello"}])
    return {name.lower() for name in sent} - BROWSERS


def test_a_page_may_send_what_openais_sdk_sends_and_asks_for_it_without_a_key(web: Gateway) -> None:
    wanted = sent_by_the_sdk(web)
    assert "authorization" in wanted
    assert any(name.startswith("x-stainless-") for name in wanted)
    answer = preflight(web, ",".join(sorted(wanted)))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert wanted <= allowed


def test_a_page_can_read_every_answer_errors_of_the_door_included(web: Gateway) -> None:
    answers = {
        200: asked(web),
        401: asked(web, key="x" * 24),
        404: asked(web, model="nobody"),
        413: asked(web, user="x" * 1000),
        400: asked(web, n=0),
    }
    assert {status: answer.status_code for status, answer in answers.items()} == {s: s for s in answers}
    for answer in answers.values():
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()


def test_a_page_of_another_origin_is_told_nothing(web: Gateway) -> None:
    assert preflight(web, "authorization", ANOTHER).status_code == 400
    for answer in (asked(web, ANOTHER), asked(web, ANOTHER, key="x" * 24)):
        assert "access-control-allow-origin" not in answer.headers


def test_a_page_needs_a_key_for_its_requests(web: Gateway, engine: ScriptedEngine) -> None:
    headers = {"origin": ORIGIN}
    assert web.post(ask(), headers=headers).status_code == 401
    assert engine.history == []
