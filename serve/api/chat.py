"""POST /v1/chat/completions: OpenAI's, plus `reasoning` and `safety`."""

from starlette.types import Receive, Scope, Send

from serve.api.answering import Exchange
from serve.api.asking import CallerLeft, asked_of, read_body
from serve.api.chat_writer import ChatWriter
from serve.api.parts import parts_of
from serve.door.caller import caller_of
from serve.observe.requests import record_of

PATH = "/v1/chat/completions"


async def answer_chat(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application; raises a GatewayError before the first byte of its answer."""
    parts = parts_of(scope)
    record = record_of(scope)
    try:
        body = await read_body(receive)
    except CallerLeft:
        parts.records.left(record)
        return
    asked = asked_of(body.fields, body.digest, "chat", caller_of(scope), parts)
    writer = ChatWriter(asked.handling.shown, tells_usage=asked.wants_usage)
    exchange = Exchange(body.fields, asked, writer, parts, record)
    del body
    await exchange(scope, receive, send)
