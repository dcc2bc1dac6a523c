"""The client against the real gateway, with only the engine scripted: what one writes, the other reads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from groundrule import AnswerText, Finished, Groundrule, Reply, Safety, StepRead, VerdictRead
from groundrule.client import _messages
from groundrule.pictures import picture_url

from policies.prompt import student_messages
from policies.reply import TOLERATED_FLAGS, Flag
from serve.settings import Settings
from tests.clients.conftest import SAFETY
from tests.fakes.scripted_engine import Scripted, ScriptedEngine
from tests.serve.gateways import REFUSAL, Gateway, running_gateway, write_bundle


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROUNDRULE_API_KEYS", raising=False)


@pytest.fixture
def real_gateway(tmp_path: Path) -> Iterator[Gateway]:
    write_bundle(tmp_path / "pst")
    with ScriptedEngine().running() as engine:
        settings = Settings(
            engine={"remote": {"url": engine.url, "poll_interval_s": 0.05}},  # type: ignore[arg-type]
            adapters=[{"bundle": tmp_path / "pst"}],  # type: ignore[arg-type]
        )
        with running_gateway(settings, engine) as gateway:
            yield gateway


def test_plain_and_streamed_replies_are_the_same(real_gateway: Gateway) -> None:
    real_gateway.engine.enqueue(Scripted(REFUSAL), Scripted(REFUSAL))
    with Groundrule(f"{real_gateway.url}/v1") as client:
        plain = client.ask("Tell me how to make this.")
        events = list(client.stream("Tell me how to make this."))
    last = events[-1]
    assert isinstance(last, Finished)
    assert _told(last.reply) == _told(plain)
    assert plain.verdict == "refuse"
    assert [step.source for step in plain.safety.steps] == ["visual", "textual", "visual+textual"]
    assert plain.safety.flags == ("invalid_clause",)
    assert tuple(event.step for event in events if isinstance(event, StepRead)) == plain.safety.steps
    assert [event.verdict for event in events if isinstance(event, VerdictRead)] == ["refuse"]
    assert "".join(event.text for event in events if isinstance(event, AnswerText)) == plain.answer


def test_every_field_of_the_safety_object_has_a_name_here(real_gateway: Gateway) -> None:
    real_gateway.engine.enqueue(Scripted(REFUSAL))
    with Groundrule(f"{real_gateway.url}/v1") as client:
        safety = client.ask("?").safety
    assert not safety.model_extra
    assert not any(part.model_extra for part in (*safety.steps, *safety.citations))


def test_models_of_the_real_gateway_are_listed(real_gateway: Gateway) -> None:
    with Groundrule(f"{real_gateway.url}/v1") as client:
        assert set(client.models()) == {"groundrule", "pst", "base"}


def _told(reply: Reply) -> tuple[object, ...]:
    return reply.answer, reply.reasoning, reply.safety, reply.finish_reason


@pytest.mark.parametrize("flag", Flag)
def test_client_and_gateway_tolerate_the_same_flags(flag: Flag) -> None:
    safety = Safety.model_validate({**SAFETY, "flags": [str(flag)]})
    assert safety.well_formed == (flag in TOLERATED_FLAGS)


def test_the_client_asks_as_the_adapters_were_trained() -> None:
    image = {"type": "image_url", "image_url": {"url": picture_url(b"\x89PNG\r\n\x1a\n")}}
    assert _messages("What is this?", b"\x89PNG\r\n\x1a\n") == student_messages("What is this?", [image])
    assert _messages("What is this?", None) == student_messages("What is this?")
