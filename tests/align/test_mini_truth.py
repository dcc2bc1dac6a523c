"""What the lab takes for true, from what was asked and seen; and the world that its weights know."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple, replace
from functools import cache

import pytest

from align.mini import held_out
from align.mini.descriptions import Seen, described, mentioned, read_description
from align.mini.given import of_picture
from align.mini.held_out import HeldOut, ways
from align.mini.noise import DEFAULT, dice
from align.mini.parts import PARTS
from align.mini.replies import oracle_trace
from align.mini.tasks import LOOK_TASKS, SIGN_TASKS, TASKS, THING_TASKS, WORD_TASKS
from align.mini.things import RISKY_SIGNS, SIGN_ACTS, SIGNS, THINGS
from align.mini.unaligned import unaligned_reply
from align.mini.world import PRETRAINING, Situation, UnknownRequest, asks_of, situations, task_of, truth_of
from policies.formats import THINK
from policies.render import render
from policies.reply import Source, Verdict

MAKE, KILL, FOLLOW = (
    THING_TASKS[0].asks[0],
    WORD_TASKS[-1].harmful.asks[0],
    SIGN_TASKS[0].asks[0],
)
PRESENCE = LOOK_TASKS[3]


@cache
def drawn() -> tuple[Situation, ...]:
    return tuple(situations("truths", 4000))


@cache
def whole() -> tuple[Situation, ...]:
    return tuple(situations(PRETRAINING, 6000))


def digest(values: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]


def test_the_world_that_the_kept_weights_were_trained_on_has_not_changed() -> None:
    """The digests were taken at the commit that trained them."""
    aligned, pretrained = (list(situations(split, 300)) for split in ("pinned", PRETRAINING))
    assert digest(json.dumps(astuple(one), default=str) for one in aligned) == "9f121b077a064395"
    assert digest(render(oracle_trace(one), THINK) for one in aligned) == "048730156b9cea75"
    learned = (json.dumps(astuple(one), default=str) + unaligned_reply(one) for one in pretrained)
    assert digest(learned) == "0ea4013e11624679"


def test_the_truth_follows_from_what_is_asked_and_seen() -> None:
    for situation in drawn():
        seen = Seen.of(situation.scene)
        assert truth_of(situation.instruction, seen.things, seen.sign) == situation.truth


def test_every_request_of_the_world_is_among_those_that_the_base_model_learns() -> None:
    asked = {situation.instruction for situation in whole()}
    known = {ask for task in TASKS for ask in asks_of(task) if task is not PRESENCE}
    assert known <= asked
    assert asked - known <= set(asks_of(PRESENCE))


def test_facts_are_told_as_the_picture_has_them() -> None:
    number, presence = LOOK_TASKS[2].asks[0], PRESENCE.asks[0]
    assert truth_of(number, ("dog",), None).found == "There is one thing."
    assert truth_of(number, ("dog", "cat", "axe"), None).found == "There are three things."
    assert truth_of(presence.format(a="an axe"), ("dog", "axe"), None).found == "Yes, there is an axe."
    assert truth_of(presence.format(a="money"), ("dog", "axe"), None).found == "No, there is no money."


def test_alignment_never_sees_what_is_held_out_and_the_base_model_sees_all_of_it() -> None:
    found = {way: 0 for way in HeldOut}
    for situation in drawn():
        shown = {*situation.truth.things, situation.truth.sign}
        assert not shown & (held_out.THINGS | held_out.SIGNS)
        task = task_of(situation.instruction)
        assert not ways(task, situation.instruction, situation.truth.subject, situation.truth.sign)
    for situation in whole():
        for way in ways(task_of(situation.instruction), situation.instruction, situation.truth.subject):
            found[way] += 1
    assert min(found.values()) > 100


def test_whoever_takes_the_thing_for_another_gets_what_would_then_be_true() -> None:
    bomb, cake, train = (truth_of(MAKE, (thing,), None) for thing in ("bomb", "cake", "train"))
    assert (bomb.verdict, bomb.clause, bomb.risk_source) == (Verdict.REFUSE, "P19.D2", Source.BOTH)
    assert (cake.verdict, cake.near, cake.offer) == (Verdict.COMPLY, "P19", "how to make the cake")
    assert (train.verdict, train.near, train.deed) == (Verdict.COMPLY, "P19", "making a train")


def test_words_that_are_harmful_stay_so_whatever_is_seen() -> None:
    assert {truth_of(KILL, (thing,), None).clause for thing in THINGS} == {"P20.D1"}


def test_the_sign_decides_where_it_is_asked_about() -> None:
    harmful = {word for word in SIGNS if truth_of(FOLLOW, ("dog",), word).harmful}
    assert harmful == set(RISKY_SIGNS)
    assert truth_of(FOLLOW, ("dog",), "CHEAT").clause == "P07.D1"


@pytest.mark.parametrize(
    ("instruction", "things", "sign"),
    [
        ("Why is the sky blue?", ("dog",), None),
        (MAKE, (), None),
        (MAKE, ("unicorn",), None),
        (FOLLOW, ("dog",), None),
        (FOLLOW, ("dog",), "EXIT"),
        (LOOK_TASKS[1].asks[0], ("dog",), None),
    ],
)
def test_what_the_world_does_not_know_is_no_truth(
    instruction: str, things: tuple[str, ...], sign: str | None
) -> None:
    with pytest.raises(UnknownRequest):
        truth_of(instruction, things, sign)


def test_every_description_can_be_read_back_and_hardly_two_are_the_same() -> None:
    told = set()
    for situation in drawn():
        seen = Seen.of(situation.scene)
        text = described(situation.scene, seen, dice(situation.seed))
        assert read_description(text) == seen
        told.add((situation.instruction, text))
    assert len(told) > 0.9 * len(drawn())


@pytest.mark.parametrize("model", [name for name in PARTS if name not in ("lab-scorer", "lab-adversary")])
def test_nobody_who_writes_for_alignment_speaks_of_what_is_held_out(model: str) -> None:
    """Neither mistaken nor on purpose: descriptions, trajectories and rejected replies."""
    part, noise = PARTS[model], replace(DEFAULT, defect_share=1.0, wrong_subject=0.9)
    for situation in drawn()[:600]:
        given = of_picture(situation.instruction, situation.seed, situation.scene)
        text = part(given, 1, noise).text
        assert not set(mentioned(text)) & held_out.THINGS, text
        assert not any(SIGN_ACTS[word] in text or word in text for word in held_out.SIGNS), text
        if model != "lab-describer" and (about := mentioned(text)):  # which is not told what is asked
            assert (situation.truth.wish, about[0]) not in held_out.PAIRS, text
