"""A judge whose every word is scripted, to see what is made of those that keep to no protocol."""

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput, ModelUsage, get_model

_KEY = re.compile(r'beginning with this key.*\n\{"key": "([0-9a-f]+)"')


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a judge."""

    messages: list[ChatMessage]
    config: GenerateConfig

    @property
    def system(self) -> str:
        return self.messages[0].text

    @property
    def key(self) -> str:
        found = _KEY.search(self.system)
        assert found
        return found[1]

    @property
    def user(self) -> str:
        return self.messages[1].text

    @property
    def material(self) -> Any:
        return json.loads(self.user)

    @property
    def pictures(self) -> list[str]:
        content = self.messages[1].content
        assert isinstance(content, list)
        return [part.image for part in content if part.type == "image"]

    def verdict(self, label: str, reason: str = "because") -> str:
        return json.dumps({"key": self.key, "reason": reason, "label": label})


Said = str | ModelOutput


class ScriptedJudge:
    """Says what the script makes of a request, and keeps every request."""

    def __init__(self, script: Callable[[Asked], Said | Awaitable[Said]], name: str = "judge") -> None:
        self.history: list[Asked] = []
        self._script = script
        self._name = name

    def model(self, config: GenerateConfig | None = None) -> Model:
        return get_model(f"mockllm/{self._name}", config=config, custom_outputs=self._answer, memoize=False)

    async def _answer(
        self, messages: list[ChatMessage], _: Any, __: Any, config: GenerateConfig
    ) -> ModelOutput:
        asked = Asked(messages, config)
        self.history.append(asked)
        said = self._script(asked)
        if isawaitable(said):
            said = await said
        return said_by(self._name, said)


def said_by(name: str, said: Said) -> ModelOutput:
    """With its tokens counted: the harness would do it with a vocabulary that it downloads."""
    output = ModelOutput.from_content(name, said) if isinstance(said, str) else said
    return output.model_copy(update={"usage": ModelUsage()})


def voting(label: str, name: str = "judge") -> Model:
    """Keeps to the protocol and always says the same."""
    return ScriptedJudge(lambda asked: asked.verdict(label), name).model()
