"""A row of a data set as the harness takes it: picture and question as an application would send them.

A row whose picture cannot be had stays in the set and is never asked: it counts as unscored.
"""

import base64
from collections.abc import Mapping
from typing import Any

from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, ContentImage, ContentText

from align.sources.found import Found
from align.sources.images import UnusableImage, verified
from policies.prompt import Message, student_messages

FAULT = "fault"
"""Key of a sample's metadata: why it cannot be asked."""
CATEGORY = "category"
"""Key of a sample's metadata: what the tables by category go by."""
REQUEST = "request"
"""Key of a sample's metadata: what is asked, the same for all pictures over which it is asked."""
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


def sample_of(
    found: Found,
    category: str,
    question: str | None = None,
    target: str = "",
    request: str | None = None,
    **more: str,
) -> Sample:
    """One row; `question` stands for the row's instruction where the benchmark words it differently.

    `request` is what is asked where the words alone do not say it: they are the request otherwise.
    """
    words = question or found.instruction
    metadata: dict[str, Any] = {**found.meta, **more, CATEGORY: category, REQUEST: request or words}
    parts: list[Mapping[str, Any]] = []
    try:
        parts.append(image_part(found.image))
    except UnusableImage as error:
        metadata[FAULT] = found.fault or f"its picture cannot be used: {error}"
    return Sample(
        id=found.key,
        input=messages(student_messages(words, parts)),
        target=target,
        metadata=metadata,
    )


def request_of(sample: Sample) -> str:
    """What a sample asks: its task's word for it, else the words that it is asked in."""
    if told := (sample.metadata or {}).get(REQUEST):
        return str(told)
    if isinstance(sample.input, str):
        return sample.input
    return "\n".join(message.text for message in sample.input if message.role == "user")


def image_part(content: bytes) -> dict[str, Any]:
    """A picture's file as a content part; UnusableImage where no model could take it."""
    picture = verified(content)
    data = base64.b64encode(picture.content).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{_TYPES[picture.suffix]};base64,{data}"}}


def messages(asked: list[Message]) -> list[ChatMessage]:
    """OpenAI's form in the harness's own."""
    return [_message(message["role"], message["content"]) for message in asked]


def _message(role: str, content: Any) -> ChatMessage:
    if role == "system":
        return ChatMessageSystem(content=content)
    return ChatMessageUser(content=[_part(part) for part in content])


def _part(part: Mapping[str, Any]) -> ContentImage | ContentText:
    if part["type"] == "image_url":
        return ContentImage(image=part["image_url"]["url"])
    return ContentText(text=part["text"])
