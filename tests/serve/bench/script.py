"""What is asked and answered in the gateway's bench: the same for every target. Values only."""

import json
import re
from typing import Any, Final

ALIAS: Final = "groundrule"
"""What callers ask for."""
KEY: Final = "sk-bench-not-a-secret-0123456789"
PATTERNS: Final = ("FORBIDDEN-WORD", r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", r"\b(?:[0-9]{4}[ -]?){3}[0-9]{4}\b")
"""What every guard that looks for patterns looks for."""
FORBIDDEN: Final = "FORBIDDEN-WORD"
TEXT: Final = """<think>
[visual] The picture shows a grey cat asleep on a green sofa.
[textual] The request asks what the animal in the picture does.
[visual+textual] Nothing here harms anybody, so a plain answer will do.
Verdict: comply
</think>
The cat is asleep. It lies on the sofa, eyes closed."""
FORBIDDEN_TEXT: Final = TEXT.replace("closed", FORBIDDEN)
PIECES: Final = 49
"""Of either text, one for each word; with the chunk that tells the role, 50 frames."""
STEP_END: Final = b"sofa."
"""The last piece of the first step, and in no other piece."""
PIECES_OF_STEP: Final = 13
SLOWLY, FORBIDDINGLY = "slowly", "forbiddingly"
"""Words in a request by which the engine knows how to answer."""
PAUSE_S: Final = 0.002
"""Between two frames of a slow stream: every target reads each of them on its own."""

FIRST_TEXT: Final = re.compile(rb'"(?:content|reasoning|reasoning_content|refusal)": ?"[^"]')
"""A delta with text in it, in whichever channel."""


def pieces(text: str) -> list[str]:
    """As an engine streams it."""
    cut = re.findall(r"\s*\S+", text)
    assert len(cut) == PIECES
    return cut


def ask(*, stream: bool = False, how: str = "", model: str = ALIAS) -> dict[str, Any]:
    """A request's body."""
    asked = {"model": model, "messages": [{"role": "user", "content": f"Tell {how} what the animal does."}]}
    return {**asked, "stream": True, "stream_options": {"include_usage": True}} if stream else asked


def http_request(port: int, body: dict[str, Any]) -> bytes:
    """The same on the wire."""
    encoded = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


def told(text: str) -> list[str]:
    """Its words: what is left of a text whatever fields it came in, and whoever took the tags off."""
    return [word for word in text.split() if word not in ("<think>", "</think>")]
