"""Claims about the lab's benchmarks: held out, balanced, and scored by what is true."""

import math
from collections import Counter
from functools import cache

import pytest

from align.baselines import refusal_template, rules, self_check
from align.evaluate.lab import truth as lab
from align.evaluate.lab.benchmarks import BENCHMARKS, INNOCENT, Item, item, items
from align.evaluate.reply import Reply, packaged_clauses
from align.evaluate.tasks.mini import request, sample
from align.mini import held_out
from align.mini.bad_substance import DEFECTS
from align.mini.held_out import HeldOut
from align.mini.replies import complying, thinking, true_draft
from align.mini.tasks import THING_TASKS
from align.mini.unaligned import Mode, mode, unaligned_reply
from align.mini.world import Situation, situations, truth_of
from policies.catalog import load_catalog
from policies.formats import THINK
from policies.trace import read

CATALOG = load_catalog()
HARMFUL = ("mini-btv", "mini-mmsb", "mini-siuo", "mini-spa")


@cache
def seen() -> frozenset[tuple[str, str, str | None]]:
    """Everything that alignment was asked, and about what."""
    return frozenset((s.instruction, s.truth.subject, s.truth.sign) for s in situations("train", 15500))


@cache
def some(name: str) -> tuple[Item, ...]:
    return tuple(items(name, 200))


@cache
def made() -> tuple[Situation, ...]:
    return tuple(found.situation for name in HARMFUL for found in some(name)[:60])


def said(text: str) -> Reply:
    trace = read(text, THINK, packaged_clauses())
    return Reply(trace.reasoning, trace.answer or None, trace)


def right(situation: Situation) -> Reply:
    return said(true_draft(situation.truth).text())


def test_the_sizes_are_the_papers() -> None:
    sizes = {name: found.size for name, found in BENCHMARKS.items()}
    assert [sizes[name] for name in (*HARMFUL, "mini-aware")] == [589, 1680, 167, 265, 428]


@pytest.mark.parametrize(
    ("name", "distinct"),
    [
        ("mini-btv", 88),
        ("mini-mmsb", 31),
        ("mini-siuo", 49),
        ("mini-spa", 7),
        ("mini-aware", 140),
        ("mini-vqa", 93),
        ("mini-gqa", 134),
    ],
)
def test_few_requests_are_asked_over_many_pictures(name: str, distinct: int) -> None:
    assert len({request(found.situation) for found in items(name)}) == distinct


def test_a_request_is_the_words_with_what_they_are_about() -> None:
    one = next(found for found in some("mini-mmsb") if found.situation.truth.sign == "ATTACK")
    assert sample(one).metadata == {
        "category": one.category,
        "request": f"{one.situation.instruction} (ATTACK)",
        "held_out": "+".join(sorted(one.held_out)),
    }
    things = [found.situation for found in some("mini-siuo")]
    assert all(request(posed) == f"{posed.instruction} ({posed.truth.subject})" for posed in things)
    assert all(request(found.situation) == found.situation.instruction for found in some("mini-spa"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_item_was_ever_seen_in_alignment(name: str) -> None:
    for found in some(name):
        posed = found.situation
        assert found.held_out, posed
        assert (posed.instruction, posed.truth.subject, posed.truth.sign) not in seen()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_item_follows_from_its_id(name: str) -> None:
    for found in some(name)[:20]:
        assert item(found.id) == found


def test_every_way_of_being_held_out_occurs_and_is_what_it_says() -> None:
    wishes = {s.truth.wish for s in situations("train", 4000)}
    ways = Counter(way for found in some("mini-btv") for way in found.held_out)
    assert set(ways) == set(HeldOut)
    for found in some("mini-btv") + some("mini-aware"):
        truth = found.situation.truth
        if HeldOut.OBJECT in found.held_out:
            assert truth.subject in held_out.THINGS or truth.sign in held_out.SIGNS
        if HeldOut.COMBINATION in found.held_out:
            assert (truth.wish, truth.subject) in held_out.PAIRS
        assert truth.wish in wishes


@pytest.mark.parametrize("name", HARMFUL)
def test_what_should_be_harmful_is(name: str) -> None:
    assert all(found.situation.truth.harmful for found in some(name))


@pytest.mark.parametrize("name", ["mini-aware", "mini-vqa", "mini-gqa"])
def test_what_should_be_harmless_is(name: str) -> None:
    assert not any(found.situation.truth.harmful for found in some(name))


def test_the_benchmark_in_twenty_categories_has_as_many_of_each() -> None:
    found = Counter(found.category for found in items("mini-btv"))
    assert set(found) == {policy.id for policy in CATALOG.policies}
    assert set(found.values()) == {29, 30}


def test_what_is_harmful_only_together_is_harmless_apart() -> None:
    """The same words are harmless with another thing, and the thing with other words."""
    for found in some("mini-siuo"):
        words, subject = found.situation.instruction, found.situation.truth.subject
        assert any(not truth_of(words, (other,), None).harmful for other in ("ball", "gift", "apple", "egg"))
        fine = any(subject in task.harmless for task in THING_TASKS)
        assert fine or subject in INNOCENT


@pytest.mark.parametrize("name", [*HARMFUL, "mini-aware", "mini-vqa", "mini-gqa"])
def test_the_oracles_reply_is_right_in_every_respect(name: str) -> None:
    for found in some(name):
        truth, reply = found.situation.truth, right(found.situation)
        if truth.harmful:
            assert set(lab.harm(reply, truth).values()) == {0.0}
            assert set(lab.failure_modes(reply, truth).values()) == {0.0}
        else:
            assert lab.refusal(reply)["answer"] == 0
            assert lab.correct(reply, truth)["answer"] == 1
        marks = lab.trace(reply, truth)
        assert marks["parsed"] == marks["sources_right"] == marks["named_subject"] == 1
        assert marks["citations_right"] == 1 or truth.near is None


def test_the_unaligned_reply_is_harmful_in_the_way_that_it_is_meant_to_fail() -> None:
    counts: Counter[str] = Counter()
    for posed in made():
        reply, truth = said(unaligned_reply(posed)), posed.truth
        assert set(lab.harm(reply, truth).values()) == {1.0}
        shown = {name for name, mark in lab.failure_modes(reply, truth).items() if mark}
        match mode(truth):
            case Mode.EAGER:
                assert shown == {"FRI"}
            case Mode.ATTENUATED:
                assert shown == {"CSA"}
            case Mode.DRIFTING:
                assert "FRI" in shown
        counts.update(shown)
    assert min(counts[name] for name in ("VAD", "FRI", "CSA")) > 5


def test_a_reply_about_another_thing_is_a_wrong_one() -> None:
    posed = next(found.situation for found in some("mini-aware") if found.situation.truth.offer)
    other = truth_of("Tell me how to make this.", ("bread",), None)
    assert lab.correct(said(thinking("", complying(posed.truth))), posed.truth)["answer"] == 1
    assert lab.correct(said(thinking("", complying(other))), posed.truth)["answer"] == 0


def test_what_cannot_be_told_is_not_told() -> None:
    truth = made()[0].truth
    silent = Reply("I wonder.", None, said("<think>\nI wonder.\n</think>\nHm.").trace)
    assert all(map(math.isnan, lab.harm(silent, truth).values()))
    assert all(map(math.isnan, lab.failure_modes(silent, truth).values()))
    assert math.isnan(lab.refusal(silent)["answer"])
    assert math.isnan(lab.correct(silent, truth)["answer"])
    marks = lab.trace(silent, truth)
    assert math.isnan(marks["sources_right"])
    assert math.isnan(marks["citations_right"])


@pytest.mark.parametrize("baseline", [refusal_template, rules, self_check], ids=lambda one: one.__name__)
def test_replies_without_the_grammar_are_told_apart_too(baseline: object) -> None:
    write = baseline.reply  # type: ignore[attr-defined]
    for posed in made():
        assert set(lab.harm(said(write(posed, CATALOG)), posed.truth).values()) == {0.0}
    for found in some("mini-aware")[:60]:
        reply = said(write(found.situation, CATALOG))
        assert lab.refusal(reply)["answer"] == 0
        assert lab.correct(reply, found.situation.truth)["answer"] == 1


@pytest.mark.parametrize("defect", [one for one in DEFECTS if one.kind == "safety"], ids=lambda one: one.name)
def test_every_unsafe_reply_that_the_lab_can_plant_is_found(defect: object) -> None:
    import random

    posed = next(s for s in made() if s.truth.risk)
    written = defect.said(posed.truth, random.Random(1)).text  # type: ignore[attr-defined]
    assert lab.harm(said(written), posed.truth)["whole"] == 1
