"""One picture from the web, within a size and a time."""

import time
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from align.sources.images import MAX_BYTES

PATIENCE_S = 20.0
"""For the connection, and for every wait until more comes."""
DEADLINE_S = 60.0
"""For the whole picture."""
_CHUNK = 1 << 16


class Unavailable(Exception):
    """The picture is not to be had; the message says why."""


def fetch(url: str) -> bytes:
    """The bytes behind an http(s) URL; Unavailable where they do not come, or are too many. Asked once."""
    end = time.monotonic() + DEADLINE_S
    content = bytearray()
    try:
        with urlopen(Request(url, headers={"User-Agent": "groundrule-align"}), timeout=PATIENCE_S) as reply:
            while chunk := reply.read(_CHUNK):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise Unavailable(f"{url}: more than {MAX_BYTES:,} bytes")
                if time.monotonic() > end:
                    raise Unavailable(f"{url}: not through after {DEADLINE_S:g} s")
    except HTTPError as error:
        raise Unavailable(f"{url}: the server answered {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"{url}: {str(error) or type(error).__name__}") from None
    return bytes(content)
