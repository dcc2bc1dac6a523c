"""POST /beta/litellm_basic_guardrail_api: our guards and our model as a guardrail of LiteLLM's.

Nothing is rewritten: a text passes or is blocked; with a key that only observes it passes, and the audit says
what enforcing would have done. Whatever the model cannot judge is an error in every mode, which LiteLLM takes
for a block unless its operator says otherwise.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from policies.trimming import MAX_TEXT_CHARS
from serve.api.inputs import check_count
from serve.api.judging import Hearing, Json, Material, heard
from serve.errors import InvalidRequest
from serve.gate.calls import CallsUnderWay
from serve.gate.formats.litellm_generic import PATH
from serve.gate.values import Conversation, Excerpt, Ruling, Stage
from serve.gate.wording import WITHHELD

router = APIRouter()
INPUT_TYPES: Final = ("request", "response")


@router.post(PATH)
async def guard(request: Request) -> Response:
    """Whether texts and pictures of a request or a reply pass."""
    return await heard(request, "guardrail", _guarded)


async def _guarded(body: Json, hearing: Hearing) -> Json:
    input_type = body.get("input_type")
    if input_type not in INPUT_TYPES:
        raise InvalidRequest("input_type must be request or response", param="input_type")
    is_reply = input_type == "response"
    texts = _strings(body, "texts")
    pictures = [{"type": "image_url", "image_url": {"url": _url(one)}} for one in _strings(body, "images")]
    check_count(dict.fromkeys(texts), hearing.parts.limits.texts_per_request, "texts")
    shown = [*texts, *_calls(body)]
    content = [*pictures, *({"type": "text", "text": text} for text in shown)]
    material = await hearing.admitted(content, "images") if content else None
    objects = material is not None and (
        await _panel_blocks(shown, material, hearing, is_reply=is_reply)
        or await _model_blocks(material, hearing, is_reply=is_reply)
    )
    blocks = objects and hearing.may_block(Stage.ANSWER if is_reply else Stage.INPUT)
    return {
        "action": "BLOCKED" if blocks else "NONE",
        "blocked_reason": WITHHELD if blocks else None,
        "texts": None,
        "images": None,
        # In a stream: how much of each text's end may still become part of what is forbidden.
        "stream_holdback_chars": [hearing.parts.panel.reach for _ in texts] if is_reply else None,
    }


async def _panel_blocks(
    shown: Iterable[str], material: Material, hearing: Hearing, *, is_reply: bool
) -> bool:
    panel = hearing.parts.panel
    pngs = tuple(picture.png for picture in material.pictures)
    about = Conversation(
        "" if is_reply else material.text, pngs, hearing.route.alias, hearing.record.request_id
    )
    stage = Stage.ANSWER if is_reply else Stage.INPUT
    excerpts = [Excerpt(stage, text, 0, 0, final=True) for text in dict.fromkeys(shown)]
    excerpts += [Excerpt(Stage.IMAGE, "", 0, 0, final=True, picture=png) for png in pngs]
    ruled = [panel.examine(excerpt, about) for excerpt in excerpts]
    coming = [ruling for ruling in ruled if not isinstance(ruling, Ruling)]
    try:
        with hearing.waiting():
            rulings = [ruling if isinstance(ruling, Ruling) else await ruling for ruling in ruled]
    finally:
        for future in coming:
            future.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
    hearing.runs += [run for ruling in rulings for run in ruling.runs]
    return any(ruling.blocks for ruling in rulings)


async def _model_blocks(material: Material, hearing: Hearing, *, is_reply: bool) -> bool:
    if is_reply and not hearing.judge.judges_responses:
        return False
    return (await hearing.judged(material)).refuses


def _strings(body: Json, name: str) -> list[str]:
    given = body.get(name)
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InvalidRequest(f"{name} must be a list of strings", param=name)
    return given


def _url(image: str) -> str:
    """LiteLLM sends URLs, and base64 as it is."""
    is_url = image[:5].lower() == "data:" or "://" in image[:10]
    return image if is_url else f"data:image/png;base64,{image}"


def _calls(body: Json) -> list[str]:
    """Tool calls as text."""
    calls: Any = [] if body.get("tool_calls") is None else body["tool_calls"]
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise InvalidRequest("tool_calls must be a list of objects", param="tool_calls")
    if not calls:
        return []
    under_way = CallsUnderWay()
    under_way.add([{**call, "index": index} for index, call in enumerate(calls)])
    if under_way.chars > MAX_TEXT_CHARS:
        raise InvalidRequest(f"tool_calls may hold at most {MAX_TEXT_CHARS} characters", param="tool_calls")
    return [under_way.spelled()]
