"""The endpoints that judge, asked over HTTP, in front of engines and guards with a script."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api import guardrail, moderations
from serve.errors import GatewayError
from serve.gate.own import OwnJudge
from serve.observe.requests import RequestLog
from serve.options.gate import GuardrailSettings
from tests.serve.answering import Answering, Said

Json = dict[str, Any]
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAA"
    "AElFTkSuQmCC"
)


def reasoning(*steps: str, verdict: str = "refuse [P19.R3]") -> str:
    """What the model says until it is stopped."""
    return "\n".join(("<think>", *steps, f"Verdict: {verdict}", ""))


REFUSES = reasoning(
    "[visual] The picture shows what is forbidden. [P19.D2]",
    "[textual] The request asks for help with it. [P08.D1]",
    "[visual+textual] Together they are worse. [P19.D1]",
)
COMPLIES = reasoning("[textual] A harmless question that borders on it. [P19.B1]", verdict="comply")


@dataclass
class Judging:
    """The running endpoints."""

    around: Answering
    client: httpx.AsyncClient
    app: ASGIApp

    def says(self, *texts: str, finish: str | None = "stop") -> None:
        """What the model will say."""
        self.around.say(*(Said(text, finish=finish) for text in texts))

    async def moderate(self, given: Any, **fields: Any) -> httpx.Response:
        return await self.client.post("/v1/moderations", json={"input": given, **fields})

    async def guard(self, input_type: str = "request", **fields: Any) -> httpx.Response:
        """As LiteLLM 1.109 asks."""
        body = {
            "litellm_call_id": "call-1",
            "litellm_trace_id": "trace-1",
            "texts": [],
            "images": None,
            "tools": None,
            "tool_calls": None,
            "structured_messages": None,
            "request_data": {"user_api_key_hash": "0" * 64},
            "request_headers": {"user-agent": "[present]"},
            "additional_provider_specific_params": {},
            "input_type": input_type,
            **fields,
        }
        return await self.client.post("/beta/litellm_basic_guardrail_api", json=body)


@asynccontextmanager
async def judging(running: Answering, **options: Any) -> AsyncIterator[Judging]:
    """Both endpoints with what runs already, until the context is left; `options` of the guardrail."""
    running.forget()
    parts = running.parts
    judge = OwnJudge(parts.engines, parts.registry, parts.catalog, GuardrailSettings(**options))
    app = FastAPI()
    parts.errors.install(app)
    app.include_router(moderations.router)
    app.include_router(guardrail.router)
    logged = RequestLog(ExceptionMiddleware(app, handlers={GatewayError: parts.errors.on_error}))

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {}).update(parts=parts, judge=judge)
        await logged(scope, receive, send)

    transport = httpx.ASGITransport(with_state)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield Judging(running, client, with_state)
