"""Every failure a caller can see: one tree, one body, OpenAI's `{"error": {message, type, param, code}}`.

GatewayError
  x InvalidRequest            400  the request cannot be answered as it is
      + InvalidImage          400  a picture is broken, too large or of an unsupported type
      + UnsupportedParameter  400  a parameter that would let something unscanned out, or that nothing reads
      + ImageUnavailable      400  a picture's URL is not allowed, or could not be fetched
      + EngineRejected        4xx  the engine refused it: prompt longer than the context, bad parameter
  x Unauthenticated           401  no key, or not one of ours
  x Forbidden                 403  the key does not open this part of the API
  x NotFound                  404  no such path
      + UnknownModel          404  no such alias; never forwarded to an engine
  x MethodNotAllowed          405
  x BodyTimeout               408  the body took longer than limits.body_s
  x BodyTooLarge              413
  x UnsupportedBody           415  compressed in a way that is not read here
  x HeadTooLarge              431  the request line and headers are more than is read here
  x RateLimited               429  the key has used what it may
  x InternalFailure           500  a bug of ours; the log has it under the request id
  x Overloaded                503  as many requests as allowed are under way, and as many waiting
  x Stopping                  503  the gateway is being stopped
  x Undecided                 503  our model was asked to judge and gave no verdict
  x LedgerFull                503  no audit row could be kept
  x EngineUnavailable         503  the engine is starting, restarting or gone
      + EngineFailed          503  it failed while answering
  x EngineTimeout             504  it fell silent

Messages say what the caller can do, and never hold prompt text, keys or host names.
After the first byte of a reply an error is its last event, and no [DONE] follows.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

_SAYS_TOO_LONG = ("maximum context length", "maximum model length")
TOO_LONG = "context_length_exceeded"
"""The one code of `EngineRejected` that is not its own."""


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


class UnsupportedParameter(InvalidRequest):
    """A parameter that would let something unscanned out, or that nothing here reads."""

    code = "unsupported_parameter"


class ImageUnavailable(InvalidRequest):
    """A picture's URL is not allowed, or could not be fetched; which of both is not told."""

    code = "image_unavailable"


class EngineRejected(InvalidRequest):
    """The engine refused the request; its status and message are passed on."""

    code = "engine_rejected"

    def __init__(self, message: str, *, status: int, param: object = None) -> None:
        """`param`: as the engine has it, which may be anything."""
        super().__init__(message, param=param if isinstance(param, str) else None)
        self.status = status
        # The only refusal that callers need to tell apart, and vLLM gives it no code of its own.
        if any(sign in message for sign in _SAYS_TOO_LONG):
            self.code = TOO_LONG


class Unauthenticated(GatewayError):
    """No key, or not one of ours."""

    status, type, code = 401, "authentication_error", "invalid_api_key"

    def headers(self) -> Mapping[str, str]:
        """RFC 9110 wants a challenge beside every 401."""
        return {"www-authenticate": "Bearer"}


class Forbidden(GatewayError):
    """The key does not open this part of the API."""

    status, type, code = 403, "permission_error", "forbidden"


class NotFound(GatewayError):
    """No such path."""

    status, type, code = 404, "invalid_request_error", "not_found"


class UnknownModel(NotFound):
    """No such alias."""

    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not."""

    status, type, code = 405, "invalid_request_error", "method_not_allowed"

    def __init__(self, allowed: str) -> None:
        """`allowed`: the path's methods, separated by commas."""
        super().__init__("this path does not know that method")
        self._allowed = allowed

    def headers(self) -> Mapping[str, str]:
        """RFC 9110 wants them beside every 405."""
        return {"allow": self._allowed}


class BodyTimeout(GatewayError):
    """The body took longer than limits.body_s."""

    status, type, code = 408, "invalid_request_error", "body_timeout"

    def headers(self) -> Mapping[str, str]:
        """The rest of the body is not waited for."""
        return {"connection": "close"}


class BodyTooLarge(GatewayError):
    """The body is larger than limits.body_bytes."""

    status, type, code = 413, "invalid_request_error", "body_too_large"

    def headers(self) -> Mapping[str, str]:
        """The rest of the body is not worth reading."""
        return {"connection": "close"}


class UnsupportedBody(GatewayError):
    """The body is encoded in a way that is not read here."""

    status, type, code = 415, "invalid_request_error", "unsupported_body"


class HeadTooLarge(GatewayError):
    """The request line and headers are larger than limits.head_bytes."""

    status, type, code = 431, "invalid_request_error", "head_too_large"


class RateLimited(GatewayError):
    """The key has used what it may; `retry_after_s` says when it may again."""

    status, type, code = 429, "rate_limit_error", "rate_limited"

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self._wait_s = wait_s

    def headers(self) -> Mapping[str, str]:
        """Whole seconds, rounded up (RFC 9110, 10.2.3)."""
        return {"retry-after": str(max(1, math.ceil(self._wait_s)))}


class InternalFailure(GatewayError):
    """A bug of ours."""


class Overloaded(GatewayError):
    """As many requests as limits.in_flight are under way, and limits.queue waiting."""

    status, code, retry_after_s = 503, "overloaded", 1


class Stopping(GatewayError):
    """The gateway is being stopped: another one, or this one later, will answer."""

    status, code, retry_after_s = 503, "stopping", 5


class Undecided(GatewayError):
    """Our model was asked to judge and gave no verdict: that is never "not flagged"."""

    status, code, retry_after_s = 503, "undecided", 1


class LedgerFull(GatewayError):
    """No audit row could be kept, and the operator wants no request without one."""

    status, code, retry_after_s = 503, "audit_unavailable", 30


class EngineUnavailable(GatewayError):
    """The engine is starting, restarting or gone."""

    status, code, retry_after_s = 503, "engine_unavailable", 5


class EngineFailed(EngineUnavailable):
    """The engine failed while answering."""

    code = "engine_failed"


class EngineTimeout(GatewayError):
    """The engine fell silent."""

    status, code = 504, "engine_timeout"


def every_kind() -> list[type[GatewayError]]:
    """The whole tree."""
    kinds: list[type[GatewayError]] = [GatewayError]
    for kind in kinds:  # grows while it is walked through
        kinds += kind.__subclasses__()
    return kinds


def every_code() -> list[str]:
    """All that an error body may have for its code."""
    return sorted({kind.code for kind in every_kind()} | {TOO_LONG})


def from_status(status: int, headers: Mapping[str, str] | None = None) -> GatewayError:
    """The error for a status that a framework raised, with its headers."""
    if status == HTTPStatus.NOT_FOUND:
        return NotFound("no such path; see /openapi.json for the ones there are")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed((headers or {}).get("Allow", ""))
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return InvalidRequest(HTTPStatus(status).phrase)
    return InternalFailure("the gateway failed; the request id finds it in the log")
