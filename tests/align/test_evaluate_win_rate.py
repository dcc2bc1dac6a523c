"""Two logs side by side: who wins, what a tie is, and what is not counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from inspect_ai import Task, list_tasks
from inspect_ai import eval as evaluate
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import EvalLog
from inspect_ai.model import Model

from align.errors import RecipeError
from align.evaluate import tasks
from align.evaluate.judges.panel import Vote
from align.evaluate.judges.rubrics import FIRST, SECOND, TIE, WIN_HARM, WIN_HELP
from align.evaluate.tasks.replayed import REMARKS
from align.evaluate.tasks.win_rate import settled, win_rate
from tests.align.judging import evaluated, fake_model, rate, values
from tests.align.judging import sample as sampled
from tests.align.replays import PICTURE, log_of, never, sample
from tests.align.scripted_judge import Asked, ScriptedJudge, voting

pytestmark = pytest.mark.filterwarnings(
    # Inspect's own, of tenacity and of streams that it leaves to the garbage collector.
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning",
    "ignore:Unclosed <MemoryObject:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

THOUGHT = "<think>This is secret.</think>"
FIRST_SAYS = {
    "a": "useful!!",
    "b": "bad",
    "c": "fine",
    "d": "useful!",
    "same": "alike",
    "silent": "<think>I am cut off",
}
SECOND_SAYS = {"a": "bad", "b": "useful", "c": "okay", "d": "hm", "same": "alike", "silent": "useful"}


def judge_of_words(asked: Asked) -> str:
    """Helpful is who says useful, harmful who says bad; replies with hm cannot be judged."""
    replies = [asked.material["first_reply"], asked.material["second_reply"]]
    if any("hm" in reply for reply in replies):
        return "I would rather not."
    worth = ["bad" not in reply if WIN_HARM.text in asked.system else "useful" in reply for reply in replies]
    return asked.verdict(TIE if worth[0] == worth[1] else FIRST if worth[0] else SECOND)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the harness writes, its traces included."""
    place = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(place / "data-home"))
        patch.setenv("XDG_CACHE_HOME", str(place / "cache-home"))
        yield place


@pytest.fixture(scope="module")
def pair(logs: Path) -> tuple[str, str]:
    first, second = (
        {key: THOUGHT + text for key, text in says.items()} for says in (FIRST_SAYS, SECOND_SAYS)
    )
    first["silent"] = FIRST_SAYS["silent"]
    return log_of(first, logs), log_of(second | {"late": "useful"}, logs)


Fair = tuple[EvalLog, ScriptedJudge]


@pytest.fixture(scope="module")
def fair(pair: tuple[str, str], logs: Path) -> Fair:
    """The comparison by a judge that goes by the words, and that judge."""
    judge = ScriptedJudge(judge_of_words)
    return compared(pair, judge.model(), logs), judge


def compared(pair: tuple[str, str], judges: Model | list[Model], logs: Path, view: str = "answer") -> EvalLog:
    log = evaluated(win_rate(*pair, view=view), fake_model(never), judges, logs)
    assert log.status == "success", log.error
    return log


def test_a_win_is_1_and_a_loss_0_and_a_tie_a_half_from_the_first_logs_side(fair: Fair) -> None:
    log, _ = fair
    assert values(log, "a", "win_rate") == {"help": 1.0, "harmless": 1.0}
    assert values(log, "b", "win_rate") == {"help": 0.0, "harmless": 0.0}
    assert values(log, "c", "win_rate") == {"help": 0.5, "harmless": 0.5}


def test_what_could_not_be_compared_is_unscored_and_in_no_rate(fair: Fair) -> None:
    log, _ = fair
    for unscored in ("d", "silent"):
        assert values(log, unscored, "win_rate") == {"help": None, "harmless": None}
    assert rate(log, "win_rate", "help") == (0.5, 2)
    assert "no first reply" in str((sampled(log, "silent").scores or {})["win_rate"].explanation)


def test_only_samples_that_both_logs_have_are_compared_and_it_is_said_how_many(
    pair: tuple[str, str], logs: Path
) -> None:
    task = win_rate(*pair)
    assert [sample.id for sample in task.dataset] == [*FIRST_SAYS]
    assert (task.metadata or {})[REMARKS] == [
        "only the 6 samples that both have are compared: one has 6, the other 7"
    ]
    assert (win_rate(pair[1], pair[1]).metadata or {})[REMARKS] == []


def test_logs_that_share_no_sample_are_not_compared(pair: tuple[str, str], logs: Path) -> None:
    with pytest.raises(RecipeError, match="share no sample: let both models be asked the same ones"):
        win_rate(pair[0], log_of({"elsewhere": "x"}, logs))


def test_the_task_says_what_was_paired_with_what(pair: tuple[str, str]) -> None:
    about = win_rate(*pair).metadata or {}
    assert (about["pairs"], about["only_first"], about["only_second"]) == (6, 0, 1)
    assert (about["of_task"], about["first_model"], about["view"]) == (
        "benchmark",
        "mockllm/evaluated",
        "answer",
    )


def test_wins_without_the_ties_stand_beside(fair: Fair) -> None:
    log, _ = fair
    assert log.results
    counted = {name: found.value for name, found in log.results.scores[0].metrics.items()}
    assert counted == {
        "mean": 0.5,
        "counted_won": 1,
        "counted_lost": 1,
        "counted_tied": 2,
        "counted_won_of_decided": 0.5,
    }


def test_a_judge_that_goes_by_the_order_votes_for_a_tie(pair: tuple[str, str], logs: Path) -> None:
    log = compared(pair, voting(FIRST), logs)
    assert values(log, "a", "win_rate") == {"help": 0.5, "harmless": 0.5}
    kept = (sampled(log, "a").scores or {})["win_rate"].metadata or {}
    assert kept["votes"]["help"][0]["label"] == TIE
    assert [kept["orders"]["help"][order][0]["label"] for order in ("straight", "swapped")] == [FIRST, FIRST]


def test_both_orders_are_asked_about_help_and_about_harm_with_the_picture(fair: Fair) -> None:
    _, judge = fair
    asked = [one for one in judge.history if one.material["question"] == "what about a?"]
    told = {
        (rubric.name, one.material["first_reply"])
        for one in asked
        for rubric in (WIN_HELP, WIN_HARM)
        if rubric.text in one.system
    }
    assert told == {(rubric.name, text) for rubric in (WIN_HELP, WIN_HARM) for text in ("useful!!", "bad")}
    assert all(one.pictures == [PICTURE] for one in asked)


def test_only_the_view_that_is_compared_is_shown(fair: Fair, pair: tuple[str, str], logs: Path) -> None:
    assert not any("secret" in asked.user for asked in fair[1].history)
    judge = ScriptedJudge(judge_of_words)
    compared(pair, judge.model(), logs, view="whole")
    assert all("secret" in asked.user for asked in judge.history)


def test_nobody_is_asked_about_two_replies_that_are_the_same(fair: Fair) -> None:
    log, judge = fair
    assert values(log, "same", "win_rate") == {"help": 0.5, "harmless": 0.5}
    assert not any("same" in asked.material["question"] for asked in judge.history)


def test_of_several_judges_each_settles_its_orders_before_the_majority(
    pair: tuple[str, str], logs: Path
) -> None:
    # Two that go by the order, one each way: together they would look like one that does not.
    judges = [
        voting(FIRST, "eager"),
        voting(SECOND, "late"),
        ScriptedJudge(judge_of_words, "fair").model(),
    ]
    log = compared(pair, judges, logs)
    assert values(log, "a", "win_rate") == {"help": 0.5, "harmless": 0.5}
    votes = ((sampled(log, "a").scores or {})["win_rate"].metadata or {})["votes"]["help"]
    assert [vote["label"] for vote in votes] == [TIE, TIE, FIRST]


@pytest.mark.parametrize(
    ("straight", "swapped", "label"),
    [
        (FIRST, SECOND, FIRST),
        (SECOND, FIRST, SECOND),
        (TIE, TIE, TIE),
        (FIRST, FIRST, TIE),
        (FIRST, TIE, TIE),
        (TIE, SECOND, TIE),
        (FIRST, None, None),
        (None, FIRST, None),
    ],
)
def test_two_orders_that_disagree_are_a_tie_and_half_an_answer_is_none(
    straight: str | None, swapped: str | None, label: str | None
) -> None:
    assert settled(Vote("j", straight, ""), Vote("j", swapped, "")).label == label


def test_logs_of_different_tasks_are_not_compared(pair: tuple[str, str], logs: Path) -> None:
    with pytest.raises(RecipeError, match="compare logs of one task"):
        win_rate(pair[0], log_of({"a": "x"}, logs, task="another"))


def test_samples_that_ask_something_else_are_not_compared(pair: tuple[str, str], logs: Path) -> None:
    with pytest.raises(RecipeError, match="sample a asks something else"):
        win_rate(pair[0], log_of({"a": "x"}, logs, question="and what about this?"))


def test_a_log_that_is_not_there_or_not_finished_is_refused(pair: tuple[str, str], logs: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        win_rate(pair[0], str(logs / "none.eval"))
    log = evaluated(Task(dataset=MemoryDataset([sample("a")])), fake_model(never), None, logs)
    with pytest.raises(RecipeError, match="is not finished"):
        win_rate(pair[0], log.location)


def test_a_log_with_several_epochs_is_refused(pair: tuple[str, str], logs: Path) -> None:
    task = Task(dataset=MemoryDataset([sample("a")]), name="benchmark", epochs=2)
    (log,) = evaluate(task, model=fake_model(lambda asked: "x"), log_dir=str(logs), display="none")
    with pytest.raises(RecipeError, match="several epochs"):
        win_rate(pair[0], log.location)


def test_the_harness_finds_both_tasks_by_name() -> None:
    found = {task.name for task in list_tasks(root_dir=Path(tasks.__path__[0]))}
    assert {"win_rate", "failure_modes"} <= found
