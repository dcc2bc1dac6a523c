"""Bounds a request's body before anything parses it, whether its length was announced or not."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.errors import BodyTooLarge, UnsupportedBody


class BodyCap:
    """Pure ASGI: raises when the body is, or turns out to be, too large."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def receive_capped() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit_bytes:
                raise self._too_large()
            return message

        self._check_headers(Headers(scope=scope))
        await self._app(scope, receive_capped, send)

    def _check_headers(self, headers: Headers) -> None:
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._limit_bytes:
            raise self._too_large()
        if headers.get("content-encoding", "identity") != "identity":
            raise UnsupportedBody("send the body uncompressed: content-encoding is not read yet")

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"the body may hold {self._limit_bytes} bytes; send a smaller picture")
