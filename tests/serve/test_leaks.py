"""Each known leak of other gateways, shown closed here: on the wire of the composed gateway, enforcing.

The leaks were seen in the gateways of others: executed side by side, read in their sources or told in their
issues. What is not below is held elsewhere:

| leak | where |
|---|---|
| chunks between two samples go out unscanned; guards begin after the first tokens | test_gate_streams |
| a window is seen without its neighbours; the whole text is scanned anew each time | test_hold, test_panel |
| an engine that ignores `stream`, and whatever else no engine should send | test_hard_frames |
| headers leave before anything was cleared | test_block_on_the_wire |
| "blocked" and "guard down" can be told apart, or nobody is told | test_block_on_the_wire, test_panel |
| another adapter's weights under an old name; a client's string as a model's | test_adapters, test_failures |
| a picture's URL leads inside, or answers differently the second time | test_fetch |
| a body is parsed before it is measured, or grows when it is inflated | test_body |
| a stream goes on when its caller has left, at each of its phases | test_failures, test_hard_leaving |
| tokens of a reply that was cut off are counted as none | test_usage |
| metrics lie under several workers | test_workers |
| text leaves under another name: a tool's, an error's, a token's | test_leaks_under_other_names |
| what was not chosen leaves, in `top_logprobs` and beside a delta | test_block_on_the_wire, test_parameters |
"""

import http.client
import json
import threading
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.raw_engine import DONE, Raw, RawEngine, chunk, frames, said
from tests.fakes.scripted_engine import Scripted
from tests.fakes.scripted_guard import ScriptedGuard
from tests.fakes.scripted_guard import Told as GuardTold
from tests.serve.gateways import Gateway, eventually, running_gateway, settings_for
from tests.serve.guarded import (
    ADDRESS,
    ANSWER,
    ASKED,
    FORBIDDEN,
    STEPS,
    TRACE,
    WAYS,
    Json,
    guarded_gateway,
    tell,
)

WINDOW = 160
"""Characters of an answer that are scanned at a time, by default."""


@pytest.fixture
def gateway(guarded: Gateway) -> Gateway:
    guarded.engine.replies.clear()
    guarded.engine.history.clear()
    return guarded


def in_tokens(before: str, after: str = "") -> list[str]:
    """Seven tokens of an answer, the third of which is forbidden."""
    return [before, "a ", "b ", FORBIDDEN + " ", "c ", "d ", "e ", "f" + after]


WHERE = {
    "answer": said(in_tokens(TRACE)),
    "reasoning in tags": said(in_tokens("<think>\n[visual] It shows ", "\nVerdict: comply\n</think>\nYes.")),
    "reasoning": [
        *(chunk({"reasoning": text}) for text in in_tokens("[visual] It shows ", "\nVerdict: comply\n")),
        *said(["Yes."]),
    ],
    "reasoning_content": [
        *(
            chunk({"reasoning_content": text})
            for text in in_tokens("[visual] It shows ", "\nVerdict: comply")
        ),
        *said(["Yes."]),
    ],
    "no trace": said(in_tokens("")),
}


def as_message(chunks: list[Json]) -> bytes:
    """The same reply as one body."""
    message: dict[str, str] = {}
    for one in chunks:
        for name, text in one["choices"][0]["delta"].items():
            message[name] = message.get(name, "") + text
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def put(gateway: Gateway, chunks: list[Json], *, whole: bool) -> None:
    """What the engine says next."""
    if whole:
        gateway.engine.enqueue(Raw(writes=[as_message(chunks)], content_type="application/json"))
    else:
        gateway.engine.enqueue(Raw(writes=[*frames(chunks), DONE]))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_a_forbidden_word_delivers_none_of_it_in_any_channel(
    gateway: Gateway, api: str, stream: bool, where: str
) -> None:
    put(gateway, WHERE[where], whole=not stream)
    told = tell(gateway, api, stream)
    assert told.is_withheld
    assert told.error is None
    assert not told.holds(FORBIDDEN)
    assert told.answer == "", "not even what stood before it in its window"
    assert told.reasoning == (STEPS + "Verdict: comply" if where == "answer" else "")


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_a_harmless_reply_arrives_whole(gateway: Gateway, api: str, stream: bool) -> None:
    """Else every claim of this file would hold of a gateway that says nothing."""
    put(gateway, said([TRACE, ANSWER]), whole=not stream)
    told = tell(gateway, api, stream)
    assert (told.answer, told.reasoning, told.refusal) == (ANSWER, STEPS + "Verdict: comply", "")


@pytest.mark.parametrize("at", range(1, len(ADDRESS)))
def test_a_match_across_tokens_windows_and_reads_is_one_match(gateway: Gateway, at: int) -> None:
    """Cut between two tokens, each in a read of its own, where one window ends and the next begins."""
    before = ("word " * WINDOW)[: WINDOW - at]
    tokens = [TRACE, before, ADDRESS[:at], ADDRESS[at:], " and so on" * WINDOW]
    gateway.engine.enqueue(Raw(writes=[*frames(said(tokens)), DONE]))
    told = tell(gateway, stream=True)
    assert told.is_withheld
    assert before.startswith(told.answer)


def test_a_match_across_lines_of_a_step_is_one_match(gateway: Gateway) -> None:
    tokens = [
        "<think>\n[visual] One\nwrites to user",
        "@exa",
        "mple",
        ".com\n",
        "Verdict: comply\n</think>\nYes.",
    ]
    gateway.engine.enqueue(Raw(writes=[*frames(said(tokens)), DONE]))
    told = tell(gateway, stream=True)
    assert told.is_withheld
    assert (told.reasoning, told.answer) == ("", "")


LABEL = "zebra"


def test_no_text_of_a_caller_or_model_becomes_a_metric_label(gateway: Gateway) -> None:
    """And no series is added by another word."""

    def series() -> set[str]:
        lines = gateway.get("/metrics").text.splitlines()
        return {line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")}

    def speak(word: str) -> None:
        function = {"name": word, "arguments": f'{{"{word}": 1}}'}
        call = {"index": 0, "id": word, "type": "function", "function": function}
        spoken = [
            *said([TRACE.replace("A cat", word), f"{word} [P19.D2] [{word}]"], finish=None),
            {**chunk({word: 1, "tool_calls": [call]}, word, **{word: 1}), "model": word, word: 1},
        ]
        gateway.engine.enqueue(
            Raw(writes=[*frames(spoken), DONE]),
            Scripted(status=400, error={"code": 400, "message": word, "param": word}),
            Raw(writes=[*frames(spoken[:1]), b'data: {"error": {"code": "%b"}}\n\n' % word.encode()]),
        )
        tools = [{"type": "function", "function": {"name": word, "parameters": {}}}]
        fields: Json = {"tools": tools, "user": word, "stop": [word], "metadata": {word: word}, word: word}
        answered = tell(gateway, stream=True, **fields)
        assert word in answered.answer
        rejected = tell(gateway, messages=[{"role": word, "name": word, "content": word}])
        assert rejected.status == 400
        assert tell(gateway).status == 503
        gateway.post(
            {"messages": ASKED, "model": word}, headers={"x-request-id": word, "authorization": word}
        )
        gateway.post({"messages": ASKED, "safety": {word: word}})
        gateway.get(f"/v1/{word}")

    speak(LABEL)
    eventually(lambda: gateway.metric("groundrule_requests_in_flight") == 0)
    before = series()
    speak("aardvark")
    eventually(lambda: gateway.metric("groundrule_requests_in_flight") == 0)
    assert series() == before
    assert not any(LABEL in one or "aardvark" in one for one in before)


@pytest.mark.parametrize("waits", [False, True], ids=["on the engine", "on a guard"])
def test_a_caller_who_closes_a_plain_request_ends_the_generation(
    gateway: Gateway, bundle: Path, waits: bool
) -> None:
    """Others find out once the whole reply was generated, and paid for."""
    if not waits:
        gateway.engine.enqueue(Scripted(stalls_after=0))
        leave(gateway, lambda: bool(gateway.engine.history))
        return
    with ScriptedGuard(GuardTold({}, stalls=True)).running() as guard:
        asked = {"kind": "endpoint", "name": "slow", "format": "openai_moderation", "deadline_s": 60}
        endpoint = {**asked, "url": guard.url, "stages": ["answer"]}
        with guarded_gateway(bundle, guards=[endpoint]) as guarded:
            endless = said([TRACE, *["word " * 50] * 20], finish=None)
            guarded.engine.enqueue(Raw(writes=[*frames(endless), *[b": alive\n\n"] * 100_000]))
            leave(guarded, lambda: bool(guard.history))
            eventually(lambda: guard.history[0].left)


def leave(gateway: Gateway, is_under_way: Any) -> None:
    """Ask for a plain answer, and close when it is under way."""
    with closing(http.client.HTTPConnection(urlsplit(gateway.url).netloc)) as caller:
        caller.request("POST", "/v1/chat/completions", json.dumps({"messages": ASKED}))
        eventually(is_under_way)
    eventually(lambda: gateway.engine.history[0].aborted)
    eventually(lambda: gateway.metric("groundrule_requests_in_flight") == 0)


def test_what_an_engine_remembers_of_one_caller_is_not_sent_for_the_next(bundle: Path) -> None:
    with RawEngine().running() as engine:
        # Cookies are kept for names, never for addresses.
        engine.url = engine.url.replace("127.0.0.1", "localhost")
        with running_gateway(settings_for(engine, bundle), engine) as gateway:
            engine.enqueue(Raw(writes=[*frames(said([ANSWER])), DONE], cookie="who=first"))
            for _ in range(2):
                assert tell(gateway, stream=True).status == 200
    assert [asked.headers.get("cookie") for asked in engine.history] == [None, None]


def test_a_streamed_chunk_costs_no_pydantic(bundle: Path) -> None:
    """Other gateways validate every chunk anew, which takes more time than everything that is done here."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            origin = frame.f_code.co_filename
        else:
            origin = type(getattr(arg, "__self__", None)).__module__ if event == "c_call" else ""
        if "pydantic" in origin:
            calls.append(origin)

    threading.setprofile(note)
    try:
        with guarded_gateway(bundle) as gateway:
            counts = [calls_of(gateway, chunks, calls) for chunks in (1, 10, 200)]
    finally:
        threading.setprofile(None)
    assert counts[1] == counts[2] > 0, "a request is validated, once"


def calls_of(gateway: Gateway, chunks: int, calls: list[str]) -> int:
    """How many there were for a stream of so many chunks."""
    before = len(calls)
    gateway.engine.enqueue(Raw(writes=[*frames(said([TRACE, *["word "] * chunks])), DONE]))
    told = tell(gateway, stream=True)
    assert len(told.answer.split()) == chunks
    return len(calls) - before
