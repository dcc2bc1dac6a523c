"""Who is asked: an OpenAI-compatible server and what it calls the model. Keys come from the environment."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from align.errors import RecipeError

_ANSWERS_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind an address."""

    base_url: str
    """Up to and including the version, such as http://127.0.0.1:8000/v1."""
    model: str
    api_key: str | None = field(default=None, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request for a reply, such as `top_p`."""
    version: str = ""
    """Which weights answer to that name, as far as they are told apart."""


def key_in(variable: str | None, flag: str) -> str | None:
    """The key that a variable of the environment holds; RecipeError, naming the flag, where it holds none."""
    if variable is None:
        return None
    if not (key := os.environ.get(variable, "").strip()):
        raise RecipeError(f"{flag} {variable} is not set or holds no key: set it")
    return key


def models_listed(where: str, base_url: str, key: str | None) -> bytes:
    """What a server answers that is asked for its models; empty where it does not list them.

    RecipeError, beginning with `where`, where nothing answers, or where the key is refused.
    """
    url = f"{base_url.rstrip('/')}/models"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=_ANSWERS_WITHIN_S) as answer:
            listed: bytes = answer.read()
            return listed
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
        if status in (401, 403):
            raise RecipeError(f"{where}: {base_url} refuses the key (HTTP {status})") from None
        return b""
    except (urllib.error.URLError, OSError) as error:
        why = getattr(error, "reason", error)
        raise RecipeError(
            f"{where}: nothing answers at {base_url} ({why}): start it, or correct base_url"
        ) from None


def identified(endpoint: Endpoint, flag: str) -> Endpoint:
    """With the version that the server tells: a gateway's adapter with its digest, an engine's directory.

    A server that tells none leaves it empty; RecipeError, naming the flag, where nothing answers.
    """
    try:
        listed = json.loads(models_listed(flag, endpoint.base_url, endpoint.api_key))
        root = next((str(card["root"]) for card in listed["data"] if card["id"] == endpoint.model), "")
    except (ValueError, KeyError, TypeError):
        root = ""
    return replace(endpoint, version=root)
