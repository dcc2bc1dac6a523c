"""What can go wrong beyond the errors of the `openai` package, which are left as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

import openai
from pydantic import ValidationError


class NotGroundruleError(Exception):
    """The answer is not that of a Groundrule gateway: it is some other server's."""


class TruncatedStreamError(openai.APIConnectionError):
    """The connection ended before the reply did; what had arrived is not to be relied on."""


@contextmanager
def expecting_groundrule() -> Iterator[None]:
    """What cannot be read in here was written by some other server: a page, or another API's JSON."""
    try:
        yield
    except (ValidationError, JSONDecodeError, UnicodeDecodeError) as error:
        raise NotGroundruleError(
            "the answer is not that of a Groundrule gateway, with a `safety` object: is the URL right?"
        ) from error
