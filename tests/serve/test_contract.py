"""Claims about the OpenAPI document: what the gateway answers is in it, and what it forbids is refused.

schemathesis asks on every operation, by the document that the gateway serves: cases at the borders of each
schema, and generated ones, valid and invalid. What the engine says to them depends on what was asked alone,
so that every failure can be had again.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import hypothesis
import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase
from jsonschema_rs import Draft202012Validator, meta
from schemathesis.checks import CheckContext, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from serve.api import chat, guardrail, models, moderations, responses, system, tokenize
from serve.api.contract import document
from serve.gate.formats.litellm_generic import PATH as GUARDRAIL_PATH
from tests.fakes.scripted_engine import PLAIN_REPLY, Scripted, ScriptedEngine
from tests.serve.gateways import ALIAS, REFUSAL, Gateway, ask, running_gateway, settings_for

Json = dict[str, Any]
Case: TypeAlias = schemathesis.Case[Any]

KEY = "0123456789abcdef"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}
FORBIDDEN = "FORBIDDEN-WORD"
GUARD: Json = {
    "kind": "patterns",
    "name": "words",
    "patterns": [FORBIDDEN],
    "stages": ["reasoning", "answer"],
}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
LOGPROBS = {"content": [{"token": "A", "logprob": -0.1, "bytes": [65], "top_logprobs": []}]}
REPLIES: Mapping[str, Scripted] = {
    "an answer": Scripted(),
    "a refusal": Scripted(REFUSAL),
    "a block in the answer": Scripted(PLAIN_REPLY + " It is nice." * 30 + FORBIDDEN),
    "a block in the reasoning": Scripted(PLAIN_REPLY.replace("a cat", FORBIDDEN)),
    "a contradiction": Scripted(REFUSAL.replace("I can't help with that.", "Sure, here is how:")),
    "no trace": Scripted("A cat."),
    "a reply cut off": Scripted(PLAIN_REPLY[:60], finish="length"),
    "a tool call": Scripted(tool_calls=[CALL], finish="tool_calls"),
    "logprobs": Scripted(choice_extras={"logprobs": LOGPROBS, "stop_reason": "END"}),
    "the engine's refusal": Scripted(status=400, error={"message": "no", "code": 400}),
}
BROKEN_OFF = Scripted(fails_after=15)
DECIDED = [REPLIES["an answer"], REPLIES["a refusal"]]
"""What a judge may say; without a verdict there is none, and that is a 503 (test_moderations)."""
TOOL = {"type": "function", "function": {"name": "look"}}
COUNTED: Json = {"stream": True, "stream_options": {"include_usage": True}}
SAID: Json = {"model": ALIAS, "input": "What is this?"}
CHAT, RESPONSES = chat.PATH, responses.PATH
WAYS: list[tuple[str, Json]] = [
    (CHAT, ask(tools=[TOOL], stop=["END"])),
    (CHAT, ask(stop=["END"], **COUNTED)),
    (CHAT, ask(n=2, stream=True, safety={"trace": "steps"})),
    (CHAT, ask(n=2, safety={"trace": "none", "mode": "stricter"})),
    (RESPONSES, SAID),
    (RESPONSES, {**SAID, "stream": True, "safety": {}}),
    (RESPONSES, {**SAID, "stream": True, "metadata": {"a": "b"}, "safety": {"trace": "none"}}),
]
"""How callers ask."""

DOCUMENT = document("The gateway", "0")
CONFIG = schemathesis.Config.from_dict(
    {"generation": {"deterministic": True, "database": "none", "with-security-parameters": False}}
)
CONTRACT = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
SETTINGS = hypothesis.settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)


@pytest.fixture(scope="module")
def guarded(bundle: Path) -> Iterator[Gateway]:
    """Enforces, as it does by default."""
    with ScriptedEngine().running() as engine:
        settings = settings_for(engine, bundle, gate={}, guards=[GUARD], api_keys=KEY)
        with running_gateway(settings, engine) as gateway:
            yield gateway


@CONTRACT.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Asks for models that there are: of all texts, a generated one names none."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and context.operation:
        # The base model takes every parameter, and judges nothing.
        return {**body, "model": "base" if context.operation.path in (CHAT, RESPONSES) else ALIAS}
    return body


def event_data_conformance(ctx: CheckContext, response: schemathesis.Response, case: Case) -> None:
    """The data of every event of a stream: OpenAPI 3.1 takes the schema of JSON in a text for a remark."""
    if response.status_code == 200 and "text/event-stream" in response.headers["content-type"][0]:
        for told in events(response.text or ""):
            assert_in_contract(told, operation_of(case)["responses"]["200"])


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    event_data_conformance,
    negative_data_rejection,
    unsupported_method,
]


@CONTRACT.parametrize()
@SETTINGS
def test_whatever_is_asked_the_answer_is_in_the_contract(case: Case, guarded: Gateway) -> None:
    kinds = list(REPLIES.values()) if case.operation.path in (CHAT, RESPONSES) else DECIDED
    digest = zlib.crc32(json.dumps(case.body, default=str).encode(errors="surrogatepass"))
    sorting = [Scripted('{"category": "P19"}')] if asks_for_a_category(case.body) else []
    say(guarded, *sorting, kinds[digest % len(kinds)])
    response = case.call(base_url=guarded.url, headers=AUTHORIZED)
    case.validate_response(response, checks=CHECKS)


@pytest.mark.parametrize("kind", REPLIES)
def test_every_kind_of_reply_is_in_the_contract(kind: str, guarded: Gateway) -> None:
    for path, body in WAYS:
        say(guarded, REPLIES[kind])
        response = called(guarded, path, body)
        expected = REPLIES[kind].status
        assert response.status_code == expected, response.text


def test_a_reply_that_breaks_off_is_in_the_contract(guarded: Gateway) -> None:
    for path, body in WAYS:
        if body.get("stream"):
            say(guarded, BROKEN_OFF)
            assert events(called(guarded, path, body).text or "")[-1]["data"].count('"engine_failed"')


def test_every_event_of_the_contract_is_sent(guarded: Gateway) -> None:
    sent = set()
    for reply in [*REPLIES.values(), BROKEN_OFF]:
        if reply.status == 200:
            say(guarded, reply)
            told = called(guarded, RESPONSES, {**SAID, "stream": True, "safety": {}}).text or ""
            sent |= {event["event"] for event in events(told)}
    options = DOCUMENT["components"]["schemas"]["ResponsesEvent"]["anyOf"]
    assert sent == {option["properties"]["event"]["const"] for option in options}


def test_a_verdict_and_a_block_are_in_the_contract(guarded: Gateway) -> None:
    for reply in DECIDED:
        say(guarded, reply, reply)
        judged = called(guarded, "/v1/moderations", {"input": "What is this?"})
        assert judged.status_code == 200, judged.text
        for kind in ("request", "response"):
            guarding = {"input_type": kind, "texts": ["A cat"], "tool_calls": [CALL]}
            assert called(guarded, GUARDRAIL_PATH, guarding).status_code == 200
    say(guarded, REPLIES["no trace"])
    assert called(guarded, "/v1/moderations", {"input": "x"}, fails=True).status_code == 503


@pytest.mark.parametrize(
    ("path", "method"), [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
)
def test_a_key_is_asked_for_where_the_contract_says_so(path: str, method: str, guarded: Gateway) -> None:
    case = CONTRACT[path][method].Case(path_parameters={"model": ALIAS} if "{" in path else {})
    response = case.call(base_url=guarded.url)
    needs = DOCUMENT["paths"][path][method].get("security") != []
    assert (response.status_code == 401) == needs
    case.validate_response(response, checks=CHECKS)


def test_what_no_operation_answers_is_an_error_like_any_other(guarded: Gateway) -> None:
    schema = {**DOCUMENT, "$ref": "#/components/schemas/Error"}
    for path, status in (("/nowhere", 404), ("/v1/models/", 404), ("/tokenize", 405), (CHAT, 405)):
        answer = guarded.get(path, headers=AUTHORIZED)
        assert answer.status_code == status
        Draft202012Validator(schema).validate(answer.json())


def test_the_gateway_serves_its_contract_and_leaves_nothing_out(guarded: Gateway) -> None:
    served = guarded.get("/openapi.json").json()
    assert served["paths"] == json.loads(json.dumps(DOCUMENT["paths"]))
    routers = (models.router, moderations.router, guardrail.router, tokenize.router, system.router)
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    assert set(DOCUMENT["paths"]) == {CHAT, RESPONSES, *(route.path for route in routes)}


def test_the_document_is_sound_and_its_examples_fit() -> None:
    CONTRACT.validate()
    for name, schema in DOCUMENT["components"]["schemas"].items():
        meta.validate(schema)
        for example in schema.get("examples", ()):
            Draft202012Validator({**DOCUMENT, "$ref": f"#/components/schemas/{name}"}).validate(example)
    assert all(
        operation_described(operation)
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
    )


def asks_for_a_category(body: Any) -> bool:
    safety = body.get("safety") if isinstance(body, dict) else None
    return isinstance(safety, dict) and safety.get("policy_in_context") == "categorised"


def operation_described(operation: Json) -> bool:
    return bool(operation["summary"] and operation["tags"] and operation["operationId"])


def say(gateway: Gateway, *replies: Scripted) -> None:
    gateway.engine.replies.clear()
    gateway.engine.history.clear()
    gateway.engine.enqueue(*replies)


def called(gateway: Gateway, path: str, body: Json, *, fails: bool = False) -> schemathesis.Response:
    """The answer, which is in the contract."""
    case = CONTRACT[path]["POST"].Case(body=body, media_type="application/json")
    response = case.call(base_url=gateway.url, headers=AUTHORIZED)
    case.validate_response(response, checks=CHECKS[1:] if fails else CHECKS)
    return response


def operation_of(case: Case) -> Json:
    operation: Json = DOCUMENT["paths"][case.operation.path][case.operation.method.lower()]
    return operation


def events(text: str) -> list[dict[str, str]]:
    """Fields by name, of each event."""
    return [dict(line.split(": ", 1) for line in event.split("\n")) for event in text.split("\n\n") if event]


def assert_in_contract(event: Mapping[str, str], response: Json) -> None:
    name = response["content"]["text/event-stream"]["schema"]["$ref"].rpartition("/")[2]
    options = DOCUMENT["components"]["schemas"][name]["anyOf"]
    fitting = [option["properties"] for option in options if Draft202012Validator(option).is_valid(event)]
    assert fitting, f"no such event: {event}"
    if all("contentSchema" in option["data"] for option in fitting):
        schema = fitting[0]["data"]["contentSchema"]
        Draft202012Validator({**DOCUMENT, **schema}).validate(json.loads(event["data"]))
