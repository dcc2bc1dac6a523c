"""Gates: a table of replies, and the reason each of them is dropped for."""

from pathlib import Path

import pytest

from align.mini.replies import oracle_trace
from align.mini.world import situations
from align.recipe_tables import Gates
from align.records import DropReason, Trajectory, Usage
from align.stages.gates import check
from policies.catalog import load_catalog
from policies.formats import THINK
from policies.render import render
from tests.align.recipes import recipe
from tests.align.scripted_teacher import GOOD

CATALOG = load_catalog()
GATES = Gates(
    max_chars=400,
    max_completion_tokens=80,
    require_visual_step=True,
    require_citation_of_category=True,
    max_dropped_share=0.0,
)
LOOSE = GATES.model_copy(update={"require_visual_step": False, "require_citation_of_category": False})
BLIND = GOOD.replace("[visual]", "[textual]").replace("[visual+textual]", "[textual]")
GERMAN = (
    "<think>\n[visual] Das Bild zeigt einen Hund und eine Axt. [P19.D2]\n[textual] Gefragt ist, wie man das "
    "Tier verletzt.\nVerdict: refuse [P19.R3]\n</think>\nDabei helfe ich nicht, aber gern bei der Pflege."
)
RUSSIAN = (
    "<think>\n[visual] На картинке собака. [P19.D2]\nVerdict: refuse [P19.R3]\n</think>\n"
    "Я не могу с этим помочь."
)
BENIGN = (
    "<think>\n[visual] A cake.\n[textual] The user asks how to bake it.\n"
    "Verdict: comply\n</think>\nSure: bake."
)


def trajectory(completion: str, finish: str = "stop", tokens: int | None = 10) -> Trajectory:
    usage = None if tokens is None else Usage(prompt_tokens=1, completion_tokens=tokens)
    return Trajectory(
        query_id="q", candidate=0, completion=completion, teacher="t", finish_reason=finish, usage=usage
    )


def reason(category: str | None, trajectory: Trajectory, gates: Gates = GATES) -> DropReason | None:
    dropped = check(category, trajectory, gates, CATALOG, THINK)
    return dropped.reason if dropped else None


@pytest.mark.parametrize("category", ["P19", "P07", None])
def test_a_benign_reply_needs_no_citation(category: str | None) -> None:
    assert reason(category, trajectory(BENIGN)) is None


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (GOOD, None),
        ("I will not help with that.", DropReason.NO_TRACE),
        ("<think>\nVerdict: refuse [P19.R3]\n</think>\nNo.", DropReason.NO_TRACE),
        ("<think>\nA bomb, it seems.\nVerdict: refuse\n</think>\nNo.", DropReason.NO_TRACE),
        ("I'm sorry, but I can't help with that.", DropReason.NO_TRACE),
        (GERMAN, DropReason.WRONG_LANGUAGE),
        (RUSSIAN, DropReason.WRONG_LANGUAGE),
        (GOOD.replace("[visual] ", ""), DropReason.NOT_WELL_FORMED),
        (GOOD.replace("Verdict: refuse [P19.R3]\n", ""), DropReason.NOT_WELL_FORMED),
        (GOOD.replace("P19.D2", "P19.D99"), DropReason.NOT_WELL_FORMED),
        (GOOD.split("</think>")[0], DropReason.NOT_WELL_FORMED),
        (GOOD.split("</think>")[0] + "</think>", DropReason.NOT_WELL_FORMED),
        (BLIND, DropReason.NO_VISUAL_STEP),
        (GOOD.replace("P19", "P20"), DropReason.CATEGORY_NOT_CITED),
        (GOOD.replace(" [P19.D2]", "").replace(" [P19.R3]", ""), DropReason.CATEGORY_NOT_CITED),
        (GOOD + " Sorry." * 60, DropReason.TOO_LONG),
        (GOOD.replace("The picture shows", "The description says"), DropReason.LEAKS_PROMPT),
        (
            GOOD.replace("The picture shows", "According to the image description,"),
            DropReason.LEAKS_PROMPT,
        ),
        (GOOD.replace("A bomb kills.", "The provided policy forbids bombs."), DropReason.LEAKS_PROMPT),
        (GOOD.replace("A bomb kills.", "The policy given to me forbids it."), DropReason.LEAKS_PROMPT),
        (GOOD.replace("A bomb kills.", "A description of bombs was asked for."), None),
    ],
)
def test_each_fault_has_its_reason(completion: str, expected: DropReason | None) -> None:
    assert reason("P19", trajectory(completion)) is expected


@pytest.mark.parametrize(
    "words",
    [
        "According to the given description, it is a bomb.",
        "The provided description names a bomb.",
        "The given image description names a bomb.",
        "Based on the description above, it is a bomb.",
        "Based on the above description, it is a bomb.",
        "Based upon the provided textual description, it is a bomb.",
        "The image description states that it is a bomb.",
        "The scene description clearly indicates a bomb.",
        "The description does not mention a person.",
        "The description doesn\u2019t say where it is.",
        "The description of the picture specifies a bomb.",
        "A bomb is mentioned in the description.",
        "As described in the description of the scene, it is a bomb.",
        "Judging from the description, it is a bomb.",
        "The description that was provided names a bomb.",
        "Per the image description, it is a bomb.",
    ],
)
def test_talk_of_the_description_that_only_a_teacher_got_is_dropped(words: str) -> None:
    assert reason("P19", trajectory(GOOD.replace("A bomb kills.", words))) is DropReason.LEAKS_PROMPT


@pytest.mark.parametrize(
    "words",
    [
        "The user asks to give a description of the dog.",
        "A short description of the dog follows.",
        "A short description shows respect.",
        "I can provide a description of the dog.",
        "Given a description of the dog, anybody could find it.",
        "The description of the dog should be short.",
        "The user wants a description that mentions the price.",
        "Alt text is an image description for people who cannot see.",
        "Here is a description based on the picture.",
        "They describe the picture as given.",
        "No policy speaks of dogs.",
    ],
)
def test_a_description_that_somebody_asks_for_or_writes_is_no_leak(words: str) -> None:
    assert reason("P19", trajectory(GOOD.replace("A bomb kills.", words))) is None


def test_a_reply_that_was_cut_off_is_dropped_even_if_it_reads_well() -> None:
    assert reason("P19", trajectory(GOOD, finish="length")) is DropReason.CUT_OFF


def test_tokens_count_only_where_the_server_counted_them() -> None:
    assert reason("P19", trajectory(GOOD, tokens=81)) is DropReason.TOO_LONG
    assert reason("P19", trajectory(GOOD, tokens=80)) is None
    assert reason("P19", trajectory(GOOD, tokens=None)) is None


def test_tokens_of_thoughts_that_were_not_handed_out_do_not_count() -> None:
    assert reason("P19", trajectory(GOOD, tokens=4500)) is None


def test_a_refusal_of_a_row_near_no_policy_must_still_cite_something() -> None:
    assert reason(None, trajectory(GOOD)) is None
    bare = GOOD.replace(" [P19.D2]", "").replace(" [P19.R3]", "")
    assert reason(None, trajectory(bare)) is DropReason.CATEGORY_NOT_CITED


def test_gates_can_be_switched_off_by_the_recipe() -> None:
    assert reason("P19", trajectory(BLIND), LOOSE) is None
    assert reason("P01", trajectory(GOOD), LOOSE) is None


def test_a_recipe_can_take_replies_in_any_language_or_another() -> None:
    for language, expected in (("any", None), ("de", None), ("fr", DropReason.WRONG_LANGUAGE)):
        gates = GATES.model_copy(update={"language": language})
        assert reason("P19", trajectory(GERMAN), gates) is expected


def test_a_reply_below_the_shortest_length_is_dropped() -> None:
    gates = GATES.model_copy(update={"min_chars": len(GOOD) + 1})
    assert reason("P19", trajectory(GOOD), gates) is DropReason.TOO_SHORT


def test_a_drop_names_the_candidate() -> None:
    dropped = check("P01", trajectory(GOOD), GATES, CATALOG, THINK)
    assert dropped
    assert dropped.id == "q#0"


def test_the_detail_names_the_flags() -> None:
    dropped = check("P19", trajectory(GOOD.replace("[visual] ", "")), GATES, CATALOG, THINK)
    assert dropped
    assert dropped.detail == "untagged_step"


def test_every_trajectory_of_the_oracle_passes_the_shipped_gates(tmp_path: Path) -> None:
    gates = recipe(tmp_path).gates
    for situation in situations("gates", 300):
        near = situation.truth.policy or situation.truth.look_alike
        written = trajectory(render(oracle_trace(situation), THINK))
        assert check(near, written, gates, CATALOG, THINK) is None
