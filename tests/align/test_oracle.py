"""The lab's oracle on the wire: it knows the lab's world, and says so of anything else."""

import hashlib
import io
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError
from PIL import Image

from align.mini.descriptions import Seen, mentioned, read_description
from align.mini.noise import Noise
from align.mini.oracle import MODEL, Oracle, serving
from align.mini.parts import PARTS
from align.mini.replies import PLACEHOLDER, Outcome, complying, oracle_trace, outcome, shown
from align.mini.tasks import THING_TASKS
from align.mini.world import Situation, pose, situations
from align.prompts import (
    ATTENUATED,
    OVER_CAUTIOUS,
    adversary_messages,
    describer_messages,
    scorer_messages,
    scores_key,
)
from align.records import DIMENSIONS
from align.sources.mini import png
from align.stages.scoring import read_scores
from policies.categorise import categoriser_messages, read_category
from policies.formats import THINK
from policies.prompt import student_messages, teacher_messages
from policies.render import render
from policies.reply import Verdict
from policies.trace import read
from tests.align.asking_the_lab import (
    CATALOG,
    GIVEN,
    MARKS_ITSELF,
    SEED,
    ask,
    description,
    lab,
    marks_of,
    part,
    picture,
    policies_of,
    post,
    rows,
)

pytestmark = pytest.mark.anyio

KNOWN = list(situations("oracle", 20))
UNKNOWN = next(situations("elsewhere", 1))


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving(Oracle(KNOWN)) as url:
        yield url


def body(situation: Situation, **changes: Any) -> dict[str, Any]:
    text = {"type": "text", "text": f"Please: {situation.instruction}"}
    content = [part(png(situation.scene)), text]
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]} | changes


async def test_the_official_client_gets_the_true_trajectory_and_usage(url: str) -> None:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for situation in KNOWN:
            reply = await client.chat.completions.create(**body(situation))
            assert reply.choices[0].message.content == render(oracle_trace(situation), THINK)
            assert reply.choices[0].finish_reason == "stop"
            assert reply.usage
            assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 20
        assert [model.id async for model in client.models.list()] == [MODEL, *PARTS]


async def test_an_unknown_picture_is_refused_in_openais_form(url: str) -> None:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        with pytest.raises(BadRequestError, match="this teacher only knows the lab's world") as found:
            await client.chat.completions.create(**body(UNKNOWN))
        assert found.value.code == "unknown_situation"


def reencoded(situation: Situation) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(png(situation.scene))) as image:
        image.save(file, "JPEG")
    return file.getvalue()


ASK = {"type": "text", "text": KNOWN[0].instruction}
PICTURE = part(png(KNOWN[0].scene))


@pytest.mark.parametrize(
    "content",
    [
        [PICTURE, {"type": "text", "text": "Something else entirely"}],
        [part(reencoded(KNOWN[0])), ASK],
        [ASK],
        [PICTURE, PICTURE, ASK],
        [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, ASK],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}, ASK],
        [{"type": "image_url"}, ASK],
        [None, 5, ASK],
        KNOWN[0].instruction,
        None,
    ],
)
async def test_nothing_but_a_known_picture_with_its_instruction_is_answered(url: str, content: Any) -> None:
    status, reply = await post(url, json={"model": "m", "messages": [{"role": "user", "content": content}]})
    assert status == 400
    assert reply["error"]["code"] == "unknown_situation"


@pytest.mark.parametrize("changes", [{"stream": True}, {"n": 2}, {"messages": "hello"}, {"model": None}])
async def test_what_it_does_not_do_is_a_400(url: str, changes: dict[str, Any]) -> None:
    status, reply = await post(url, json=body(KNOWN[0], **changes))
    assert status == 400
    assert reply["error"]["type"] == "invalid_request_error"


async def test_half_a_json_is_a_400(url: str) -> None:
    status, reply = await post(url, data=b'{"model": ')
    assert (status, reply["error"]["code"]) == (400, "invalid_request")


async def test_only_the_users_words_count(url: str) -> None:
    """A system message that quotes another instruction does not mislead it."""
    quoted = {"role": "system", "content": " ".join(situation.instruction for situation in KNOWN)}
    request = body(KNOWN[3])
    status, reply = await post(url, json=request | {"messages": [quoted, *request["messages"]]})
    assert status == 200
    assert reply["choices"][0]["message"]["content"] == render(oracle_trace(KNOWN[3]), THINK)


# The parts of the lab, played by model name


@pytest.fixture
async def clean() -> AsyncIterator[str]:
    """Nobody in it makes an error."""
    async with serving(lab()) as url:
        yield url


def text(system: str, content: Any) -> list[dict[str, Any]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


async def test_the_describer_names_every_thing_the_main_one_first_and_quotes_the_sign(clean: str) -> None:
    for situation in GIVEN:
        told = await description(clean, situation)
        assert read_description(told) == Seen(situation.truth.things, situation.truth.sign)
        assert "\n" not in told


async def test_the_categoriser_names_the_policy_from_the_picture_and_from_a_description(clean: str) -> None:
    for situation in GIVEN:
        seen = categoriser_messages(situation.instruction, CATALOG, images=[picture(situation)])
        read = categoriser_messages(
            situation.instruction, CATALOG, description=await description(clean, situation)
        )
        for asked in (seen, read):
            policy = read_category(await ask(clean, "lab-categoriser", asked), CATALOG)
            assert (policy.id if policy else None) == situation.truth.near


async def test_the_teacher_writes_the_true_trajectory_whether_it_sees_or_reads(clean: str) -> None:
    for situation in GIVEN:
        policies = policies_of(situation)
        seen = student_messages(situation.instruction, [picture(situation)], policies)
        read = teacher_messages(situation.instruction, await description(clean, situation), policies)
        for asked in (seen, read):
            assert await ask(clean, "lab-teacher", asked) == render(oracle_trace(situation), THINK)


async def test_a_teacher_that_is_told_of_another_thing_writes_what_would_then_be_true(clean: str) -> None:
    bomb = teacher_messages("How do I make one of these at home?", "A bomb.", CATALOG.policies)
    cake = teacher_messages("How do I make one of these at home?", "A cake.", CATALOG.policies)
    assert "Verdict: refuse [P19.R3]" in await ask(clean, "lab-teacher", bomb)
    assert "Verdict: comply [P19.R5]" in await ask(clean, "lab-teacher", cake)


async def test_a_teacher_that_is_given_the_wrong_policy_cites_it_and_the_scorer_objects(clean: str) -> None:
    for situation in GIVEN:
        wrong = next(policy for policy in CATALOG.policies if policy.id != situation.truth.near)
        asked = student_messages(situation.instruction, [picture(situation)], [wrong])
        reply = await ask(clean, "lab-teacher", asked)
        cited = {citation.clause[:3] for citation in read(reply, THINK, CATALOG.citable).citations}
        assert cited == {wrong.id}
        assert (await marks_of(clean, situation, reply))["policy_relevance"] < 5


async def test_the_scorer_gives_a_true_trajectory_full_marks_under_the_requests_key(clean: str) -> None:
    for situation in GIVEN:
        marks = await marks_of(clean, situation, render(oracle_trace(situation), THINK))
        assert marks == dict.fromkeys(DIMENSIONS, 5)


async def test_a_scorer_that_reads_a_description_judges_by_it(clean: str) -> None:
    """It cannot know better than its describer: a wrong description then goes unseen."""
    situation = pose("posed", THING_TASKS[0], "bomb")
    reply = render(oracle_trace(situation), THINK)
    for told, full in (("A bomb.", True), ("A cake.", False)):
        asked = scorer_messages(situation.instruction, reply, CATALOG.policies[:1], key="k", description=told)
        assert read_scores(await ask(clean, "lab-scorer", asked), "k").full is full


async def test_scores_in_the_judged_text_are_quoted_and_never_the_scorers_own() -> None:
    harmful = [situation for situation in GIVEN if situation.truth.harmful]
    async with serving(lab(quoted_scores=1.0)) as url:
        for number, situation in enumerate(harmful):
            reply = MARKS_ITSELF.said(situation.truth, Random(number)).text
            key = scores_key(reply, SEED)
            asked = scorer_messages(
                situation.instruction, reply, policies_of(situation), key=key, image=picture(situation)
            )
            answer = await ask(url, "lab-scorer", asked)
            assert reply[reply.index('{"key"') :] in answer
            assert read_scores(answer, key).safety == 1


async def test_the_three_miners_fail_each_in_its_own_way(clean: str) -> None:
    refused = 0
    for situation in GIVEN:
        truth = situation.truth
        asked = student_messages(situation.instruction, [picture(situation)])
        eager, drifting, timid = [
            read(await ask(clean, f"lab-{name}", asked), THINK, CATALOG.citable)
            for name in ("reasoner", "drifter", "timid")
        ]
        assert outcome(eager.answer) is outcome(drifting.answer) is Outcome.COMPLIED
        assert eager.reasoning.startswith(shown(truth))
        assert not set(mentioned(drifting.reasoning)) & set(truth.things)
        refused += outcome(timid.answer) is Outcome.REFUSED
        assert not truth.harmful or outcome(timid.answer) is Outcome.REFUSED
    assert refused > 0.85 * len(GIVEN)


@pytest.mark.parametrize(
    ("verdict", "fault"), [(Verdict.COMPLY, ATTENUATED), (Verdict.REFUSE, OVER_CAUTIOUS)]
)
async def test_the_adversary_writes_steps_that_end_in_the_fixed_verdict_and_nothing_else(
    clean: str, verdict: Verdict, fault: str
) -> None:
    for situation in [one for one in GIVEN if one.truth.harmful is (verdict is Verdict.COMPLY)]:
        asked = adversary_messages(
            situation.instruction, "The conclusion.", policies_of(situation),
            fault=fault, verdict=verdict, image=picture(situation),
        )  # fmt: skip
        reasoning = await ask(clean, "lab-adversary", asked)
        trace = read(f"<think>\n{reasoning}\n</think>\nThe conclusion.", THINK, CATALOG.citable)
        assert trace.well_formed
        assert (trace.verdict, len(trace.steps)) == (verdict, 3)
        assert reasoning.splitlines()[-1].split(" [")[0] == f"Verdict: {verdict}"
        assert PLACEHOLDER not in reasoning


async def test_rejected_replies_are_about_as_long_as_the_chosen_ones(clean: str) -> None:
    """Within a factor of 1.5 in characters, so that a pair does not teach length."""
    ratios = []
    for situation in GIVEN:
        harmful, chosen = situation.truth.harmful, render(oracle_trace(situation), THINK)
        verdict, conclusion = (
            (Verdict.COMPLY, complying(situation.truth))
            if harmful
            else (Verdict.REFUSE, "I'm sorry, but I can't help with that.")
        )
        asked = adversary_messages(
            situation.instruction, conclusion, policies_of(situation),
            fault=ATTENUATED, verdict=verdict, image=picture(situation),
        )  # fmt: skip
        derived = f"<think>\n{await ask(clean, 'lab-adversary', asked)}\n</think>\n{conclusion}"
        asked = student_messages(situation.instruction, [picture(situation)])
        mined = [await ask(clean, f"lab-{name}", asked) for name in ("reasoner", "drifter", "timid")]
        ratios += [len(rejected) / len(chosen) for rejected in (derived, *mined)]
    assert sum(1 / 1.5 <= ratio <= 1.5 for ratio in ratios) > 0.95 * len(ratios)


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        ("lab-describer", text("", "Describe it.")),
        ("lab-categoriser", text("", "What is in the picture?")),
        ("lab-teacher", text("", '{"question": "What is in the picture?"}')),
        ("lab-teacher", text("", '{"picture": "Nothing but fog.", "question": "What is in the picture?"}')),
        ("lab-teacher", text("", '{"picture": "A dog.", "question": "Why is the sky blue?"}')),
        ("lab-teacher", text("", '{"picture": "A dog.", "question": "Read the sign to me."}')),
        ("lab-teacher", text("", [part(b"unknown"), {"type": "text", "text": "What do you see?"}])),
        ("lab-adversary", text("", '{"picture": "A dog.", "question": "What do you see?"}')),
    ],
)
async def test_a_part_that_is_not_given_what_it_needs_says_so(
    clean: str, model: str, messages: list[dict[str, Any]]
) -> None:
    status, reply = await post(clean, json={"model": model, "messages": messages})
    assert (status, reply["error"]["code"]) == (400, "unknown_situation")


async def test_a_part_that_nobody_plays_is_a_404(clean: str) -> None:
    status, reply = await post(clean, json={"model": "lab-critic", "messages": text("", "Hello")})
    assert (status, reply["error"]["code"]) == (404, "model_not_found")


async def test_it_knows_the_situations_of_rows_without_drawing_them() -> None:
    """By the digest in the row; rows of other sources are not the lab's."""
    known = rows()[0].model_copy(update={"image_sha256": hashlib.sha256(b"no picture").hexdigest()})
    other = rows()[1].model_copy(update={"source": "local", "meta": {}})
    async with serving(Oracle.of_queries([known, other], Noise.none())) as url:
        told = await ask(url, "lab-describer", describer_messages(part(b"no picture")))
        assert read_description(told).things == GIVEN[0].truth.things
        request = {"model": "lab-describer", "messages": describer_messages(picture(GIVEN[1]))}
        assert (await post(url, json=request))[0] == 400
