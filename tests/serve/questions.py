"""Questions to a gateway with a real engine: situations of the lab, asked through the official SDK."""

import base64
import io
from typing import Any

from openai.types.chat import ChatCompletion

from align.mini.scenes import render
from align.mini.world import Situation
from tests.serve.gateways import ALIAS, Gateway


def asked(situation: Situation, **fields: Any) -> dict[str, Any]:
    """A situation as a chat request, as the SDK takes it."""
    out = io.BytesIO()
    render(situation.scene).save(out, "PNG")
    url = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": situation.instruction},
    ]
    defaults = {"model": ALIAS, "temperature": 0, "max_tokens": 500}
    return {**defaults, "messages": [{"role": "user", "content": parts}], **fields}


def create(gateway: Gateway, **request: Any) -> Any:
    """Through the official SDK; a CPU may need minutes for a batch."""
    client = gateway.openai.with_options(timeout=600)
    return client.chat.completions.create(**request)


def safety_of(reply: ChatCompletion) -> dict[str, Any]:
    return reply.choices[0].message.safety  # type: ignore[attr-defined, no-any-return]
