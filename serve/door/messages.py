"""The messages of a chat request, checked part by part and rebuilt, so nothing else gets through.

Engines take more kinds of parts than are guarded here, some of which fetch URLs or load pickled tensors;
a part that is not known is refused by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serve.door.pictures import Picture, Pictures
from serve.errors import InvalidRequest

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Admitted:
    """A conversation as the engine may have it."""

    messages: list[Json]
    pictures: tuple[Picture, ...]
    """In order; the same that the messages hold as URLs."""


async def admit_conversation(messages: Sequence[Any], pictures: Pictures, most_images: int) -> Admitted:
    """The same conversation with every picture drawn anew.

    Raises InvalidRequest, InvalidImage and ImageUnavailable, each naming its message and part.
    """
    door = _Door(pictures, most_images)
    admitted = [await door.admit(message, f"messages[{index}]") for index, message in enumerate(messages)]
    return Admitted(admitted, tuple(door.pictures))


class _Door:
    """One request's messages, and the pictures they held so far."""

    def __init__(self, pictures: Pictures, most_images: int) -> None:
        self.pictures: list[Picture] = []
        self._source = pictures
        self._most_images = most_images

    async def admit(self, message: Any, where: str) -> Json:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidRequest(f"{where} must be an object with a role", param=where)
        content = message.get("content")
        if content is None or isinstance(content, str):
            return message
        if not isinstance(content, list):
            raise InvalidRequest(f"{where}.content must be a string or a list of parts", param=where)
        named = [(part, f"{where}.content[{index}]") for index, part in enumerate(content)]
        return {**message, "content": [await self._admit_part(part, name) for part, name in named]}

    async def _admit_part(self, part: Any, where: str) -> Json:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            return {"type": "text", "text": part["text"]}
        if kind == "refusal" and isinstance(part.get("refusal"), str):
            return {"type": "refusal", "refusal": part["refusal"]}
        if kind == "image_url":
            return await self._admit_image(part.get("image_url"), where)
        named = f"{kind[:40]!r}" if isinstance(kind, str) else "without a known type"
        raise InvalidRequest(
            f"{where}: a part {named} is not supported; send text and image_url", param=where
        )

    async def _admit_image(self, image: Any, where: str) -> Json:
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str):
            raise InvalidRequest(f"{where}.image_url must hold a url", param=where)
        if len(self.pictures) >= self._most_images:
            raise InvalidRequest(f"at most {self._most_images} images may come with a request", param=where)
        picture = await self._source.admit(url, where)
        self.pictures.append(picture)
        return {"type": "image_url", "image_url": {"url": picture.url}}
