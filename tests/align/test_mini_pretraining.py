"""What only the base model learns: where things are, and what can come of deeds."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from align.mini.consequences import draw_consequence
from align.mini.held_out import PAIRS, SIGNS, THINGS
from align.mini.questions import draw_layout, draw_presence, draw_side, draw_sign
from align.mini.recipe import Mix, load_lab_recipe
from align.mini.tasks import SIGN_TASKS, THING_TASKS
from align.mini.things import SIGN_ACTS
from align.mini.things import THINGS as KNOWN
from align.mini.train import DRAWS, drawn
from align.mini.unaligned import unaligned_reply
from align.mini.world import Situation, UnknownRequest, task_of

RECIPE = load_lab_recipe()


@cache
def consequences() -> tuple[Situation, ...]:
    return tuple(draw_consequence(f"reasoner:{index}") for index in range(3000))


def test_a_round_has_as_many_rows_of_each_kind_as_the_recipe_says() -> None:
    mix = Mix(situations=3, sides=1, layouts=1, presence=2, signs=1, consequences=2)
    recipe = RECIPE.model_copy(update={"reasoner": RECIPE.reasoner.model_copy(update={"mix": mix})})
    rows = list(drawn(recipe, 50))
    about_deeds = [row for row in rows if row.truth.wish.startswith("what can come of")]
    about_sides = [row for row in rows if row.truth.wish.startswith("on which side")]
    about_places = [row for row in rows if row.truth.wish == "where everything is"]
    assert (len(about_deeds), len(about_sides), len(about_places)) == (10, 5, 5)
    assert set(DRAWS) == set(Mix.model_fields)


def test_the_base_learns_what_comes_of_every_deed_that_alignment_leaves_out() -> None:
    learned = {(found.truth.wish, found.truth.subject) for found in consequences()}
    for task in THING_TASKS:
        for name in (*task.risky, *task.harmless):
            if name in THINGS or (task.wish, name) in PAIRS:
                deed = task.deed.format(a=KNOWN[name].article)
                assert (f"what can come of {deed}", name) in learned
    shown = {found.truth.sign for found in consequences()}
    assert set(SIGNS) <= shown <= {*SIGN_TASKS[0].risky, *SIGN_TASKS[0].harmless, None}


def test_an_answer_is_the_reason_of_the_clause_or_that_nobody_is_hurt() -> None:
    reasons = {
        risk.because.split("}")[-1].strip().lower()
        for task in (*THING_TASKS, *SIGN_TASKS)
        for risk in task.risky.values()
    }
    kinds = Counter(
        "harmless" if found.truth.found.endswith("hurts nobody.") else "harmful" for found in consequences()
    )
    assert min(kinds.values()) > 0.35 * len(consequences())
    for found in consequences():
        told = found.truth.found.rstrip(".").lower()
        assert told.endswith(("hurts nobody", *reasons)), told
        assert unaligned_reply(found).endswith(found.truth.found)


def test_the_fact_is_told_in_the_middle_of_a_thought_in_the_words_of_an_aligned_one() -> None:
    for found in consequences()[:300]:
        thought = unaligned_reply(found).partition("</think>")[0]
        question = found.truth.wish[0].upper() + found.truth.wish[1:]
        assert f" {question}? {found.truth.found}" in thought


def test_no_deed_is_asked_about_much_more_often_than_another_of_its_kind() -> None:
    acts = {f"what can come of {act}": word for word, act in SIGN_ACTS.items()}
    words = Counter(acts[found.truth.wish] for found in consequences() if found.truth.wish in acts)
    deeds = Counter(
        (found.truth.wish, found.truth.subject) for found in consequences() if found.truth.wish not in acts
    )
    for counts in (words, deeds):
        assert max(counts.values()) < 6 * min(counts.values())
    assert len(deeds) == sum(len(task.risky) + len(task.harmless) for task in THING_TASKS)
    assert words.total() == pytest.approx(0.25 * len(consequences()), rel=0.15)


@pytest.mark.parametrize("draw", [draw_consequence, draw_layout, draw_side, draw_sign])
def test_alignment_knows_no_such_question(draw: Callable[[str], Situation]) -> None:
    with pytest.raises(UnknownRequest):
        task_of(draw("any:1").instruction)


def test_a_thing_that_is_asked_for_is_there_every_other_time() -> None:
    answers = Counter(draw_presence(f"p:{index}").truth.found.split()[0] for index in range(1000))
    assert set(answers) == {"Yes,", "No,"}
    assert 430 < answers["Yes,"] < 570


def test_every_word_of_a_sign_is_read_and_told_as_a_deed() -> None:
    told = {draw_sign(f"sign:{index}").truth.found for index in range(1000)}
    assert told == {f"The sign says {word}. It asks for {act}." for word, act in SIGN_ACTS.items()}


def test_the_sides_in_a_layout_are_those_of_the_picture() -> None:
    for index in range(200):
        posed = draw_layout(f"layout:{index}")
        told = posed.truth.found.split(". ")
        for thing, sentence in zip(posed.scene.things, told, strict=True):
            assert thing.name in sentence
            middle = abs(thing.x - 56) <= 8
            place = "in the middle" if middle else "left" if thing.x < 56 else "right"
            assert place in sentence
