"""A scripted grader and a scripted model of the lab, each behind an OpenAI-compatible endpoint.

The grader finds the item by the bytes of the picture that it is shown, and what the text before it is worth
by the lab's truth. It errs at a stated rate, deviates from the protocol at another, and keeps every label.
"""

import base64
import json
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from align.evaluate.judges.rubrics import HARMFUL, HARMLESS
from align.evaluate.lab import truth as lab
from align.evaluate.lab.benchmarks import Item
from align.evaluate.reply import Reply, packaged_clauses
from align.mini.given import digest
from align.mini.replies import thinking
from align.mini.world import Truth
from align.sources.mini import png
from policies.formats import THINK
from policies.trace import read
from tests.align.scripted_model import Said, ScriptedModel

_KEY = re.compile(r'beginning with this key.*\n\{"key": "([0-9a-f]+)"')
OTHER = {HARMFUL: HARMLESS, HARMLESS: HARMFUL}


def by_body(say: Callable[[dict[str, Any]], str]) -> ScriptedModel:
    """Goes by a whole request, not by its last text alone."""
    model = ScriptedModel(lambda _: Said(say(model.bodies[-1])))
    return model


def shown(body: dict[str, Any]) -> tuple[str, str]:
    """SHA-256 of the picture's file, and the text, of a request's last message."""
    picture, text = body["messages"][-1]["content"]
    return digest(base64.b64decode(picture["image_url"]["url"].partition("base64,")[2])), text["text"]


def by_picture(items: Sequence[Item]) -> dict[str, Item]:
    """The items by their pictures' files; ValueError where two share one."""
    found = {digest(png(item.situation.scene)): item for item in items}
    if len(found) < len(items):
        raise ValueError("two items have the same picture")
    return found


def saying(items: Sequence[Item], replies: dict[str, str]) -> ScriptedModel:
    """A model that replies by the picture; `replies` by item."""
    known = by_picture(items)
    return by_body(lambda body: replies[known[shown(body)[0]].id])


@dataclass(frozen=True)
class Marked:
    """What a grader said of a text once."""

    item: str
    text: str
    key: str
    true: str
    label: str | None
    """None where it deviated."""


@dataclass
class Grader:
    """Who judges, and how badly."""

    items: Sequence[Item]
    name: str = "faultless"
    errs: float = 0.0
    """Share of the texts that it takes for the contrary, the same ones each time."""
    deviates: float = 0.0
    """Share of the requests to which it gives no verdict by the protocol."""
    quotes: bool = False
    """Repeat the judged text around the verdict."""
    marked: list[Marked] = field(default_factory=list)

    def model(self) -> ScriptedModel:
        """The grader at its endpoint."""
        known = by_picture(self.items)
        return by_body(lambda body: self._said(body, known))

    def of(self, item: str) -> set[tuple[str, str]]:
        """Text and label of every verdict on an item's reply."""
        return {(one.text, one.label) for one in self.marked if one.item == item and one.label}

    def _said(self, body: dict[str, Any], known: dict[str, Item]) -> str:
        picture, text = shown(body)
        item, material = known[picture], json.loads(text)
        if material["question"] != item.situation.instruction:
            return "This question does not go with this picture."
        key = _KEY.findall(body["messages"][0]["content"])[-1]
        true = worth(material["reply"], item.situation.truth)
        if true is None:
            return "I do not know these words."
        errs = self._dice(item.id, material["reply"]).random() < self.errs
        label = OTHER[true] if errs else true
        deviates = self._dice(key).random() < self.deviates
        self.marked.append(
            Marked(item.id, material["reply"], key, true, None if deviates else label),
        )
        if deviates:
            return self._dice(key, "how").choice(_DEVIATIONS)(key, label)
        around = material["reply"] if self.quotes else ""
        return f"{around}\n{_verdict(key, label)}\n{around}".strip()

    def _dice(self, *about: str) -> random.Random:
        return random.Random(json.dumps([self.name, *about]))


def worth(text: str, truth: Truth) -> str | None:
    """The true label of a reasoning, of an answer, or of both with a blank line between them."""
    reasoning, both, answer = text.partition("\n\n")
    if both:
        marks = [lab.harm(_read(thinking(reasoning, answer)), truth)["whole"]]
    else:
        marks = [
            lab.harm(_read(text), truth)["answer"],
            lab.harm(_read(thinking(text, "")), truth)["reasoning"],
        ]
    told = [mark for mark in marks if not math.isnan(mark)]
    return (HARMFUL if told[0] else HARMLESS) if told else None


def _read(text: str) -> Reply:
    trace = read(text, THINK, packaged_clauses())
    return Reply(trace.reasoning, trace.answer or None, trace)


def _verdict(key: str, label: str) -> str:
    return json.dumps({"key": key, "reason": "by the lab's truth", "label": label})


_DEVIATIONS: Sequence[Callable[[str, str], str]] = (
    lambda key, label: f"I find this reply {label}.",
    lambda key, label: _verdict(key[::-1], label),
    lambda key, label: _verdict(key, f"rather {label}"),
    lambda key, label: _verdict(key, label)[:-1],
)
