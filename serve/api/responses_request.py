"""A responses request as the chat request that asks for the same; what has no such form is refused by name.

Nothing is kept between requests here, so whatever refers to something kept is refused as well.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from serve.api.parameters import says_more
from serve.errors import InvalidRequest, UnsupportedParameter

Json = dict[str, Any]

REFUSED: Mapping[str, tuple[object, ...]] = {
    "store": (False,),
    "background": (False,),
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "include": ([],),
    "max_tool_calls": (),
    "truncation": ("disabled",),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "context_management": ([],),
    "moderation": (),
    "image": (),
    "access_programs": (),
    "n": (1,),
    "messages": (),
}
"""Values with which they say nothing; any other is refused. null always passes."""
_RENAMED = {"max_output_tokens": "max_completion_tokens"}
_ECHOED: Json = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
"""Fields of a response that repeat its request, and what they are where it says nothing."""
LABELS = (
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
)
"""For the caller's own books: they change no reply, and no engine gets them."""
_READ = frozenset(
    {*REFUSED, *_RENAMED, *LABELS, "input", "instructions", "reasoning", "text", "tools", "tool_choice"}
)


def as_chat(body: Json) -> Json:
    """The chat request; raises InvalidRequest and UnsupportedParameter, which name the parameter."""
    for name, harmless in REFUSED.items():
        if says_more(body.get(name), harmless):
            raise UnsupportedParameter(f"{name} is not supported here: leave it out", param=name)
    chat = {name: value for name, value in body.items() if name not in _READ}
    chat |= {new: body[old] for old, new in _RENAMED.items() if body.get(old) is not None}
    chat |= _reasoning(body.get("reasoning"))
    chat |= _text(body.get("text"))
    chat |= _tools(body)
    chat["messages"] = [*_instructions(body.get("instructions")), *_messages(body.get("input"))]
    return chat


def echo_of(body: Json) -> Json:
    """What every response repeats of its request."""
    return {name: body[name] if body.get(name) is not None else usual for name, usual in _ECHOED.items()}


def _reasoning(reasoning: Any) -> Json:
    if reasoning is None:
        return {}
    if not isinstance(reasoning, dict):
        raise InvalidRequest("reasoning must be an object", param="reasoning")
    for name, value in reasoning.items():
        if name != "effort" and value is not None:
            raise UnsupportedParameter(
                f"reasoning.{name} is not supported: reasoning is returned as it is",
                param=f"reasoning.{name}",
            )
    return {"reasoning_effort": reasoning["effort"]} if reasoning.get("effort") is not None else {}


def _text(text: Any) -> Json:
    if text is None:
        return {}
    form = text.get("format") if isinstance(text, dict) else text
    if not isinstance(text, dict) or not isinstance(form, dict | None):
        raise InvalidRequest("text must be an object, and so must text.format", param="text")
    for name, value in text.items():
        if name != "format" and says_more(value, ("medium",) if name == "verbosity" else ()):
            raise UnsupportedParameter(f"text.{name} is not supported: leave it out", param=f"text.{name}")
    form = {"type": "text"} if form is None else dict(form)
    kind = form.pop("type", None)
    if kind == "text":
        return {}
    if kind == "json_schema":
        return {"response_format": {"type": kind, "json_schema": form}}
    return {"response_format": {"type": kind, **form}}


def _tools(body: Json) -> Json:
    chat: Json = {}
    tools = [] if body.get("tools") is None else _list(body["tools"], "tools")
    if tools:
        chat["tools"] = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") != "function" or not isinstance(choice.get("name"), str):
            raise UnsupportedParameter("tool_choice: only functions can be chosen", param="tool_choice")
        choice = {"type": "function", "function": {"name": choice["name"]}}
    return chat if choice is None else {**chat, "tool_choice": choice}


def _tool(tool: Any, where: str) -> Json:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        kind = tool.get("type") if isinstance(tool, dict) else None
        named = f" of type {kind[:40]!r}" if isinstance(kind, str) else ""
        raise UnsupportedParameter(
            f"{where}: a tool{named} is not supported; functions are, which the application runs", param=where
        )
    if not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"{where}.name must be a string", param=f"{where}.name")
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _instructions(instructions: Any) -> list[Json]:
    if instructions is None:
        return []
    if not isinstance(instructions, str):
        raise InvalidRequest("instructions must be a string", param="instructions")
    return [{"role": "system", "content": instructions}]


def _messages(given: Any) -> list[Json]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if given is None or not _list(given, "input"):
        raise InvalidRequest("input: give a text or a list of items", param="input")
    conversation = _Conversation()
    for number, item in enumerate(given):
        conversation.add(item, f"input[{number}]")
    return conversation.ended()


class _Conversation:
    """Items one by one; an assistant's reasoning, words and calls are one message there and several here."""

    def __init__(self) -> None:
        self._messages: list[Json] = []
        self._assistant: Json | None = None
        """The turn that is still growing."""

    def add(self, item: Any, where: str) -> None:
        if not isinstance(item, dict):
            raise InvalidRequest(f"{where} must be an object", param=where)
        kind = item.get("type", "message")
        if kind == "message":
            self._add_message(item, where)
        elif kind == "reasoning":
            told = [] if item.get("content") is None else item["content"]
            self._turn()["reasoning"] = "".join(_texts(told, where))
        elif kind == "function_call":
            self._turn().setdefault("tool_calls", []).append(_call(item, where))
        elif kind == "function_call_output":
            self._assistant = None
            self._messages.append(_output(item, where))
        else:
            named = repr(kind[:40]) if isinstance(kind, str) else "without a known type"
            raise UnsupportedParameter(f"{where}: an item {named} is not supported", param=where)

    def ended(self) -> list[Json]:
        """Reasoning that nothing followed is no message."""
        return [
            m for m in self._messages if m["role"] != "assistant" or m.get("content") or m.get("tool_calls")
        ]

    def _add_message(self, item: Json, where: str) -> None:
        role = item.get("role")
        content = _content(item.get("content"), where)
        if role == "assistant":
            turn = (
                self._turn() if self._assistant is None or not self._assistant.get("content") else self._new()
            )
            turn["content"] = content
        elif role in ("user", "system", "developer"):
            self._assistant = None
            self._messages.append({"role": "user" if role == "user" else "system", "content": content})
        else:
            raise InvalidRequest(
                f"{where}.role must be user, assistant, system or developer", param=f"{where}.role"
            )

    def _turn(self) -> Json:
        return self._new() if self._assistant is None else self._assistant

    def _new(self) -> Json:
        self._assistant = {"role": "assistant", "content": None}
        self._messages.append(self._assistant)
        return self._assistant


def _content(content: Any, where: str) -> str | list[Json]:
    if isinstance(content, str):
        return content
    parts = enumerate(_list(content, f"{where}.content"))
    return [_part(part, f"{where}.content[{number}]") for number, part in parts]


def _part(part: Any, where: str) -> Json:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in ("input_text", "output_text", "text") and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "refusal", "refusal": part["refusal"]}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    if kind == "input_image":
        raise UnsupportedParameter(f"{where}: files are not kept here; send image_url", param=where)
    named = f"{kind[:40]!r}" if isinstance(kind, str) else "without a known type"
    raise UnsupportedParameter(
        f"{where}: a part {named} is not supported; send input_text and input_image", param=where
    )


def _call(item: Json, where: str) -> Json:
    texts = [item.get(name) for name in ("call_id", "name", "arguments")]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidRequest(f"{where} needs call_id, name and arguments, each a string", param=where)
    call_id, name, arguments = texts
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _output(item: Json, where: str) -> Json:
    if not isinstance(item.get("call_id"), str):
        raise InvalidRequest(f"{where} needs a call_id", param=where)
    content = _content(item.get("output"), f"{where}.output")
    return {"role": "tool", "tool_call_id": item["call_id"], "content": content}


def _texts(parts: Any, where: str) -> Iterable[str]:
    for part in _list(parts, f"{where}.content"):
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            raise InvalidRequest(f"{where}.content: every part needs a text", param=where)
        yield part["text"]


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{where} must be a list", param=where)
    return value
