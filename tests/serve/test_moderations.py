"""POST /v1/moderations: the framework applied to a text and a picture."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from openai import AsyncOpenAI
from starlette.types import Message

from serve.errors import EngineUnavailable
from tests.serve.answering import BASE, Answering, Said, answering
from tests.serve.judging import COMPLIES, PICTURE, REFUSES, judging, reasoning

pytestmark = pytest.mark.anyio
TEXT = "Some text."
TEXT_AND_PICTURE = [
    {"type": "text", "text": TEXT},
    {"type": "image_url", "image_url": {"url": PICTURE}},
]


@pytest.fixture(scope="module")
def around() -> Iterator[Answering]:
    with answering() as running:
        yield running


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_what_the_model_refuses_is_flagged_in_openais_shape(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(REFUSES)
        answer = await asked.moderate(TEXT)
    body = answer.json()
    assert answer.status_code == 200
    assert body["id"].startswith("modr-")
    assert body["model"] == "groundrule"
    (result,) = body["results"]
    assert result["flagged"] is True
    assert len(result["categories"]) == 20
    flagged = {name for name, holds in result["categories"].items() if holds}
    assert flagged == {"terrorism_or_extremism", "hacking_or_digital_crime"}
    assert {name for name, score in result["category_scores"].items() if score == 1.0} == flagged
    assert result["safety"]["verdict"] == "refuse"
    assert result["safety"]["citations"] == ["P19.D2", "P08.D1", "P19.D1", "P19.R3"]


async def test_categories_say_whether_picture_or_text_spoke(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(REFUSES, reasoning("No source is named here. [P08.D1]"))
        (both,) = (await asked.moderate(TEXT_AND_PICTURE)).json()["results"]
        (unknown,) = (await asked.moderate(TEXT)).json()["results"]
    applied = both["category_applied_input_types"]
    assert applied["terrorism_or_extremism"] == ["image", "text"]
    assert applied["hacking_or_digital_crime"] == ["text"]
    assert applied["animal_abuse"] == []
    assert unknown["categories"]["hacking_or_digital_crime"]
    assert unknown["category_applied_input_types"]["hacking_or_digital_crime"] == []


async def test_what_it_would_help_with_is_not_flagged_whatever_it_borders_on(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(COMPLIES, reasoning("[textual] Careful. [P19.D1]", verdict="safe_complete [P19.R4]"))
        results = (await asked.moderate([TEXT, "Another text."])).json()["results"]
    assert [result["flagged"] for result in results] == [False, False]
    assert not any(holds for result in results for holds in result["categories"].values())


UNDECIDED = {
    "no trace": ("I would rather not say.", "stop"),
    "no verdict": ("<think>\n[textual] A step. [P19.D1]\n", "stop"),
    "a verdict that is cut": ("<think>\n[textual] A step.\nVerdict: com", "length"),
    "a verdict that may have gone on": (REFUSES, "length"),
    "no end": (COMPLIES, None),
    "two verdicts": (
        "<think>\n[textual] A step.\nVerdict: refuse\n[textual] On second thoughts.\nVerdict: comply\n",
        "stop",
    ),
    "a verdict against its own clause": (reasoning("[textual] A step.", verdict="comply [P19.R3]"), "stop"),
    "a verdict alone": ("<think>\nVerdict: comply\n", "stop"),
    "an empty reply": ("", "stop"),
    "text without end": (reasoning("x" * (1 << 20), verdict="comply"), "stop"),
}


@pytest.mark.parametrize("how", UNDECIDED)
async def test_no_verdict_is_never_not_flagged(around: Answering, how: str) -> None:
    text, finish = UNDECIDED[how]
    async with judging(around) as asked:
        asked.says(text, finish=finish)
        answer = await asked.moderate(TEXT)
    assert code_of(answer) == (503, "undecided")
    assert "retry-after" in answer.headers


async def test_one_undecided_text_leaves_no_answer_for_the_others(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(COMPLIES, "No trace.", COMPLIES)
        assert code_of(await asked.moderate(["one", "two", "three"])) == (503, "undecided")


async def test_a_model_that_is_silent_is_not_waited_for_longer_than_its_deadline(around: Answering) -> None:
    async with judging(around, deadline_s=0.2) as asked:
        asked.around.say(Said(COMPLIES, stalls_after=0))
        assert code_of(await asked.moderate(TEXT)) == (503, "undecided")
        assert asked.around.engines.history[0].is_left


async def test_a_caller_who_leaves_ends_the_judging(around: Answering) -> None:
    async with judging(around) as asked:
        around.say(Said(COMPLIES, stalls_after=0))
        coming: list[Message] = [{"type": "http.request", "body": b'{"input": "Some text."}'}]

        async def receive() -> Message:
            if coming:
                return coming.pop()
            while not around.engines.history:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(_: Message) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": "/v1/moderations", "headers": []}
        await asked.app({**scope, "query_string": b"", "root_path": ""}, receive, send)
        assert around.engines.history[0].is_left
        assert (around.row.status, around.row.outcome) == (499, "aborted")


async def test_an_engine_that_is_away_is_told_as_it_is(around: Answering) -> None:
    async with judging(around) as asked:
        asked.around.say(Said(refuses=EngineUnavailable("the engine is starting; try again")))
        assert code_of(await asked.moderate(TEXT)) == (503, "engine_unavailable")


async def test_the_model_is_asked_as_by_anyone_and_stopped_before_its_answer(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(COMPLIES)
        await asked.moderate(TEXT_AND_PICTURE)
        (heard,) = asked.around.engines.history
    payload = heard.call.payload
    (message,) = payload["messages"]
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert payload["temperature"] == 0
    assert "</think>" in payload["stop"]


async def test_reasoning_that_an_engine_took_apart_is_read_alike(around: Answering) -> None:
    async with judging(around) as asked:
        thought = REFUSES.removeprefix("<think>")
        asked.around.say(Said("", delta_extras={"reasoning": thought}))
        (result,) = (await asked.moderate(TEXT)).json()["results"]
    assert result["flagged"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        ([], "input"),
        (7, "input"),
        (["text", {"type": "text", "text": "mixed"}], "input[0]"),
        ([{"type": "video"}], "input[0]"),
        ([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:,x"}}], "input[1]"),
        (["text"] * 33, "input"),
    ],
)
async def test_what_cannot_be_judged_is_refused_by_name(around: Answering, given: Any, param: str) -> None:
    async with judging(around) as asked:
        answer = await asked.moderate(given)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_openais_names_mean_whoever_judges_here_and_others_are_looked_up(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(COMPLIES, COMPLIES)
        assert (await asked.moderate(TEXT, model="omni-moderation-latest")).json()["model"] == "groundrule"
        assert (await asked.moderate(TEXT, model="groundrule")).status_code == 200
        assert code_of(await asked.moderate(TEXT, model="gpt-9")) == (404, "model_not_found")
        assert code_of(await asked.moderate(TEXT, model=BASE)) == (400, "invalid_request")
        assert len(asked.around.engines.history) == 2


async def test_the_official_sdk_reads_it(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(REFUSES)
        transport = httpx2.ASGITransport(asked.app)
        async with AsyncOpenAI(
            base_url="http://gateway/v1",
            api_key="unused",
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=transport),
        ) as sdk:
            told = await sdk.moderations.create(input=TEXT, model="omni-moderation-latest")
    assert told.results[0].flagged
    assert told.results[0].categories.model_extra == {
        **dict.fromkeys(told.results[0].categories.model_extra or {}, False),
        "terrorism_or_extremism": True,
        "hacking_or_digital_crime": True,
    }


async def test_every_judgement_leaves_an_audit_row_without_the_text(around: Answering) -> None:
    async with judging(around) as asked:
        asked.says(REFUSES)
        asked.around.say(Said("No trace."))
        await asked.moderate(TEXT_AND_PICTURE)
        await asked.moderate(TEXT)
        judged, undecided = asked.around.ledger.rows
    assert (judged.api, judged.status, judged.outcome) == ("moderations", 200, "ok")
    assert judged.choices[0].verdict == "refuse"
    assert judged.choices[0].clauses[0] == "P19.D2"
    assert (judged.prompt_tokens, judged.completion_tokens) == (11, 20)
    assert len(judged.picture_digests) == 1
    assert (undecided.status, undecided.outcome, undecided.choices) == (503, "undecided", ())
    assert TEXT not in json.dumps([repr(judged), repr(undecided)])
