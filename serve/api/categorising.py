"""`safety.policy_in_context: "categorised"`: which policy concerns a request, by the engine's own model.

One short call before the one that answers, in the words of the data pipeline (`policies.categorise`). A reply
that names no policy that there is, or several, is no category: the request is not answered without one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from policies.catalog import Catalog, Policy
from policies.categorise import UnreadableCategory, categoriser_messages, category_schema, read_category
from serve.adapters.registry import Route
from serve.engine.call import Call, Engines
from serve.engine.kinds import KINDS
from serve.errors import EngineRejected, Undecided
from serve.gate.own import Reply

Json = dict[str, Any]

_MOST_TOKENS: Final = 1024
"""A reasoning and one id."""
_PARAM: Final = "safety.policy_in_context"
_REFUSED: Final = "the engine refused to categorise the request: shorten it, or name policies yourself"
_UNCLEAR: Final = "the model named no policy that concerns the request; try again, or name policies yourself"


@dataclass(frozen=True, slots=True)
class Category:
    """The policy, or None where no policy has anything to say."""

    policy: Policy | None
    usage: Json = field(default_factory=dict)
    """What the call took, as the engine counted."""


async def category_of(
    messages: Sequence[Json], route: Route, engines: Engines, catalog: Catalog, request_id: str
) -> Category:
    """By what the user said last, with its pictures; raises Undecided, and what the engines raise."""
    version = route.version
    if version.bundle:
        # Adapters learned to judge and to answer, not to sort.
        version = replace(version, engine_name=None, bundle=None, manifest=None)
    text, pictures = _asked(messages)
    payload: Json = {
        "messages": categoriser_messages(text, catalog, images=pictures),
        "temperature": 0,
        "max_tokens": _MOST_TOKENS,
    }
    base = Route(route.alias, version)
    if KINDS[engines.kind_of(base)].strict:
        payload["structured_outputs"] = {"json": category_schema(catalog)}
    # The same prompt comes before every question: whoever has it in its cache is asked again.
    affinity = hashlib.blake2b(catalog.digest.encode(), digest_size=8).digest()
    reply = Reply(version.format)
    call = Call(base, payload, whole=True, request_id=request_id, affinity=affinity)
    try:
        async with engines.stream_chat(call) as batches:
            await reply.take(batches)
    except EngineRejected as error:
        # Its words are about a request that is not the caller's, and nobody scanned them.
        raise EngineRejected(_REFUSED, status=error.status, param=_PARAM) from None
    said = reply.text.rpartition(version.format.reasoning[-1].closing)[2]
    try:
        if not reply.is_whole:
            raise Undecided(_UNCLEAR)
        return Category(read_category(said, catalog), reply.usage)
    except UnreadableCategory as error:
        raise Undecided(_UNCLEAR) from error


def _asked(messages: Sequence[Json]) -> tuple[str, list[Json]]:
    """Text and pictures of the user's last message."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content") or ""
            parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            texts = [part["text"] for part in parts if part.get("type") == "text"]
            return "\n".join(texts), [part for part in parts if part.get("type") == "image_url"]
    return "", []
