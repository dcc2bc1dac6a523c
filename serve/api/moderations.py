"""POST /v1/moderations: OpenAI's shape, judged by our policies.

The categories are the policies, by their slugs. A score is 1 or 0: it is a verdict, and no probability.
Without a verdict there is no answer, and never "not flagged".
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from policies.catalog import Catalog
from serve.adapters.registry import Route
from serve.api.asking import route_of
from serve.api.judging import Hearing, Json, heard
from serve.errors import InvalidRequest
from serve.gate.own import Judgement

router = APIRouter()
MOST_INPUTS: Final = 32
"""Texts in one request, each judged by itself."""
_AT_ONCE: Final = 4
_OPENAIS = ("omni-moderation", "text-moderation")
"""Names that existing callers send: they mean whoever judges here."""


@router.post("/v1/moderations")
async def moderate(request: Request) -> Response:
    """Which policies a text, or a text with a picture, violates."""
    return await heard(request, "moderations", _moderated)


async def _moderated(body: Json, hearing: Hearing) -> Json:
    route = _route(body.get("model"), hearing)
    contents = _contents(body.get("input"))
    if route is not None:
        hearing.route = route
    limit = asyncio.Semaphore(_AT_ONCE)

    async def judged(content: Sequence[Any]) -> Judgement:
        async with limit:
            return await hearing.judged(await hearing.admitted(content, "input"), route)

    judgements = await _together([judged(content) for content in contents])
    catalog = hearing.parts.catalog
    return {
        "id": f"modr-{hearing.id}",
        "model": hearing.route.alias,
        "results": [_result(judgement, catalog) for judgement in judgements],
    }


def _route(model: Any, hearing: Hearing) -> Route | None:
    """None for whoever judges here."""
    if model is None or (isinstance(model, str) and model.startswith(_OPENAIS)):
        return None
    return route_of(model, hearing.caller, hearing.parts)


def _contents(given: Any) -> list[list[Any]]:
    """A message's parts for each thing to judge."""
    if isinstance(given, str):
        return [[_text(given)]]
    if not isinstance(given, list) or not given:
        raise InvalidRequest("input must be a text, a list of texts, or a list of parts", param="input")
    if len(given) > MOST_INPUTS:
        raise InvalidRequest(f"input may hold at most {MOST_INPUTS} entries", param="input")
    if all(isinstance(one, str) for one in given):
        return [[_text(one)] for one in given]
    return [given]


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


async def _together(coming: Sequence[Coroutine[Any, Any, Judgement]]) -> list[Judgement]:
    """All, or the first failure: the others are not waited for."""
    tasks = [asyncio.create_task(one) for one in coming]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _result(judgement: Judgement, catalog: Catalog) -> Json:
    slugs = {policy.id: policy.slug for policy in catalog.policies}
    held = {slugs[id_]: seen for id_, seen in judgement.policies.items() if id_ in slugs}
    return {
        "flagged": judgement.refuses,
        "categories": {slug: slug in held for slug in slugs.values()},
        "category_scores": {slug: float(slug in held) for slug in slugs.values()},
        "category_applied_input_types": {slug: sorted(held.get(slug, ())) for slug in slugs.values()},
        "safety": {
            "verdict": judgement.verdict,
            "citations": list(judgement.clauses),
            "policy_digest": catalog.digest,
            "adapter": judgement.route.version.adapter,
        },
    }
