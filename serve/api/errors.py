"""Answers for failures: the one place where an exception becomes an HTTP response."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serve.api.wire import AsciiResponse
from serve.errors import GatewayError, InternalFailure, InvalidRequest, from_status
from serve.observe.metrics import Metrics
from serve.observe.requests import REQUEST_ID_HEADER, request_id_of


class ErrorAnswers:
    """Makes a response of every failure, and counts it by its code."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def install(self, app: FastAPI) -> None:
        """Take over from the framework's own error pages."""
        app.add_exception_handler(GatewayError, self.on_error)
        app.add_exception_handler(HTTPException, self.on_error)
        app.add_exception_handler(RequestValidationError, self.on_error)
        # Starlette answers with this and raises on, so the server logs the traceback.
        app.add_exception_handler(Exception, self.on_error)

    def count(self, error: GatewayError) -> None:
        """For failures that are told within a stream."""
        self._metrics.errors.labels(error.code).inc()

    async def on_error(self, request: Request, error: Exception) -> AsciiResponse:
        """The answer to a request that failed before its first byte."""
        failure = _as_gateway_error(error)
        self.count(failure)
        headers = {**failure.headers(), REQUEST_ID_HEADER: request_id_of(request.scope)}
        return AsciiResponse(failure.body(), status_code=failure.status, headers=headers)


def _as_gateway_error(error: Exception) -> GatewayError:
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, HTTPException):
        return from_status(error.status_code, error.headers)
    if isinstance(error, RequestValidationError):
        return InvalidRequest("the request's parameters do not fit; see /openapi.json")
    return InternalFailure("the gateway failed; the request id finds it in the log")
