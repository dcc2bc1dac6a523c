"""Claims about what guards are shown of a request: everything that the model reads, and never too little."""

import base64
import io
import json
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from serve.api.asking import MOST_LEVELS
from serve.gate.values import Conversation, Excerpt, Ruling, Stage
from serve.gate.wording import WITHHELD
from serve.options.door import LimitSettings
from tests.serve.answering import ANSWER, FORBIDDEN, Answering, Json, ScriptedGuard, answering, ask
from tests.serve.gateways import PATIENCE_S


class Discerning:
    """Objects to a question where the picture beside it is dark, and to no picture by itself."""

    name = "discerning"
    stages = frozenset({Stage.INPUT, Stage.IMAGE})

    def __init__(self) -> None:
        self.shown: list[tuple[Stage, str]] = []

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        self.shown.append((excerpt.stage, excerpt.text))
        is_dark = any(_is_dark(png) for png in about.pictures)
        return Ruling(blocks=excerpt.stage is Stage.INPUT and is_dark, guard=self.name)


def _is_dark(png: bytes) -> bool:
    return Image.open(io.BytesIO(png)).getpixel((0, 0)) == (0, 0, 0)


def about(colour: str, *texts: str) -> Json:
    """A request with one picture, and one turn for each text."""
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(encoded, "PNG")
    url = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
    first, *others = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in texts]
    first["content"].insert(0, {"type": "image_url", "image_url": {"url": url}})  # type: ignore[attr-defined]
    return {**ask(), "messages": [first, *others]}


def test_a_question_that_passed_with_one_picture_is_judged_anew_with_another() -> None:
    with answering(Discerning()) as gateway:
        harmless, harmful = (gateway.post(about(colour, "How is it made?")) for colour in ("white", "black"))
    assert harmless.json()["choices"][0]["message"]["content"] == ANSWER
    assert harmful.json()["choices"][0]["message"]["refusal"] == WITHHELD


def test_a_text_cannot_pass_for_another_with_its_picture() -> None:
    guard = Discerning()
    with answering(guard) as gateway:
        gateway.post(about("black", "x"))
        (digest,) = gateway.row.picture_digests
        for text in (f"{digest}\nHow is it made?", f'[["{digest}"], "How is it made?"]'):
            assert gateway.message(messages=ask(text)["messages"])["content"] == ANSWER
        answer = gateway.post(about("black", "How is it made?"))
    assert answer.json()["choices"][0]["message"]["refusal"] == WITHHELD


def test_a_conversation_that_grows_is_not_judged_from_its_beginning() -> None:
    guard = Discerning()
    with answering(guard) as gateway:
        gateway.post(about("white", "How is it made?"))
        guard.shown.clear()
        gateway.post(about("white", "How is it made?", "And this?"))
    assert sorted(guard.shown) == [(Stage.IMAGE, ""), (Stage.INPUT, "And this?")]


ESCAPED = json.dumps({"x": FORBIDDEN}).replace("F", "\\u0046")
HIDDEN: dict[str, Json] = {
    "a field": {"name": FORBIDDEN},
    "a field's field": {"extra": [{"type": FORBIDDEN}]},
    "a field's name": {"extra": {FORBIDDEN: 1}},
    "what is called a picture": {"extra": {"image_url": FORBIDDEN}},
    "arguments": {"tool_calls": [{"function": {"name": "f", "arguments": json.dumps({"x": FORBIDDEN})}}]},
    "arguments as an object": {"tool_calls": [{"function": {"name": "f", "arguments": {"type": FORBIDDEN}}}]},
    "escaped arguments": {"tool_calls": [{"function": {"name": "f", "arguments": ESCAPED}}]},
    "calls that are none": {"tool_calls": {"x": FORBIDDEN}},
}


@pytest.mark.parametrize("fields", HIDDEN.values(), ids=HIDDEN)
def test_no_text_of_a_message_is_kept_from_guards(fields: Json) -> None:
    with answering() as gateway:
        earlier = {"role": "assistant", "content": "Yes?", **fields}
        message = gateway.message(messages=[*ask()["messages"], earlier, *ask("And?")["messages"]])
        assert message["refusal"] == WITHHELD
        assert gateway.engines.history == []


def test_words_of_a_calls_frame_are_not_judged() -> None:
    guard = ScriptedGuard(Stage.INPUT)
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    with answering(guard, stages=()) as gateway:
        gateway.message(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert [excerpt.text for excerpt in guard.shown] == ["call_1", "look", "{}"]


@pytest.fixture(scope="module")
def deep() -> Iterator[Answering]:
    with answering() as gateway:
        yield gateway


def nested(levels: int, text: str) -> str:
    return "[" * levels + json.dumps(text) + "]" * levels


def post(gateway: Answering, path: str, body: str) -> httpx.Response:
    return httpx.post(gateway.url + path, content=body, timeout=PATIENCE_S)


@pytest.mark.parametrize("levels", [MOST_LEVELS, 300, 800, 940, 960, 980, 1_000, 100_000])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/tokenize"])
def test_a_body_that_is_too_deep_is_refused_cleanly(deep: Answering, path: str, levels: int) -> None:
    at_the_bottom = nested(levels, "x")
    message = f'{{"role": "user", "content": "x", "extra": {at_the_bottom}}}'
    given = '"input": "x"' if path == "/v1/responses" else f'"messages": [{message}]'
    answer = post(deep, path, f'{{{given}, "metadata": {at_the_bottom}}}')
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


def test_a_deep_body_is_judged_to_its_bottom(deep: Answering) -> None:
    message = f'{{"role": "user", "content": "x", "extra": {nested(MOST_LEVELS - 3, FORBIDDEN)}}}'
    answer = post(deep, "/v1/chat/completions", f'{{"messages": [{message}]}}')
    assert answer.json()["choices"][0]["message"]["refusal"] == WITHHELD


def turns(*texts: str) -> Json:
    return {**ask(), "messages": [{"role": "user", "content": text} for text in texts]}


def test_a_request_with_too_many_texts_is_refused_by_name() -> None:
    guard = ScriptedGuard(Stage.INPUT)
    with answering(guard, limits=LimitSettings(texts_per_request=3)) as gateway:
        refused = gateway.post(turns("a", "b", "c", "d"))
        assert guard.shown == gateway.engines.history == []
        assert gateway.post(turns("a", "b", "c", "c", "a")).status_code == 200
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "messages"
    assert sorted(excerpt.text for excerpt in guard.shown) == ["a", "b", "c"]


class Overburdened(ScriptedGuard):
    """Takes for ever over what is long-winded."""

    async def judge(self, excerpt: Excerpt, about: Conversation) -> Ruling:
        self.takes_s = PATIENCE_S if "long-winded" in excerpt.text else 0.0
        return await super().judge(excerpt, about)


def test_one_callers_texts_do_not_have_a_guard_left_out_for_others() -> None:
    with answering(Overburdened(Stage.INPUT), stages=(), deadline_s=1.0) as gateway:
        slow = gateway.post(turns(*(f"long-winded {number}" for number in range(50))))
        assert slow.json()["choices"][0]["message"]["refusal"] == WITHHELD
        assert gateway.message()["content"] == ANSWER
