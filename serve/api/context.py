"""Policies that a request wants the model to read before it reasons (`safety.policy_in_context`)."""

from collections.abc import Sequence
from typing import Literal

from policies.catalog import Catalog, Policy
from policies.forms import Budget, PolicyTooLong
from policies.prompt import policy_context, policy_index
from serve.adapters.registry import Version
from serve.api.schemas import Json
from serve.errors import InvalidRequest

_PARAM = "safety.policy_in_context"


def with_policies(
    messages: list[Json],
    asked: Literal["auto"] | Sequence[str] | None,
    version: Version,
    catalog: Catalog,
    tokens: int,
) -> list[Json]:
    """The conversation behind one system message with the policies; raises InvalidRequest.

    `auto` gives all of them in brief, and the model decides as it reasons which one applies: no extra call.
    """
    if asked is None:
        return messages
    budget = Budget(tokens)
    try:
        if asked == "auto":
            text = policy_index(catalog.policies, reasoning_format=version.format, budget=budget)
        else:
            chosen = [_policy(name, catalog) for name in asked]
            text = policy_context(chosen, reasoning_format=version.format, budget=budget)
    except PolicyTooLong as error:
        raise InvalidRequest(f"{_PARAM}: {error}; name fewer policies", param=_PARAM) from error
    return _behind(text, messages)


def _policy(name: str, catalog: Catalog) -> Policy:
    policy = catalog.policy(name)
    if policy is None:
        raise InvalidRequest(f"{_PARAM}: there is no policy {name[:60]!r}", param=_PARAM)
    return policy


def _behind(text: str, messages: list[Json]) -> list[Json]:
    """Templates take one system message, so the caller's own goes into ours."""
    first, rest = messages[0], messages[1:]
    if first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": text}, *messages]
    content = first.get("content") or ""
    if isinstance(content, str):
        return [{**first, "content": f"{text}\n\n{content}"}, *rest]
    return [{**first, "content": [{"type": "text", "text": f"{text}\n\n"}, *content]}, *rest]
