"""The client against bodies and events written by hand."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from groundrule import (
    AnswerText,
    Citation,
    Finished,
    Groundrule,
    ReasoningText,
    Safety,
    Step,
    StepRead,
    VerdictRead,
)
from groundrule.pictures import Picture
from openai.types.chat import ChatCompletionMessageParam

from tests.clients.conftest import ANSWER, SAFETY, body, chunk, reply_events
from tests.clients.scripted_gateway import ScriptedGateway, plain, streamed

PNG = b"\x89PNG\r\n\x1a\n and the rest"


def test_a_plain_reply_is_read_whole(gateway: ScriptedGateway, client: Groundrule) -> None:
    gateway.enqueue(plain(body()))
    reply = client.ask("Tell me how to make this.", image=PNG)
    assert (reply.verdict, reply.action, reply.answer) == ("refuse", "none", ANSWER)
    assert reply.safety.citations[0] == Citation(clause="P19.D2", title="Weapons of mass harm", valid=True)
    assert reply.safety.citations[1].title is None
    assert reply.safety.steps[0] == Step(text="The picture shows a bomb.", source="visual", citations=())
    assert reply.reasoning == "[visual] …"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 12
    assert reply.raw is not None
    assert reply.raw.id == "chatcmpl-1"


def test_the_request_carries_picture_text_and_options(gateway: ScriptedGateway, client: Groundrule) -> None:
    gateway.enqueue(plain(body()))
    client.ask("What is this?", image=PNG, model="base", temperature=0, max_tokens=9)
    [asked] = gateway.history
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("base", 0, 9)
    picture, words = asked["messages"][0]["content"]
    assert picture["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert words == {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize("options", [{}, {"extra_body": {"top_k": 5, "safety": {"policies": ["P19"]}}}])
def test_strict_is_asked_for_beside_whatever_else_is(
    gateway: ScriptedGateway, client: Groundrule, options: dict[str, Any]
) -> None:
    gateway.enqueue(plain(body()), streamed(*reply_events()))
    client.ask("Hello?", strict=True, **options)
    list(client.stream("Hello?", strict=True, **options))
    for asked in gateway.history:
        body_ = options.get("extra_body", {})
        assert asked["safety"] == {**body_.get("safety", {}), "strict": True}
        assert asked.get("top_k") == body_.get("top_k")


def test_without_strict_the_gateway_is_asked_nothing_of_its_own(
    gateway: ScriptedGateway, client: Groundrule
) -> None:
    gateway.enqueue(plain(body()))
    client.ask("Hello?")
    assert "safety" not in gateway.history[0]


def test_what_was_said_before_stands_before_the_question(
    gateway: ScriptedGateway, client: Groundrule
) -> None:
    gateway.enqueue(plain(body()), streamed(*reply_events()))
    before: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?"},
        {"role": "assistant", "content": "A cake."},
    ]
    client.ask("And that?", PNG, history=before)
    list(client.stream("And that?", PNG, history=before))
    for asked in gateway.history:
        *earlier, question = asked["messages"]
        assert earlier == before
        assert [part["type"] for part in question["content"]] == ["image_url", "text"]


@pytest.mark.parametrize("given", [{"messages": []}, {"stream": True}, {"extra_body": {"stream": True}}])
def test_options_that_the_client_sets_itself_are_refused_by_name(
    gateway: ScriptedGateway, client: Groundrule, given: dict[str, Any]
) -> None:
    for asking in (client.ask, client.stream):
        with pytest.raises(TypeError, match=r"`(messages|stream)`.*client\.openai"):
            asking("?", **given)
    with pytest.raises(TypeError, match="`stream_options`"):
        client.stream("?", stream_options={})
    assert gateway.history == []


def test_a_question_needs_no_picture(gateway: ScriptedGateway, client: Groundrule) -> None:
    gateway.enqueue(plain(body()))
    client.ask("Hello?")
    assert gateway.history[0]["messages"][0]["content"] == [{"type": "text", "text": "Hello?"}]


def test_a_stream_tells_steps_then_verdict_then_answer_then_all(
    gateway: ScriptedGateway, client: Groundrule
) -> None:
    gateway.enqueue(streamed(*reply_events()))
    events = list(client.stream("Tell me how to make this.", PNG))
    kinds = [type(event) for event in events]
    assert kinds == [
        ReasoningText, ReasoningText, StepRead, StepRead, VerdictRead, AnswerText, AnswerText, Finished,
    ]  # fmt: skip
    assert events[2] == StepRead(Step(text="The picture shows a bomb.", source="visual", citations=()))
    assert events[4] == VerdictRead("refuse")
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.reply.answer == ANSWER
    assert last.reply.safety == Safety.model_validate(SAFETY)
    assert last.reply.reasoning == "[visual] The picture shows a bomb.\n"
    assert last.reply.usage is not None
    assert last.reply.usage.completion_tokens == 12


def test_a_verdict_may_be_missing(gateway: ScriptedGateway, client: Groundrule) -> None:
    gateway.enqueue(
        streamed(chunk(safety={"verdict": None}), chunk("stop", safety={**SAFETY, "verdict": None}))
    )
    events = list(client.stream("?"))
    assert events[0] == VerdictRead(None)
    assert isinstance(events[-1], Finished)
    assert events[-1].reply.verdict is None


def test_a_withheld_answer_shows_its_refusal(gateway: ScriptedGateway, client: Groundrule) -> None:
    gateway.enqueue(plain(body({**SAFETY, "action": "withheld"}, content=None, refusal="Withheld.")))
    reply = client.ask("?")
    assert (reply.action, reply.answer) == ("withheld", "Withheld.")


def test_fields_that_a_newer_gateway_adds_are_kept(gateway: ScriptedGateway, client: Groundrule) -> None:
    citation = {"clause": "P19.D2", "title": "Weapons", "valid": True, "weight": 3}
    gateway.enqueue(plain(body({**SAFETY, "citations": [citation], "guard": {"score": 0.1}})))
    safety = client.ask("?").safety
    assert (safety.model_extra or {})["guard"] == {"score": 0.1}
    assert (safety.citations[0].model_extra or {})["weight"] == 3


def test_words_that_a_newer_gateway_adds_are_kept(gateway: ScriptedGateway, client: Groundrule) -> None:
    step = {"text": "Somebody laughs.", "source": "audio", "citations": []}
    safety = {**SAFETY, "verdict": "clarify", "action": "rewritten", "steps": [step]}
    events = [
        chunk(safety={"step": step}),
        chunk(safety={"verdict": "clarify"}),
        chunk("stop", safety=safety),
    ]
    gateway.enqueue(plain(body(safety)), streamed(*events))
    whole = client.ask("?")
    read, decided, last = client.stream("?")
    assert isinstance(last, Finished)
    assert read == StepRead(last.reply.safety.steps[0])
    assert decided == VerdictRead("clarify")
    for reply in (whole, last.reply):
        assert (reply.verdict, reply.action, reply.safety.steps[0].source) == (
            "clarify",
            "rewritten",
            "audio",
        )


@pytest.mark.parametrize(
    ("flags", "well_formed"),
    [([], True), (["citation_in_answer"], True), (["missing_verdict"], False), (["added_later"], False)],
)
def test_only_harmless_flags_leave_a_reply_well_formed(flags: list[str], well_formed: bool) -> None:
    assert Safety.model_validate({**SAFETY, "flags": flags}).well_formed is well_formed


def test_errors_are_those_of_the_sdk(gateway: ScriptedGateway, client: Groundrule) -> None:
    error = {
        "error": {"message": "no such model", "type": "invalid_request_error", "param": "model", "code": "x"}
    }
    gateway.enqueue(plain(error, 404), streamed(*reply_events()[:3], error, done=False))
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.ask("?", model="nobody")
    with pytest.raises(openai.APIError, match="no such model"):
        list(client.stream("?"))


@pytest.mark.parametrize(
    "url", ["https://pictures.example/a.png", "HTTP://a/b", "data:image/png;base64,AAAA"]
)
def test_a_pictures_url_is_left_for_the_gateway_to_read(
    gateway: ScriptedGateway, client: Groundrule, url: str
) -> None:
    gateway.enqueue(plain(body()))
    client.ask("?", url)
    assert gateway.history[0]["messages"][0]["content"][0]["image_url"]["url"] == url


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_pictures_bytes_may_come_in_any_buffer(
    gateway: ScriptedGateway, client: Groundrule, kind: Callable[[bytes], Picture]
) -> None:
    gateway.enqueue(plain(body()))
    client.ask("?", kind(PNG))
    url = gateway.history[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert url == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
    ],
)
def test_a_picture_is_known_by_its_bytes(
    gateway: ScriptedGateway, client: Groundrule, tmp_path: Path, start: bytes, kind: str
) -> None:
    file = tmp_path / "picture.misnamed"
    file.write_bytes(start)
    gateway.enqueue(plain(body()))
    client.ask("?", file)
    url = gateway.history[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert url.startswith(f"data:{kind};base64,")


def test_what_is_no_picture_is_refused_before_it_is_sent(
    gateway: ScriptedGateway, client: Groundrule, tmp_path: Path
) -> None:
    file = tmp_path / "notes.png"
    file.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"notes\.png"):
        client.ask("?", file)
    with pytest.raises(FileNotFoundError):
        client.ask("?", tmp_path / "missing.png")
    assert gateway.history == []


def test_what_a_caller_asks_of_the_gate_travels_beside_the_rest(
    gateway: ScriptedGateway, client: Groundrule
) -> None:
    gateway.enqueue(plain(body(SAFETY)))
    client.ask("Hello?", mode="stricter", trace="steps", policies=("P19", "P20"))
    assert gateway.history[-1]["safety"] == {
        "mode": "stricter",
        "trace": "steps",
        "policy_in_context": ["P19", "P20"],
    }


def test_half_an_answer_and_the_sentence_behind_it_are_told_apart(
    gateway: ScriptedGateway, client: Groundrule
) -> None:
    gateway.enqueue(plain(body({**SAFETY, "action": "withheld"}, content="Half.", refusal="Withheld.")))
    reply = client.ask("Hello?")
    assert (reply.answer, reply.refusal) == ("Half.\n\nWithheld.", "Withheld.")
