"""Every failure a caller can see: one tree, one body, OpenAI's `{"error": {message, type, param, code}}`.

GatewayError
  x InvalidRequest            400  the request cannot be answered as it is
      + InvalidImage          400  a picture is broken, too large or of an unsupported type
      + EngineRejected        4xx  the engine refused it: prompt longer than the context, bad parameter
  x Unauthenticated           401  no key, or not one of ours
  x NotFound                  404  no such path
      + UnknownModel          404  no such alias; never forwarded to an engine
  x MethodNotAllowed          405
  x BodyTooLarge              413
  x UnsupportedBody           415  compressed bodies, for now
  x InternalFailure           500  a bug of ours; the log has it under the request id
  x Overloaded                503  as many requests as allowed are under way
  x EngineUnavailable         503  the engine is starting, restarting or gone
      + EngineFailed          503  it failed while answering
  x EngineTimeout             504  it fell silent

Messages say what the caller can do, and never hold prompt text, keys or host names.
After the first byte of a reply an error is its last event, and no [DONE] follows.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

_TOO_LONG = ("maximum context length", "maximum model length")


class GatewayError(Exception):
    """Base of everything that is answered with an error body."""

    status: int = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def body(self) -> dict[str, Any]:
        """The body of the answer, and of the last event of a stream."""
        fields = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": fields}

    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the failure."""
        return {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}


class InvalidRequest(GatewayError):
    """The request cannot be answered as it is."""

    status, type, code = 400, "invalid_request_error", "invalid_request"


class InvalidImage(InvalidRequest):
    """A picture is broken, too large or of an unsupported type."""

    code = "invalid_image"


class EngineRejected(InvalidRequest):
    """The engine refused the request; its status and message are passed on."""

    code = "engine_rejected"

    def __init__(self, message: str, *, status: int, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.status = status
        # The only refusal that callers need to tell apart, and vLLM gives it no code of its own.
        if any(sign in message for sign in _TOO_LONG):
            self.code = "context_length_exceeded"


class Unauthenticated(GatewayError):
    """No key, or not one of ours."""

    status, type, code = 401, "authentication_error", "invalid_api_key"

    def headers(self) -> Mapping[str, str]:
        """RFC 9110 wants a challenge beside every 401."""
        return {"www-authenticate": "Bearer"}


class NotFound(GatewayError):
    """No such path."""

    status, type, code = 404, "invalid_request_error", "not_found"


class UnknownModel(NotFound):
    """No such alias."""

    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not."""

    status, type, code = 405, "invalid_request_error", "method_not_allowed"


class BodyTooLarge(GatewayError):
    """The body is larger than limits.body_bytes."""

    status, type, code = 413, "invalid_request_error", "body_too_large"

    def headers(self) -> Mapping[str, str]:
        """The rest of the body is not worth reading."""
        return {"connection": "close"}


class UnsupportedBody(GatewayError):
    """The body is encoded in a way that is not read here."""

    status, type, code = 415, "invalid_request_error", "unsupported_body"


class InternalFailure(GatewayError):
    """A bug of ours."""


class Overloaded(GatewayError):
    """As many requests as limits.in_flight are under way."""

    status, code, retry_after_s = 503, "overloaded", 1


class EngineUnavailable(GatewayError):
    """The engine is starting, restarting or gone."""

    status, code, retry_after_s = 503, "engine_unavailable", 5


class EngineFailed(EngineUnavailable):
    """The engine failed while answering."""

    code = "engine_failed"


class EngineTimeout(GatewayError):
    """The engine fell silent."""

    status, code = 504, "engine_timeout"


def from_status(status: int) -> GatewayError:
    """The error for a status that a framework raised."""
    if status == HTTPStatus.NOT_FOUND:
        return NotFound("no such path; see /openapi.json for the ones there are")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed("this path does not know that method")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvalidRequest(HTTPStatus(status).phrase)
    return InternalFailure("the gateway failed; the request id finds it in the log")
