"""Claims about what callers see when something fails, before the first byte and after it."""

import http.client
import json
import logging
import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.serve.conftest import Start
from tests.serve.gateways import ALIAS, PATIENCE_S, Gateway, ask, eventually

ERROR_FIELDS = {"message", "type", "param", "code"}
IN_MID_REPLY = 14
"""Events of the scripted reply after which its first step has left, and before it is over."""


def test_unknown_model_is_404_in_openai_shape_and_never_forwarded(gateway: Gateway) -> None:
    answer = gateway.post(ask() | {"model": "../../etc"})
    with pytest.raises(openai.NotFoundError):
        gateway.openai.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "x"}])
    assert answer.status_code == 404
    assert answer.json()["error"].keys() == ERROR_FIELDS
    assert answer.json()["error"]["code"] == "model_not_found"
    assert gateway.engine.history == []
    assert "../etc" not in gateway.get("/metrics").text


def test_prompt_longer_than_the_context_is_the_callers_400(gateway: Gateway) -> None:
    message = "This model's maximum context length is 2048 tokens. However, you requested 4000."
    refusal = {"message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}
    gateway.engine.enqueue(Scripted(status=400, error=refusal), Scripted(status=400, error=refusal))
    for answer in (gateway.post(ask()), gateway.post(ask(stream=True))):
        assert answer.status_code == 400
        assert answer.json()["error"] == {
            "message": message,
            "type": "invalid_request_error",
            "param": "input_tokens",
            "code": "context_length_exceeded",
        }


@pytest.mark.parametrize("status", [401, 404, 500, 502])
def test_what_the_caller_cannot_mend_is_503_with_retry_after(fresh_gateway: Gateway, status: int) -> None:
    error = {"message": "secret host db-7", "code": status}
    fresh_gateway.engine.enqueue(*[Scripted(status=status, error=error)] * 3)
    answer = fresh_gateway.post(ask())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "engine_unavailable"
    assert "db-7" not in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_engine_dying_before_the_first_byte_is_a_status(fresh_gateway: Gateway, stream: bool) -> None:
    fresh_gateway.engine.enqueue(*[Scripted(dies_after=0)] * 3)
    answer = fresh_gateway.post(ask(stream=stream))
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("broken", [Scripted(dies_after=IN_MID_REPLY), Scripted(fails_after=IN_MID_REPLY)])
def test_engine_dying_in_mid_stream_is_a_last_event_and_no_done(gateway: Gateway, broken: Scripted) -> None:
    gateway.engine.enqueue(broken)
    events = gateway.events(ask(stream=True))
    assert len(events) > 3
    assert "[DONE]" not in events
    assert events[-1]["error"].keys() == ERROR_FIELDS
    assert events[-1]["error"]["code"] == "engine_failed"
    assert gateway.post(ask()).status_code == 200


def test_sdk_raises_on_an_error_within_a_stream(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted(dies_after=IN_MID_REPLY))
    completions: Any = gateway.openai.chat.completions
    stream = completions.create(**ask(stream=True))
    with pytest.raises(openai.APIError, match=r"broke off|failed"):
        list(stream)


def test_engine_dying_in_a_plain_wait_is_503(gateway: Gateway) -> None:
    gateway.engine.enqueue(*[Scripted(dies_after=5)] * 3)
    assert gateway.post(ask()).status_code == 503


def test_silent_engine_is_a_timeout_unless_it_has_said_it_all(engine: ScriptedEngine, start: Start) -> None:
    settings = {"remote": {"url": engine.url, "poll_interval_s": 0.05}, "read_timeout_s": 3}
    with start(engine=settings) as gateway:
        told = len(list(Scripted().events({"model": "", "stream_options": {"include_usage": True}})))
        stalls = (0, IN_MID_REPLY, told)
        gateway.engine.enqueue(*(Scripted(stalls_after=stall) for stall in stalls))
        before = gateway.post(ask())
        after, behind = (gateway.events(ask(stream=True)) for _ in range(2))
    assert before.status_code == 504
    assert after[-1]["error"]["code"] == "engine_timeout"
    assert behind[-1] == "[DONE]", "all had been said"


def test_caller_leaving_in_mid_stream_aborts_the_engine(fresh_gateway: Gateway) -> None:
    fresh_gateway.engine.enqueue(Scripted(stalls_after=IN_MID_REPLY))
    url = f"{fresh_gateway.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=ask(stream=True), timeout=PATIENCE_S) as response:
        next(response.iter_lines())
    eventually(lambda: fresh_gateway.engine.history[0].aborted)
    eventually(lambda: fresh_gateway.metric("groundrule_requests_in_flight") == 0)
    assert fresh_gateway.metric(f'groundrule_requests_total{{alias="{ALIAS}",outcome="aborted"}}') == 1


@pytest.mark.parametrize("stalls_after", [0, 6])
@pytest.mark.parametrize("stream", [False, True])
def test_caller_leaving_in_mid_wait_aborts_the_engine(
    gateway: Gateway, stalls_after: int, stream: bool
) -> None:
    gateway.engine.enqueue(Scripted(stalls_after=stalls_after))
    history = gateway.engine.history
    with closing(http.client.HTTPConnection(urlsplit(gateway.url).netloc)) as caller:
        caller.request("POST", "/v1/chat/completions", json.dumps(ask(stream=stream)))
        eventually(lambda: history and (history[0].whole or history[0].sent == stalls_after))
    eventually(lambda: history[0].aborted)
    eventually(lambda: gateway.metric("groundrule_requests_in_flight") == 0)


def test_caller_leaving_in_mid_body_is_no_failure_of_ours(
    fresh_gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    address = urlsplit(fresh_gateway.url)
    with socket.create_connection((address.hostname, address.port)) as caller:
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
        caller.sendall(head.encode() + b'{"messages": ')
        fresh_gateway.get("/healthz")  # by then it waits for the rest
    eventually(lambda: fresh_gateway.metric('groundrule_requests_total{alias="none",outcome="aborted"}') == 1)
    assert fresh_gateway.metric("groundrule_errors_total") == 0
    assert [record for record in caplog.records if record.exc_info] == []

    def lines() -> list[dict[str, Any]]:
        return [fields for r in caplog.records if (fields := getattr(r, "fields", {})).get("outcome")]

    eventually(lambda: len(lines()) == 1)
    (line,) = lines()
    assert (line["status"], line["outcome"]) == (499, "aborted")


def test_one_request_too_many_is_told_to_come_back(start: Start) -> None:
    with start(limits={"in_flight": 1, "queue": 0}) as gateway:
        gateway.engine.enqueue(Scripted(stalls_after=IN_MID_REPLY))
        url = f"{gateway.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=ask(stream=True), timeout=PATIENCE_S) as response:
            lines = response.iter_lines()  # dropped, it would close the connection
            next(lines)
            refused = gateway.post(ask())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
        eventually(lambda: gateway.post(ask()).status_code == 200)


def test_engine_not_ready_is_503_and_says_what_is_awaited(start: Start) -> None:
    engine = {"remote": {"url": "http://127.0.0.1:9", "poll_interval_s": 0.05}}
    with start(ready=False, engine=engine) as gateway:
        answer = gateway.post(ask())
        assert gateway.get("/healthz").json() == {"status": "ok"}
        assert gateway.get("/readyz").json()["reasons"] != []
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "engine_unavailable"


def test_engine_that_forgot_its_adapters_gets_them_again(fresh_gateway: Gateway, bundle: Path) -> None:
    fresh_gateway.engine.forget_adapters()
    eventually(lambda: str(bundle) in fresh_gateway.engine.adapters.values())
    eventually(lambda: fresh_gateway.get("/readyz").status_code == 200)
    assert fresh_gateway.post(ask()).status_code == 200


def test_engine_without_lora_keeps_the_gateway_unready(engine: ScriptedEngine, start: Start) -> None:
    engine.knows_adapters = False
    with start(ready=False) as gateway:
        eventually(lambda: "model" in gateway.get("/readyz").json()["reasons"][0])
        assert gateway.post(ask()).status_code == 503


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/models", 405)])
def test_framework_errors_have_the_same_shape(gateway: Gateway, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, gateway.url + path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == ERROR_FIELDS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"n": NaN}',
        b"[" * 100_000,
        b'{"model": 1, "messages": []}',
        b'{"messages": []}',
        b'{"messages": [1]}',
        b'{"messages": [{"role": "user", "content": 3}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}',
        b'{"messages": [{"role": "user", "content": [{"image_url": "http://x/"}]}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "stream": "yes"}',
        b'{"messages": [{"role": "user", "content": "x"}], "n": 0}',
        b'{"messages": [{"role": "user", "content": "x"}], "stream_options": 1}',
    ],
)
def test_malformed_body_is_400(gateway: Gateway, body: bytes) -> None:
    answer = httpx.post(f"{gateway.url}/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].keys() == ERROR_FIELDS
    assert gateway.engine.history == []


def test_lone_surrogates_pass_both_ways(gateway: Gateway) -> None:
    gateway.engine.enqueue(Scripted("a \ud83d b"), Scripted("a \ud83d b"))
    body = b'{"messages": [{"role": "user", "content": "\\ud83d"}]'
    plain = httpx.post(f"{gateway.url}/v1/chat/completions", content=body + b"}")
    stream = httpx.post(f"{gateway.url}/v1/chat/completions", content=body + b', "stream": true}')
    assert plain.status_code == 200
    assert stream.text.endswith("data: [DONE]\n\n")


def test_many_callers_at_once_get_their_own_replies(gateway: Gateway) -> None:
    answers: list[int] = []

    def call() -> None:
        answers.append(gateway.post(ask()).status_code)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 20


def test_a_gateway_of_base_models_alone_answers_and_judges_nothing(start: Start) -> None:
    with start(adapters=[]) as gateway:
        answer = gateway.post(ask() | {"model": "base"})
        judged = httpx.post(f"{gateway.url}/v1/moderations", json={"input": "Some text."}, timeout=PATIENCE_S)
    assert answer.status_code == 200
    assert (judged.status_code, judged.json()["error"]["code"]) == (503, "undecided")
    assert "base gives no verdicts" in judged.json()["error"]["message"]
