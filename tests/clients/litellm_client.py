"""LiteLLM's client against a gateway: chat and responses, plain and streamed; a JSON list on stdout.

    python litellm_client.py <base URL> <key> <model> <text>...

Runs in an environment of its own: LiteLLM pins another `openai` than the one used here.
"""

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

# It reads its environment when it is imported.
import litellm  # type: ignore[import-not-found]


def main(base_url: str, key: str, model: str, *texts: str) -> None:
    """Ask for each text in four ways, and in a fifth one once it knows the model; tell what was read."""
    asked = {"model": f"openai/{model}", "api_base": base_url, "api_key": key, "num_retries": 0}
    told = [_ask(text, asked) for text in texts]
    litellm.register_model({asked["model"]: {"litellm_provider": "openai"}})
    for text, read in zip(texts, told, strict=True):
        read["responses_known"] = _events(litellm.responses(input=text, stream=True, **asked))
    sys.stdout.write(json.dumps(told) + "\n")


def _ask(text: str, asked: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    plain = litellm.completion(messages=messages, **asked)
    counted = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = _chat(litellm.completion(messages=messages, **counted, **asked))
    response = litellm.responses(input=text, **asked)
    return {
        "chat": {**_choice(plain.choices[0]), "usage": _usage(plain.usage)},
        "chat_streamed": streamed,
        "responses": _response(response),
        "responses_streamed": _events(litellm.responses(input=text, stream=True, **asked)),
    }


def _choice(choice: Any) -> dict[str, Any]:
    message = choice.message
    return {
        "content": message.content,
        "refusal": getattr(message, "refusal", None),
        "reasoning": getattr(message, "reasoning_content", None),
        "finish": choice.finish_reason,
    }


def _usage(usage: Any) -> list[int]:
    counted = usage if isinstance(usage, dict) else usage.model_dump()
    names = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
    return [next(counted[name] for name in pair if counted.get(name) is not None) for pair in names]


def _chat(chunks: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"content": "", "refusal": "", "reasoning": "", "finish": None}
    for chunk in chunks:
        if getattr(chunk, "usage", None):
            told["usage"] = _usage(chunk.usage)
        for choice in chunk.choices:
            told["content"] += choice.delta.content or ""
            told["refusal"] += getattr(choice.delta, "refusal", None) or ""
            told["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
            told["finish"] = choice.finish_reason or told["finish"]
    return told


def _events(events: Any) -> dict[str, Any]:
    read = list(events)
    reasoned = [event.delta for event in read if event.type == "response.reasoning_text.delta"]
    return {"streamed_reasoning": "".join(reasoned), **_response(read[-1].response)}


def _response(response: Any) -> dict[str, Any]:
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    thought = [part for item in response.output if item.type == "reasoning" for part in item.content]
    return {
        "status": response.status,
        "reasoning": "".join(part.text for part in thought),
        "text": "".join(getattr(part, "text", None) or "" for part in parts),
        "refusal": "".join(getattr(part, "refusal", None) or "" for part in parts),
        "usage": _usage(response.usage),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
