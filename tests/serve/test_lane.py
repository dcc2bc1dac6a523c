"""Claims about the express lane: which paths it answers, and what the framework behind it still does."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve.api.lane import Lane
from serve.errors import MethodNotAllowed

pytestmark = pytest.mark.anyio


class Noting:
    """An application that notes what came to it."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)


async def _no_message() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _no_send(message: Message) -> None:
    raise AssertionError(message)


def scope(method: str, path: str, **fields: Any) -> Scope:
    return {"type": "http", "method": method, "path": path, **fields}


async def test_a_path_of_the_lane_is_answered_without_the_framework() -> None:
    framework, endpoint = Noting(), Noting()
    asked = scope("POST", "/v1/chat/completions")
    await Lane(framework, {("POST", "/v1/chat/completions"): endpoint})(asked, _no_message, _no_send)
    assert endpoint.scopes == [asked]
    assert framework.scopes == []


async def test_the_log_line_finds_the_path_of_the_lane() -> None:
    endpoint = Noting()
    asked = scope("POST", "/v1/responses")
    await Lane(Noting(), {("POST", "/v1/responses"): endpoint})(asked, _no_message, _no_send)
    assert endpoint.scopes[0]["route"].path == "/v1/responses"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions/", "/V1/chat/completions", ""])
async def test_any_other_path_goes_to_the_framework(path: str) -> None:
    framework, endpoint = Noting(), Noting()
    lane = Lane(framework, {("POST", "/v1/chat/completions"): endpoint})
    await lane(scope("POST", path), _no_message, _no_send)
    assert len(framework.scopes) == 1
    assert endpoint.scopes == []


async def test_another_method_is_refused_as_everywhere() -> None:
    lane = Lane(Noting(), {("POST", "/v1/chat/completions"): Noting()})
    with pytest.raises(MethodNotAllowed):
        await lane(scope("GET", "/v1/chat/completions"), _no_message, _no_send)


async def test_what_is_no_request_goes_to_the_framework() -> None:
    framework = Noting()
    await Lane(framework, {})({"type": "lifespan"}, _no_message, _no_send)
    assert framework.scopes == [{"type": "lifespan"}]
