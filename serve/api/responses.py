"""POST /v1/responses: OpenAI's, plus `safety`. Nothing is kept between requests."""

from starlette.types import Receive, Scope, Send

from serve.api.answering import Exchange
from serve.api.asking import CallerLeft, asked_of, read_body
from serve.api.parts import parts_of
from serve.api.responses_request import as_chat, echo_of
from serve.api.responses_writer import ResponsesWriter
from serve.door.caller import caller_of
from serve.observe.requests import record_of

PATH = "/v1/responses"


async def answer_responses(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application; raises a GatewayError before the first byte of its answer."""
    parts = parts_of(scope)
    record = record_of(scope)
    try:
        body = await read_body(receive)
    except CallerLeft:
        parts.records.left(record)
        return
    chat = as_chat(body.fields)
    asked = asked_of(chat, body.digest, "responses", caller_of(scope), parts)
    tells_steps = body.fields.get("safety") is not None
    writer = ResponsesWriter(echo_of(body.fields), asked.handling.shown, tells_steps=tells_steps)
    exchange = Exchange(chat, asked, writer, parts, record)
    del body, chat
    await exchange(scope, receive, send)
