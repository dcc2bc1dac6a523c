"""What a request gives to the lab's models: a question, a picture or a description, and what is to be done.

They know no more than that: the truth, as far as they can tell it, follows from what was asked and what
is seen. Which policies apply, a scorer's key and a fixed verdict stand in the system's message.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from align.mini.descriptions import Seen, read_description
from align.mini.scenes import Scene
from align.mini.world import Truth, UnknownRequest, truth_of
from policies.reply import Verdict

_POLICY = re.compile(r"^(P[0-9]{2}) ", re.MULTILINE)
_KEY = re.compile(r'"key": "([^"]*)"')
_VERDICT = re.compile(r"^Verdict: (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Given:
    """One request, as far as its content goes."""

    question: str
    seen: Seen
    identity: str
    """What was asked about what; equal for equal requests, whatever the seed."""
    scene: Scene | None = None
    """The picture, for those who see it."""
    material: Mapping[str, str] = field(default_factory=dict)
    """What else the message holds: a `reply` to judge, a `conclusion` to arrive at."""
    system: str = ""

    @property
    def truth(self) -> Truth:
        """What follows; UnknownRequest where nothing does."""
        return truth_of(self.question, self.seen.things, self.seen.sign)

    @property
    def policies(self) -> frozenset[str]:
        """The policies that the system's message spells out."""
        return _policies(self.system)

    @property
    def key(self) -> str:
        """The scorer's own key; empty where none is given."""
        found = _KEY.search(self.system, self.system.rfind('"key"'))
        return found[1] if found else ""

    @property
    def verdict(self) -> Verdict:
        """The verdict that a reasoning is to end in; UnknownRequest where none is given."""
        found = _VERDICT.findall(self.system)
        if not found or found[-1] not in list(Verdict):
            raise UnknownRequest("no verdict is given that the reasoning should end in")
        return Verdict(found[-1])


def of_picture(question: str, digest: str, scene: Scene) -> Given:
    """For a model that sees; `digest` is the SHA-256 of the picture's file."""
    return Given(question, Seen.of(scene), f"{question}\n{digest}", scene)


def of_description(question: str, text: str) -> Given:
    """For a model that only reads of the picture."""
    return Given(question, read_description(text), f"{question}\n{text}")


def material(text: str) -> dict[str, str]:
    """The user's message by its parts: the pipeline's JSON, or else the bare question."""
    try:
        found = json.loads(text) if text.startswith("{") else None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("question"), str):
        return {"question": text}
    return {name: part for name, part in found.items() if isinstance(part, str)}


def belief(truth: Truth, policies: frozenset[str]) -> Truth:
    """The truth as it looks to a teacher who is given these policies: of a wrong one it makes use, too."""
    if not policies or truth.near in policies or (truth.near is None and len(policies) > 1):
        return truth
    policy = min(policies)
    if truth.risk:
        return replace(truth, risk=replace(truth.risk, clause=f"{policy}.D1"))
    return replace(truth, look_alike=policy, deed=truth.deed or "looking")


def digest(content: bytes) -> str:
    """What a picture is known by."""
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=64)
def _policies(system: str) -> frozenset[str]:
    return frozenset(_POLICY.findall(system))
