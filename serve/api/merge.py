"""Puts together, for a plain answer, what a stream spreads over chunks and the gateway does not read."""

from typing import Any

Json = dict[str, Any]


class MergedDeltas:
    """Tool calls by their index, log-probabilities end to end; of anything else the last value."""

    def __init__(self) -> None:
        self.extras: Json = {}
        """Of the choice: `logprobs` and what the engine adds."""
        self._message: Json = {}
        self._tool_calls: dict[int, Json] = {}

    @property
    def has_tool_calls(self) -> bool:
        """Whether the model called a tool."""
        return bool(self._tool_calls)

    @property
    def message(self) -> Json:
        """Further fields of the message."""
        if not self._tool_calls:
            return self._message
        return {**self._message, "tool_calls": [call for _, call in sorted(self._tool_calls.items())]}

    def add_delta(self, delta: Json) -> None:
        """Fields of a delta that are not text of the reply."""
        for key, value in delta.items():
            if key == "tool_calls":
                self._add_tool_calls(value)
            else:
                self._message[key] = value

    def add_extras(self, extras: Json) -> None:
        """Fields beside the delta."""
        for key, value in extras.items():
            if key == "logprobs" and value and self.extras.get("logprobs"):
                self.extras["logprobs"] = _joined(self.extras["logprobs"], value)
            elif value is not None:
                self.extras[key] = value

    def _add_tool_calls(self, calls: list[Json]) -> None:
        for call in calls:
            whole = self._tool_calls.setdefault(call.get("index", 0), {"type": "function", "function": {}})
            function = call.get("function") or {}
            whole.update({k: v for k, v in call.items() if k not in ("index", "function") and v is not None})
            for key, value in function.items():
                # Names come whole, arguments in pieces.
                whole["function"][key] = whole["function"].get(key, "") + (value or "")


def _joined(first: Json, second: Json) -> Json:
    keys = [*first, *(key for key in second if key not in first)]
    return {key: (first.get(key) or []) + (second.get(key) or []) or None for key in keys}
