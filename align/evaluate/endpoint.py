"""Who is asked: an OpenAI-compatible server and what it calls the model. Keys come from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from align.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind an address."""

    base_url: str
    """Up to and including the version, such as http://127.0.0.1:8000/v1."""
    model: str
    api_key: str | None = field(default=None, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request for a reply, such as `top_p`."""


def key_in(variable: str | None, flag: str) -> str | None:
    """The key that a variable of the environment holds; RecipeError, naming the flag, where it holds none."""
    if variable is None:
        return None
    if not (key := os.environ.get(variable, "").strip()):
        raise RecipeError(f"{flag} {variable} is not set or holds no key: set it")
    return key
