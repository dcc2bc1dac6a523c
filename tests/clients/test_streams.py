"""What holds of a stream beyond its events: how it ends, how it is left, what it keeps."""

import openai
import pytest
from groundrule import AnswerText, Finished, Groundrule, ReasoningText, TruncatedStreamError

from tests.clients.conftest import SAFETY, body, chunk, reply_events
from tests.clients.scripted_gateway import Answer, ScriptedGateway, cut, plain, streamed

PATIENCE_S = 10
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}


def under_way() -> Answer:
    answer = streamed(*reply_events()[:3], done=False)
    return Answer(answer.body, answer.status, answer.content_type, stays=True)


def test_a_stream_that_is_closed_unread_lets_the_gateway_go(
    gateway: ScriptedGateway, client: Groundrule
) -> None:
    gateway.enqueue(under_way())
    stream = client.stream("?")
    stream.close()
    assert gateway.left.wait(PATIENCE_S)
    assert list(stream) == []


def test_leaving_a_stream_lets_the_gateway_go(gateway: ScriptedGateway, client: Groundrule) -> None:
    gateway.enqueue(under_way())
    with client.stream("?") as stream:
        assert next(stream) == ReasoningText("[visual] The pic")
    assert gateway.left.wait(PATIENCE_S)


def test_dropping_a_stream_half_read_lets_the_gateway_go(
    gateway: ScriptedGateway, client: Groundrule
) -> None:
    gateway.enqueue(under_way())
    for _ in client.stream("?"):
        break
    assert gateway.left.wait(PATIENCE_S)


@pytest.mark.parametrize(
    "broken", [streamed(*reply_events()[:6], done=False), cut(streamed(*reply_events()[:6], done=False))]
)
def test_a_stream_that_breaks_off_is_no_reply_and_an_error_of_the_sdk(
    gateway: ScriptedGateway, client: Groundrule, broken: Answer
) -> None:
    gateway.enqueue(broken)
    with pytest.raises(TruncatedStreamError, match="ask again") as caught:
        list(client.stream("?"))
    assert isinstance(caught.value, openai.APIConnectionError)
    assert str(caught.value.request.url).startswith(gateway.url)


def test_a_stream_that_falls_silent_has_timed_out(gateway: ScriptedGateway) -> None:
    gateway.enqueue(under_way())
    with Groundrule(gateway.url, timeout_s=0.3) as client, pytest.raises(openai.APITimeoutError):
        list(client.stream("?"))


@pytest.mark.parametrize("given", [{"n": 2}, {"extra_body": {"n": 2}}])
def test_a_stream_of_several_replies_is_refused(
    gateway: ScriptedGateway, client: Groundrule, given: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=r"`n`.*client\.openai"):
        client.stream("?", **given)
    assert gateway.history == []


def test_one_reply_may_be_asked_for_by_number(gateway: ScriptedGateway, client: Groundrule) -> None:
    gateway.enqueue(streamed(*reply_events()))
    assert list(client.stream("?", n=1))


def test_a_stream_keeps_what_a_whole_reply_has(gateway: ScriptedGateway, client: Groundrule) -> None:
    first, second, verdict = (chunk(safety=part) for part in (*steps(), {"verdict": "refuse"}))
    more = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"at"', ':"it"}')]
    called = {**CALL, "function": {"name": "look", "arguments": '{"at":"it"}'}}
    gateway.enqueue(
        plain(body(content=None, tool_calls=[called])),
        streamed(
            chunk(role="assistant", reasoning="[visual] …"),
            *(first, second, verdict),
            *(chunk(tool_calls=[piece]) for piece in (CALL, *more)),
            chunk("tool_calls", safety=SAFETY),
        ),
    )
    whole = client.ask("?")
    *_, last = client.stream("?")
    assert isinstance(last, Finished)
    for reply in (whole, last.reply):
        assert (reply.raw.id, reply.raw.model) == ("chatcmpl-1", "groundrule")
        message = reply.raw.choices[0].message
        [call] = message.tool_calls or []
        assert call.type == "function"
        assert (call.id, call.function.name, call.function.arguments) == ("c1", "look", '{"at":"it"}')
        assert (message.model_extra or {})["safety"] == SAFETY
    assert last.reply.finish_reason == "tool_calls"
    assert (last.reply.safety, last.reply.reasoning) == (whole.safety, whole.reasoning)


def steps() -> list[dict[str, object]]:
    return [{"step": step} for step in SAFETY["steps"]]


def test_a_reply_that_was_cut_short_is_still_a_reply(gateway: ScriptedGateway, client: Groundrule) -> None:
    for reason in ("length", "content_filter"):
        gateway.enqueue(streamed(chunk(content="Half."), chunk(reason, refusal="No.", safety=SAFETY)))
        *told, last = client.stream("?")
        assert told == [AnswerText("Half."), AnswerText("\n\nNo.")]
        assert isinstance(last, Finished)
        assert (last.reply.finish_reason, last.reply.answer) == (reason, "Half.\n\nNo.")
