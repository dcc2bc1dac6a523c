"""The SDK's client for a gateway: OpenAI's environment stays at home, and no reply is generated twice."""

from collections.abc import Mapping
from typing import Any

import httpx2
from openai import APITimeoutError, OpenAI


class GatewaySdk(OpenAI):
    """What it sends is what its caller gave; copies (`with_options`) are of this class, too."""

    def __init__(
        self,
        *,
        admin_api_key: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        # The SDK fills these from the environment, and headers there may hold OpenAI's key.
        self.admin_api_key = admin_api_key
        self.organization = organization
        self.project = project
        self._custom_headers = default_headers or {}

    def _send_request(self, request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        """As the SDK does, which asks again after other failures, but not after one of its own errors.

        Whoever waits for a reply too long has paid for it, and would pay for the next one as well.
        """
        try:
            return super()._send_request(request, stream=stream, **options)
        except httpx2.TimeoutException as error:
            raise APITimeoutError(request=request) from error
