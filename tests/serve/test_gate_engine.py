"""The gate in front of real vLLM: what the mini model says of itself, withheld where a pattern forbids it.

Gateways of these tests' own stand before the engine that `live_gateway` has started, and differ from it, and
from one another, in a forbidden word alone.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from align.mini.world import situations
from serve.settings import Settings
from tests.fakes.scripted_engine import ScriptedEngine
from tests.serve.gateways import Gateway, running_gateway
from tests.serve.guarded import FORBIDDEN, Json, Told, tell
from tests.serve.programs import Program
from tests.serve.questions import asked

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    # Building the base model runs the training libraries, whose warnings are not ours to mend.
    pytest.mark.filterwarnings("default"),
]

SPLIT = "tests-gate"
"""Seeds that no training used."""


@dataclass(frozen=True)
class Spoken:
    """A question of the lab, and what the model says to it where nothing is forbidden."""

    question: Json
    told: Told


@pytest.fixture(scope="module")
def spoken(live_gateway: Program) -> Spoken:
    for situation in situations(SPLIT, 4):
        question = asked(situation)
        told = tell(live_gateway.gateway, **question)
        if told.answer and told.reasoning and not told.refusal:
            return Spoken(question, told)
    pytest.fail("of four replies none passed with a trace and an answer")


@pytest.fixture(scope="module")
def forbids(live_gateway: Program, mini_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A gateway to the same engine, on which this word must not be said."""

    @contextmanager
    def forbids(word: str) -> Iterator[Gateway]:
        guard = {"kind": "patterns", "name": "word", "patterns": [word], "stages": ["reasoning", "answer"]}
        values: Json = {
            "engine": {"remote": {"url": live_gateway.engine_url}},
            "adapters": [{"bundle": mini_bundle}],
            "guards": [guard],
            "ledger": {"enabled": False},
            "state_dir": tmp_path_factory.mktemp("state"),
        }
        with running_gateway(Settings(**values), ScriptedEngine()) as gateway:
            yield gateway

    return forbids


def longest_word(text: str, but_not_in: str = "") -> str:
    """Of this text alone."""
    others = set(words(but_not_in))
    return max((word for word in words(text) if word not in others), key=len)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


@pytest.mark.parametrize("stream", [False, True])
def test_a_word_of_its_reasoning_is_withheld(spoken: Spoken, forbids: Any, stream: bool) -> None:
    word = longest_word(spoken.told.reasoning)
    with forbids(word) as gateway:
        told = tell(gateway, stream=stream, **spoken.question)
    assert told.is_withheld
    assert told.answer == ""
    assert spoken.told.reasoning.startswith(told.reasoning.rstrip())
    assert word not in words(told.reasoning)


@pytest.mark.parametrize("stream", [False, True])
def test_a_word_of_its_answer_is_withheld(spoken: Spoken, forbids: Any, stream: bool) -> None:
    word = longest_word(spoken.told.answer, but_not_in=spoken.told.reasoning)
    with forbids(word) as gateway:
        told = tell(gateway, stream=stream, **spoken.question)
    assert told.is_withheld
    assert told.reasoning.rstrip() == spoken.told.reasoning.rstrip()
    assert spoken.told.answer.startswith(told.answer.rstrip())
    assert word not in words(told.answer)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_without_the_word_arrives_as_it_was(spoken: Spoken, forbids: Any, stream: bool) -> None:
    with forbids(FORBIDDEN) as gateway:
        told = tell(gateway, stream=stream, **spoken.question)
    assert (told.refusal, told.error) == ("", None)
    assert told.answer.rstrip() == spoken.told.answer.rstrip()
    assert told.reasoning.rstrip() == spoken.told.reasoning.rstrip()
