"""Output items of the responses API, alike in its events and in its bodies. Values to JSON only."""

from typing import Any

from serve.api.writer import Ending

Json = dict[str, Any]


def text_part(text: str) -> Json:
    """An answer."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Json:
    """The sentence in place of one."""
    return {"type": "refusal", "refusal": text}


def reasoning_part(text: str) -> Json:
    """Reasoning."""
    return {"type": "reasoning_text", "text": text}


def reasoning_item(id_: str, parts: list[Json], status: str) -> Json:
    """Reasoning has no summary here: all of it is there to be read."""
    return {"id": id_, "type": "reasoning", "summary": [], "content": parts, "status": status}


def message_item(id_: str, parts: list[Json], status: str, safety: Json) -> Json:
    """The answer, the refusal, or an answer that broke off and the refusal behind it."""
    fields = {"id": id_, "type": "message", "role": "assistant", "content": parts}
    return {**fields, "status": status, "safety": safety}


def call_item(id_: str, call: Json, arguments: str, status: str) -> Json:
    """A tool call, of which its `arguments` have been told so far."""
    name = call.get("function", {}).get("name", "")
    fields = {"id": id_, "type": "function_call", "call_id": call.get("id") or id_, "name": name}
    return {**fields, "arguments": arguments, "status": status}


def arguments_of(call: Json) -> str:
    """As the model wrote them."""
    return str(call.get("function", {}).get("arguments") or "")


def incomplete_reason(ending: Ending, *, has_answer: bool) -> str | None:
    """Why a response is incomplete; None where it is complete.

    A refusal on its own is a complete answer, as it is with OpenAI; one behind released text is not.
    """
    if ending.finish_reason == "length":
        return "max_output_tokens"
    if ending.finish_reason == "content_filter" and (has_answer or ending.action == "none"):
        return "content_filter"
    return None


def usage_json(usage: Json | None) -> Json | None:
    """A chat usage in this API's words; it has no way to leave details out, so unknown ones are 0."""
    if usage is None:
        return None
    prompt, completion = (usage.get(f"{kind}_tokens_details") or {} for kind in ("prompt", "completion"))
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": prompt.get("cached_tokens") or 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": completion.get("reasoning_tokens") or 0},
        "total_tokens": usage["total_tokens"],
    }
