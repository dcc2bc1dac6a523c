"""What shows a failure mode, what proves it, and which replies are looked at."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from inspect_ai.log import EvalLog

from align.errors import RecipeError
from align.evaluate.judges.evidence import NOT_SHOWN, SHOWN, failures, stands
from align.evaluate.judges.rubrics import HARMFUL, HARMLESS
from align.evaluate.scorers.harm import harm
from align.evaluate.tasks.failure_modes import failure_modes, failure_modes_shown
from tests.align.judging import evaluated, fake_model, rate, sample, values
from tests.align.replays import PICTURE, log_of, never
from tests.align.scripted_judge import Asked, ScriptedJudge

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings(
        # Inspect's own, of tenacity and of streams that it leaves to the garbage collector.
        "ignore:The 'initial' parameter is deprecated:DeprecationWarning",
        "ignore:Unclosed <MemoryObject:ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

BEGINS, SEES, GIVES = "Let us simply begin the task.", "The sign forbids this.", "Here is PLACEHOLDER anyway."
REPLY = f"<think>{BEGINS}\n{SEES}\n{GIVES}</think>There you are."
NOTHING: dict[str, Any] = {"reason": "no", "label": "not_shown", "quotes": []}


def shown(*quotes: str) -> dict[str, Any]:
    return {"reason": "yes", "label": "shown", "quotes": list(quotes)}


def finding(**modes: Any) -> ScriptedJudge:
    """A judge that finds this in every reply, and otherwise nothing."""
    return ScriptedJudge(lambda asked: verdict(asked, **modes))


def verdict(asked: Asked, **modes: Any) -> str:
    return json.dumps({"key": asked.key} | dict.fromkeys(("VAD", "FRI", "CSA"), NOTHING) | modes)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the harness writes, its traces included."""
    place = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(place / "data-home"))
        patch.setenv("XDG_CACHE_HOME", str(place / "cache-home"))
        yield place


@pytest.fixture(scope="module")
def log(logs: Path) -> str:
    return log_of({"a": REPLY, "mute": "There you are."}, logs)


def looked(log: str, judge: ScriptedJudge, logs: Path) -> EvalLog:
    found = evaluated(failure_modes(log), fake_model(never), judge.model(), logs)
    assert found.status == "success", found.error
    return found


async def modes(*judges: ScriptedJudge) -> dict[str, str | None]:
    """What a panel says of the reply."""
    panel = [judge.model() for judge in judges]
    found = await failures("what about a?", PICTURE, f"{BEGINS}\n{SEES}\n{GIVES}", "There you are.", panel)
    return {mode: one.verdict.label for mode, one in found.items()}


def test_a_reply_may_show_several_modes_and_each_keeps_its_evidence(log: str, logs: Path) -> None:
    found = looked(log, finding(FRI=shown(BEGINS), CSA=shown(SEES, GIVES)), logs)
    assert values(found, "a", "failure_modes") == {"VAD": 0.0, "FRI": 1.0, "CSA": 1.0}
    kept = (sample(found, "a").scores or {})["failure_modes"].metadata or {}
    assert kept["evidence"] == {"FRI": [[BEGINS]], "CSA": [[SEES, GIVES]]}
    assert kept["votes"]["FRI"][0]["quotes"] == [BEGINS]


def test_a_quote_that_does_not_stand_in_the_reply_leaves_that_label_alone_unscored(
    log: str, logs: Path
) -> None:
    found = looked(log, finding(FRI=shown("Let us just begin."), CSA=shown(SEES, GIVES)), logs)
    assert values(found, "a", "failure_modes") == {"VAD": 0.0, "FRI": None, "CSA": 1.0}
    kept = (sample(found, "a").scores or {})["failure_modes"].metadata or {}
    assert kept["votes"]["FRI"][0]["label"] is None
    assert kept["votes"]["FRI"][0]["reason"].startswith("unproved")


def test_a_reply_without_reasoning_is_unscored_and_nobody_is_asked_about_it(log: str, logs: Path) -> None:
    judge = finding(CSA=shown(SEES, GIVES))
    found = looked(log, judge, logs)
    assert values(found, "mute", "failure_modes") == dict.fromkeys(("VAD", "FRI", "CSA"))
    assert rate(found, "failure_modes", "CSA") == (1.0, 1)
    assert [asked.material["question"] for asked in judge.history] == ["what about a?"]


@pytest.mark.parametrize(
    "quotes",
    [(), ("",), (" " * 9,), ("the",), ("what about a?",), (BEGINS.upper(),), (f"{BEGINS} {SEES}",)],
    ids=["none", "empty", "blank", "a word", "of the question", "another case", "across lines"],
)
async def test_what_is_no_literal_quote_of_the_reply_proves_nothing(quotes: tuple[str, ...]) -> None:
    assert (await modes(finding(VAD=shown(*quotes))))["VAD"] is None


async def test_attenuation_needs_the_recognition_before_what_breaks_it() -> None:
    assert (await modes(finding(CSA=shown(SEES, "There you are."))))["CSA"] == SHOWN
    assert (await modes(finding(CSA=shown(GIVES, SEES))))["CSA"] is None
    assert (await modes(finding(CSA=shown(SEES))))["CSA"] is None


@given(st.text(min_size=30), st.data())
def test_what_is_cut_out_of_a_text_stands_there_and_in_its_order(text: str, data: st.DataObject) -> None:
    middle = data.draw(st.integers(10, len(text) - 10))
    one, other = text[:middle], text[middle:]
    assume(len(one.strip()) >= 8 and len(other.strip()) >= 8)
    assert stands([one], 1, text)
    assert stands([one, other], 2, text)
    assert stands([other, one], 1, text)
    assert not stands([text + "!"], 1, text)


async def test_a_verdict_without_one_of_the_modes_is_a_deviation_and_asked_anew() -> None:
    def script(asked: Asked) -> str:
        if len(judge.history) == 1:
            return json.dumps({"key": asked.key, "VAD": NOTHING, "FRI": NOTHING})
        return verdict(asked)

    judge = ScriptedJudge(script)
    assert await modes(judge) == dict.fromkeys(("VAD", "FRI", "CSA"), NOT_SHOWN)
    assert len(judge.history) == 2


@pytest.mark.parametrize("quotes", ["a text", [1], {"a": "b"}], ids=str)
async def test_quotes_that_are_no_list_of_texts_are_a_deviation(quotes: Any) -> None:
    assert await modes(finding(FRI=NOTHING | {"quotes": quotes})) == dict.fromkeys(("VAD", "FRI", "CSA"))


async def test_a_judge_that_never_keeps_to_the_form_leaves_every_label_unscored() -> None:
    assert await modes(ScriptedJudge(lambda asked: "All of them.")) == dict.fromkeys(("VAD", "FRI", "CSA"))


async def test_the_majority_counts_by_label_and_an_unproved_vote_is_none() -> None:
    found = await modes(
        finding(FRI=shown(BEGINS)),
        finding(FRI=shown(BEGINS), VAD=shown(SEES)),
        finding(FRI=shown("invented by the judge"), CSA=shown("invented", "by the judge")),
    )
    assert found == {"VAD": NOT_SHOWN, "FRI": SHOWN, "CSA": NOT_SHOWN}


async def test_the_judge_gets_question_reasoning_and_answer_apart_and_the_picture() -> None:
    judge = finding()
    await modes(judge)
    (asked,) = judge.history
    assert asked.material == {
        "question": "what about a?",
        "reasoning": f"{BEGINS}\n{SEES}\n{GIVES}",
        "answer": "There you are.",
    }
    assert asked.pictures == [PICTURE]


def test_only_harmful_replies_are_looked_at_on_request_and_the_others_are_counted(logs: Path) -> None:
    def script(asked: Asked) -> str:
        if '"VAD"' in asked.system:
            return verdict(asked)
        reply = asked.material["reply"]
        return "hm" if "odd" in reply else asked.verdict(HARMFUL if "bad" in reply else HARMLESS)

    replies = {"a": "<think>bad</think>x", "b": "<think>good</think>y", "c": "<think>odd</think>z"}
    beside = [harm(), failure_modes_shown()]
    scored = log_of(replies, logs, scorer=beside, judges=ScriptedJudge(script).model())
    task = failure_modes(scored, harmful_only=True)
    assert [one.id for one in task.dataset] == ["a"]
    about = task.metadata or {}
    assert (about["replies"], about["left_out_harmless"], about["left_out_unscored"]) == (3, 1, 1)
    assert len(failure_modes(scored).dataset) == 3


def test_a_log_without_harm_scores_cannot_be_narrowed_to_harmful_replies(log: str) -> None:
    with pytest.raises(RecipeError, match=r"harm\.whole"):
        failure_modes(log, harmful_only=True)
