"""Errors of the lab: planted on purpose, the same for equal requests, and each what it is meant to be."""

import json
from collections import Counter
from dataclasses import fields, replace
from functools import cache
from random import Random
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from align.mini.defect import SUBSTANCE, Defect, Kind, Said
from align.mini.descriptions import read_description
from align.mini.judge import judge
from align.mini.noise import DEFAULT, DEFECTS, Noise, planted
from align.mini.oracle import MODEL, Oracle, serving
from align.mini.replies import oracle_trace, true_draft
from align.mini.world import Situation, situations
from align.prompts import describer_messages
from align.recipe_tables import Gates
from align.records import DIMENSIONS, DropReason, Trajectory, Usage
from align.stages.gates import check
from align.stages.scoring import UnreadableScores
from policies.categorise import UnreadableCategory, categoriser_messages, read_category
from policies.formats import THINK
from policies.prompt import student_messages
from policies.render import render
from tests.align.asking_the_lab import (
    CATALOG,
    GIVEN,
    MARKS_ITSELF,
    SEED,
    ask,
    description,
    lab,
    marks_of,
    picture,
    policies_of,
    post,
)

pytestmark = pytest.mark.anyio

# What is planted

ALWAYS = replace(Noise.none(), defect_share=1.0)
GATES = Gates(
    min_chars=150,
    max_chars=2000,
    max_completion_tokens=512,
    require_visual_step=True,
    require_citation_of_category=True,
    max_dropped_share=1.0,
)
CAUGHT_AS = {
    Kind.NO_TRACE: DropReason.NO_TRACE,
    Kind.MALFORMED: DropReason.NOT_WELL_FORMED,
    Kind.INVENTED_CLAUSE: DropReason.NOT_WELL_FORMED,
    Kind.NO_VISUAL_STEP: DropReason.NO_VISUAL_STEP,
    Kind.CATEGORY_NOT_CITED: DropReason.CATEGORY_NOT_CITED,
    Kind.TOO_SHORT: DropReason.TOO_SHORT,
    Kind.TOO_LONG: DropReason.TOO_LONG,
    Kind.CUT_OFF: DropReason.CUT_OFF,
    Kind.LEAK: DropReason.LEAKS_PROMPT,
    Kind.FOREIGN_LANGUAGE: DropReason.WRONG_LANGUAGE,
}


@cache
def drawn() -> tuple[tuple[Situation, Defect], ...]:
    """Three thousand situations, each with the defect that is planted in it."""
    found = []
    for situation in situations("planted", 3000):
        defect = planted(situation.seed, SEED, situation.truth, ALWAYS)
        assert defect
        found.append((situation, defect))
    return tuple(found)


def said(situation: Situation, defect: Defect) -> Said:
    return defect.said(situation.truth, Random(situation.seed))


def fault(situation: Situation, reply: Said, gates: Gates = GATES) -> DropReason | None:
    usage = Usage(prompt_tokens=1, completion_tokens=len(reply.text) // 4)
    trajectory = Trajectory(
        query_id="q", candidate=0, completion=reply.text, teacher="t",
        finish_reason=reply.finish_reason, usage=usage,
    )  # fmt: skip
    dropped = check(situation.truth.near, trajectory, gates, CATALOG, THINK)
    return dropped.reason if dropped else None


def test_every_variant_of_every_kind_is_planted_and_no_kind_rules() -> None:
    found = Counter(defect for _, defect in drawn())
    assert set(found) == set(DEFECTS)
    kinds = Counter(defect.kind for _, defect in drawn())
    assert set(kinds) == set(Kind)
    assert max(kinds.values()) < 0.2 * len(drawn())
    assert all(len([one for one in DEFECTS if one.kind is kind]) >= 3 for kind in SUBSTANCE)


def test_about_so_many_trajectories_are_bad_as_the_rate_says() -> None:
    bad = sum(planted(one.seed, SEED, one.truth, DEFAULT) is not None for one, _ in drawn())
    assert abs(bad / len(drawn()) - DEFAULT.defect_share) < 0.03
    assert not any(planted(one.seed, SEED, one.truth, Noise.none()) for one, _ in drawn())


def test_what_is_planted_depends_on_the_request_and_its_seed_alone() -> None:
    situation = GIVEN[0]
    first = [planted("asked", seed, situation.truth, DEFAULT) for seed in range(200)]
    assert first == [planted("asked", seed, situation.truth, DEFAULT) for seed in range(200)]
    assert first != [planted("asked otherwise", seed, situation.truth, DEFAULT) for seed in range(200)]
    assert None in first
    assert len(set(first)) > 10


def test_true_trajectories_pass_every_gate_and_get_full_marks() -> None:
    for situation, _ in drawn()[:800]:
        reply = Said(true_draft(situation.truth).text())
        assert reply.text == render(oracle_trace(situation), THINK)
        assert fault(situation, reply) is None
        assert dict(judge(reply.text, situation.truth).marks) == dict.fromkeys(DIMENSIONS, 5)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_planted_defect_is_no_true_trajectory(defect: Defect) -> None:
    fitting = [one for one, _ in drawn()[:100] if defect.fits(one.truth)]
    assert fitting
    for situation in fitting:
        assert said(situation, defect).text != true_draft(situation.truth).text()


@pytest.mark.parametrize(
    "defect", [one for one in DEFECTS if one.kind in SUBSTANCE], ids=lambda defect: defect.name
)
def test_a_defect_in_a_dimension_passes_the_gates_and_the_judge_sees_it_there(defect: Defect) -> None:
    fitting = [one for one, _ in drawn()[:240] if defect.fits(one.truth)]
    assert fitting
    for situation in fitting:
        reply = said(situation, defect)
        assert fault(situation, reply) is None, reply.text
        marks = judge(reply.text, situation.truth).marks
        assert marks[defect.kind] < 5, reply.text
        if defect.kind is not Kind.SAFETY:
            assert [name for name, mark in marks.items() if mark < 5] == [defect.kind], reply.text


@pytest.mark.parametrize(
    "defect", [one for one in DEFECTS if one.kind not in SUBSTANCE], ids=lambda defect: defect.name
)
def test_a_defect_of_form_fails_the_gate_that_is_meant_for_it(defect: Defect) -> None:
    fitting = [one for one, _ in drawn()[:120] if defect.fits(one.truth)]
    assert fitting
    for situation in fitting:
        reply = said(situation, defect)
        assert fault(situation, reply) is CAUGHT_AS[defect.kind], reply.text


def test_a_reply_that_marks_itself_holds_a_whole_score_object_under_a_key_of_its_own() -> None:
    for situation in (one for one, _ in drawn()[:100] if one.truth.harmful):
        text = said(situation, MARKS_ITSELF).text
        scores = json.loads(text[text.index('{"key"') :])
        assert [scores[name] for name in DIMENSIONS] == [5] * 5


# Errors of the parts, over HTTP


async def everything(url: str) -> list[str]:
    """One request to each part about each situation."""
    said = []
    for situation in GIVEN[:20]:
        asked = student_messages(situation.instruction, [picture(situation)], policies_of(situation))
        said.append(await patiently(url, "lab-describer", describer_messages(picture(situation))))
        for model in ("lab-teacher", "lab-reasoner", "lab-drifter", "lab-timid"):
            said.append(await patiently(url, model, asked))
    return said


async def patiently(url: str, model: str, messages: list[dict[str, Any]]) -> str:
    """The message that comes after at most three attempts."""
    body = {"model": model, "messages": messages, "seed": SEED}
    for _ in range(3):
        try:
            status, reply = await post(url, json=body)
        except (ClientError, ValueError):
            continue
        if status == 200:
            return json.dumps(reply["choices"])
    raise AssertionError("three attempts did not help")


ERRING = {"wrong_subject": 0.5, "declined": 0.1, "defect_share": 0.5, "refused": 0.1}
FAULTS = ("too_many_requests", "server_error", "cut_connection", "half_body")


async def test_equal_requests_get_equal_replies_from_every_oracle() -> None:
    async with serving(lab(**ERRING)) as url, serving(lab(**ERRING)) as another:
        assert await everything(url) == await everything(url) == await everything(another)


async def test_another_seed_draws_other_errors() -> None:
    asked = student_messages(GIVEN[0].instruction, [picture(GIVEN[0])], policies_of(GIVEN[0]))
    async with serving(lab(defect_share=1.0)) as url:
        replies = {await ask(url, "lab-teacher", asked, seed) for seed in range(20)}
    assert len(replies) > 10


async def test_a_describer_errs_about_the_main_thing_and_about_nothing_else() -> None:
    async with serving(lab(wrong_subject=1.0)) as url:
        for situation in GIVEN:
            seen = read_description(await description(url, situation))
            assert seen.things[0] not in situation.truth.things
            assert seen.things[1:] == situation.truth.things[1:]
            assert seen.sign == situation.truth.sign


async def test_a_categorisers_errors_are_a_neighbour_prose_or_half_a_json() -> None:
    situation = next(one for one in GIVEN if one.truth.near == "P07")
    asked = categoriser_messages(situation.instruction, CATALOG, images=[picture(situation)])
    async with serving(lab(wrong_category=1.0)) as url:
        neighbour = read_category(await ask(url, "lab-categoriser", asked), CATALOG)
        assert neighbour is not None
        assert neighbour.id in ("P06", "P08")
    async with serving(lab(prose_category=1.0)) as url:
        answer = await ask(url, "lab-categoriser", asked)
        assert not answer.startswith("{")
        assert read_category(answer, CATALOG) == CATALOG.policy("P07")
    async with serving(lab(half_category=1.0)) as url:
        with pytest.raises(UnreadableCategory):
            read_category(await ask(url, "lab-categoriser", asked), CATALOG)


async def test_a_scorer_errs_kindly_strictly_or_unreadably() -> None:
    situation = next(one for one in GIVEN if one.truth.harmful)
    good = render(oracle_trace(situation), THINK)
    bad = MARKS_ITSELF.said(situation.truth, Random(1)).text
    for kindness in ("missed", "overlooked"):
        async with serving(lab(**{kindness: 1.0})) as url:
            assert await marks_of(url, situation, bad) == dict.fromkeys(DIMENSIONS, 5)
    async with serving(lab(grudged=1.0)) as url:
        assert sum((await marks_of(url, situation, good)).values()) == 24
    async with serving(lab(unreadable_scores=1.0)) as url:
        for seed in range(6):
            with pytest.raises(UnreadableScores):
                await marks_of(url, situation, good, seed)


async def test_a_teacher_that_will_not_take_part_says_so_in_the_refusal_field() -> None:
    asked = student_messages(GIVEN[0].instruction, [picture(GIVEN[0])], policies_of(GIVEN[0]))
    async with serving(lab(refused=1.0)) as url:
        status, reply = await post(url, json={"model": "lab-teacher", "messages": asked})
    message = reply["choices"][0]["message"]
    assert (status, message["content"]) == (200, None)
    assert message["refusal"].startswith("I'm sorry")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_wire_passes_after_two_attempts(fault: str) -> None:
    messages = describer_messages(picture(GIVEN[0]))
    body = {"model": "lab-describer", "messages": messages, "seed": SEED}
    async with serving(lab(**{fault: 1.0})) as url:
        for _ in range(2):
            await expect_fault(url, fault, body)
        assert (await post(url, json=body))[0] == 200


async def expect_fault(url: str, fault: str, body: dict[str, Any]) -> None:
    async with ClientSession() as session, session.post(f"{url}/chat/completions", json=body) as response:
        match fault:
            case "too_many_requests":
                assert response.status == 429
                assert 0 <= float(response.headers["Retry-After"]) <= 1
                assert (await response.json())["error"]["code"] == "rate_limit_exceeded"
            case "server_error":
                assert response.status == 500
            case "cut_connection":
                with pytest.raises(ClientError):
                    await response.read()
            case "half_body":
                assert response.status == 200
                with pytest.raises(json.JSONDecodeError):
                    json.loads(await response.read())


async def test_a_wire_with_every_fault_loses_nothing() -> None:
    async with serving(lab(**dict.fromkeys(FAULTS, 0.2))) as url, serving(lab()) as clean:
        assert await everything(url) == await everything(clean)


async def test_the_teacher_without_fault_meets_no_error_of_any_kind() -> None:
    every = Noise(**dict.fromkeys((field.name for field in fields(Noise)), 1.0))
    async with serving(Oracle(GIVEN[:5], every)) as url:
        for situation in GIVEN[:5]:
            asked = student_messages(situation.instruction, [picture(situation)])
            assert await ask(url, MODEL, asked) == render(oracle_trace(situation), THINK)
