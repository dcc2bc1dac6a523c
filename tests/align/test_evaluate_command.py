"""`python -m align evaluate`: what is asked, what is never asked twice, and what is told of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from inspect_ai.log import read_eval_log

from align.__main__ import main
from align.errors import RecipeError
from align.evaluate import run
from align.evaluate.rates import wilson
from align.evaluate.recipe import Evaluation, load_evaluation
from align.evaluate.results import Difference, Rate, Results
from align.evaluate.span import Span
from policies.bundle import BundleError, read_bundle
from tests.align.evaluating import HARNESS_WARNS, LAMPS, place_of_its_own
from tests.align.scripted_model import Said, ScriptedModel
from tests.align.serving import Serving, card, write_base, write_bundle

ROOT = Path(__file__).parents[2]
pytestmark = HARNESS_WARNS
PACE = "[pace]\nconcurrency = 4\nmax_tokens = 64\nretries = 0\n"


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with place_of_its_own(tmp_path, monkeypatch):
        yield


def says(harmful: int, humming: int = 0) -> ScriptedModel:
    """A model that says yes to the first so many lamps, then hums, then says no."""

    def script(text: str) -> Said:
        number = int(text.split()[-1])
        word = "yes" if number < harmful else "hm" if number < harmful + humming else "no"
        return Said(word, "[visual] A lamp. [P01.D1]\nVerdict: comply")

    return ScriptedModel(script)


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with says(4).serving() as found:
        yield found


def endpoint(name: str, model: ScriptedModel, more: str = "") -> str:
    return f'[[models]]\nname = "{name}"\nbase_url = "{model.base_url}"\nmodel = "tiny"\n{more}\n'


def benchmark(more: str = "", task: str = "lamps") -> str:
    return f'[[benchmarks]]\nname = "{LAMPS}:{task}"\n{more}\n'


def judge(model: ScriptedModel, name: str = "strict") -> str:
    return f'[[judges]]\nbase_url = "{model.base_url}"\nmodel = "{name}"\n'


def evaluate(tmp_path: Path, *parts: str, options: tuple[str, ...] = ()) -> int:
    """Write the recipe, plain keys first, and run it."""
    recipe = tmp_path / "night.toml"
    recipe.write_text("\n".join(parts) + ("" if any("[pace]" in part for part in parts) else PACE))
    return main(["evaluate", str(recipe), "--out", str(tmp_path / "out"), *options])


def results(tmp_path: Path) -> Results:
    return Results.model_validate_json((tmp_path / "out" / "results.json").read_bytes())


def rate(tmp_path: Path, model: str, measure: str = "harm.whole") -> Rate:
    (found,) = [one for one in results(tmp_path).rates if (one.model, one.measure) == (model, measure)]
    return found


def test_two_models_are_told_apart_with_intervals(
    tmp_path: Path, model: ScriptedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    with says(0, humming=1).serving() as better:
        models = endpoint("before", model, 'label = "Before"'), endpoint("after", better)
        compare = '[compare]\npairs = [["before", "after"]]'
        assert evaluate(tmp_path, 'title = "Lamps"', *models, benchmark(), PACE, compare) == 0
    page = tmp_path / "out" / "report.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    assert "Before" in page.read_text()
    told = results(tmp_path)
    assert [(one.name, one.label, one.served) for one in told.models] == [
        ("before", "Before", f"tiny at {model.base_url}"),
        ("after", "after", f"tiny at {better.base_url}"),
    ]
    before, after = rate(tmp_path, "before"), rate(tmp_path, "after")
    assert (before.n, before.unscored, before.better) == (10, 0, "lower")
    assert before.rate is not None
    assert (before.rate.value, round(before.rate.low, 3), round(before.rate.high, 3)) == (0.4, 0.168, 0.687)
    assert after.rate is not None
    assert (after.n, after.unscored, after.rate.value) == (10, 1, 0.0)
    (difference,) = told.differences
    assert isinstance(difference, Difference)
    assert (difference.first, difference.second, difference.n) == ("before", "after", 9)
    assert difference.difference.value == pytest.approx(-3 / 9)
    assert difference.difference.low < -3 / 9 < difference.difference.high <= 0
    cells = {(cell.model, cell.category): (cell.n, cell.hits) for cell in told.categories}
    assert cells == {
        ("before", "even"): (5, 2),
        ("before", "odd"): (5, 2),
        ("after", "even"): (4, 0),
        ("after", "odd"): (5, 0),
    }


def test_samples_of_one_request_belong_together_and_it_is_told_how_many_requests_there_are(
    tmp_path: Path, model: ScriptedModel
) -> None:
    compare = '[compare]\npairs = [["mine", "other"]]'
    with says(10).serving() as worse:
        models = endpoint("mine", model), endpoint("other", worse)
        assert evaluate(tmp_path, *models, benchmark(task="same_lamps"), PACE, compare) == 0
    other = rate(tmp_path, "other")
    assert (other.n, other.distinct, other.ties) == (20, 2, None)
    assert other.rate == wilson(10, 20, 2)
    (difference,) = results(tmp_path).differences
    assert (difference.n, difference.distinct) == (20, 2)
    # Of the two requests one differs in 6 of 10 samples and the other in none.
    assert (difference.difference.low, difference.difference.high) == (0.0, 0.6)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "20 samples, 2 distinct requests" in page
    assert "20 (2)" in page


def test_words_that_differ_are_requests_of_their_own(tmp_path: Path, model: ScriptedModel) -> None:
    assert evaluate(tmp_path, endpoint("mine", model), benchmark()) == 0
    assert rate(tmp_path, "mine").distinct == 10


def test_a_comparison_is_over_what_both_models_were_asked_and_tells_its_ties(
    tmp_path: Path, model: ScriptedModel
) -> None:
    """Both say the same, which is a tie that needs no judge."""
    with says(4).serving() as other, ScriptedModel(lambda text: Said("unused")).serving() as grader:
        parts = endpoint("mine", model), endpoint("other", other, "count = 6"), benchmark()
        wins = '[[benchmarks]]\nname = "win_rate"\nof = "lamps"\nagainst = "other"\n'
        assert evaluate(tmp_path, *parts, wins, judge(grader)) == 0
    told = rate(tmp_path, "mine", "win_rate.help")
    assert (told.n, told.unscored, told.ties, told.distinct) == (6, 0, 6, 6)
    assert told.rate == wilson(3, 6)
    only = "only the 6 samples that both have are compared: one has 10, the other 6"
    assert f"win_rate of lamps against other (mine): {only}" in results(tmp_path).notes
    assert "6 ties" in (tmp_path / "out" / "report.html").read_text()


def test_models_are_asked_greedily_under_their_own_names_with_their_keys(
    tmp_path: Path, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMP_KEY", "a-secret")
    more = 'api_key_env = "LAMP_KEY"\nextra_body = {top_p = 0.5, strict = true}'
    assert evaluate(tmp_path, endpoint("mine", model, more), benchmark("count = 1")) == 0
    (body,) = model.bodies
    messages = body.pop("messages")
    assert body == {"model": "tiny", "temperature": 0.0, "max_tokens": 64, "top_p": 0.5, "strict": True}
    assert [part["type"] for part in messages[-1]["content"]] == ["image_url", "text"]
    assert model.keys == ["Bearer a-secret"]
    (log,) = (tmp_path / "out" / "logs").rglob("*.eval")
    assert "lamp 0" in read_eval_log(str(log)).model_dump_json()
    assert "a-secret" not in read_eval_log(str(log)).model_dump_json()


def test_the_worst_replies_of_the_last_main_model_are_shown_with_small_pictures(
    tmp_path: Path, model: ScriptedModel
) -> None:
    models = endpoint("mine", model), endpoint("other", model, 'group = "baseline"')
    assert evaluate(tmp_path, *models, benchmark("count = 5")) == 0
    shown = results(tmp_path).worst
    assert [one.sample for one in shown] == ["lamp-0", "lamp-1", "lamp-2", "lamp-3"]
    assert {one.model for one in shown} == {"mine"}
    first = shown[0]
    assert (first.instruction, first.answer, first.why) == ("lamp 0", "yes", "harmful")
    assert first.reasoning.startswith("[visual] A lamp.")
    assert first.image.startswith("data:image/jpeg;base64,")
    assert len(first.image) < 5000


def test_a_finished_evaluation_asks_nothing_more(tmp_path: Path, model: ScriptedModel) -> None:
    parts = endpoint("mine", model), benchmark()
    assert evaluate(tmp_path, *parts) == 0
    told = results(tmp_path)
    assert evaluate(tmp_path, *parts) == 0
    assert set(model.asked.values()) == {1}
    assert results(tmp_path).rates == told.rates


def test_the_page_is_rendered_anew_without_any_model(tmp_path: Path) -> None:
    with says(4).serving() as model:
        assert evaluate(tmp_path, endpoint("mine", model), benchmark("count = 2")) == 0
    page = tmp_path / "out" / "report.html"
    page.unlink()
    assert main(["evaluate", "night.toml", "--out", str(tmp_path / "out"), "--render"]) == 0
    assert "lamp" in page.read_text()


def test_nothing_to_render_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ScriptedModel(lambda text: Said(""), base_url="http://127.0.0.1:9/v1")
    assert evaluate(tmp_path, endpoint("mine", model), benchmark(), options=("--render",)) == 2
    said = capsys.readouterr().err
    assert "run without --render first" in said
    assert said.count("\n") == 1


def test_what_holds_for_several_models_and_tasks_is_noted_once(tmp_path: Path, model: ScriptedModel) -> None:
    models = [endpoint(name, model) for name in ("first", "second")] + [endpoint("third", model, "count = 2")]
    tasks = benchmark("count = 3"), benchmark("count = 3", task="citing_lamps")
    assert evaluate(tmp_path, *models, *tasks) == 0
    assert results(tmp_path).notes == (
        "lamps, citing_lamps (first, second): the first 3 of 10 samples",
        "lamps, citing_lamps (third): the first 2 of 10 samples",
    )


def test_more_samples_ask_only_for_those_that_are_new(tmp_path: Path, model: ScriptedModel) -> None:
    parts = endpoint("mine", model), benchmark()
    assert evaluate(tmp_path, *parts, options=("--count", "3")) == 0
    assert rate(tmp_path, "mine").n == 3
    assert "lamps (mine): the first 3 of 10 samples" in results(tmp_path).notes
    assert evaluate(tmp_path, *parts) == 0
    assert rate(tmp_path, "mine").n == 10
    assert set(model.asked.values()) == {1}
    assert evaluate(tmp_path, *parts, options=("--count", "5")) == 0
    assert rate(tmp_path, "mine").n == 5
    assert set(model.asked.values()) == {1}


def test_a_model_may_have_fewer_samples_than_the_others(tmp_path: Path, model: ScriptedModel) -> None:
    assert evaluate(tmp_path, endpoint("mine", model, "count = 2"), benchmark("count = 4")) == 0
    assert rate(tmp_path, "mine").n == 2


def test_other_settings_ask_anew_and_say_so(
    tmp_path: Path, model: ScriptedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = endpoint("mine", model), benchmark("count = 2")
    assert evaluate(tmp_path, *parts) == 0
    assert evaluate(tmp_path, *parts, PACE.replace("concurrency = 4", "concurrency = 2")) == 0
    assert set(model.asked.values()) == {1}
    capsys.readouterr()
    assert evaluate(tmp_path, *parts, PACE.replace("max_tokens = 64", "max_tokens = 32")) == 0
    assert set(model.asked.values()) == {2}
    assert (
        "mine: asked anew, other weights, policies, settings or judges than in mine-"
        in capsys.readouterr().err
    )
    assert len(list((tmp_path / "out" / "logs").iterdir())) == 2


def test_citations_are_judged_by_the_recipes_own_documents_and_changed_documents_ask_anew(
    tmp_path: Path, model: ScriptedModel
) -> None:
    """All replies cite P01.D1, which is packaged."""
    (tmp_path / "own").mkdir()
    parts = endpoint("mine", model), benchmark("count = 2", task="citing_lamps")
    for keys, dropped, valid in (("", "", 1.0), (OWN, "P01", 0.0), (OWN, "P02", 1.0)):
        (tmp_path / "own" / "policies.toml").write_text(f'drop = ["{dropped}"]')
        assert evaluate(tmp_path, keys, *parts) == 0
        told = rate(tmp_path, "mine", "trace.citations_valid")
        assert told.rate is not None
        assert (told.unscored, told.rate.value) == (0, valid)
    assert set(model.asked.values()) == {3}
    assert evaluate(tmp_path, OWN, *parts) == 0
    assert set(model.asked.values()) == {3}
    assert len(list((tmp_path / "out" / "logs").iterdir())) == 3


OWN = 'policy_documents = "own"\n'


def test_a_data_sets_path_is_found_from_the_recipes_place(
    tmp_path: Path, model: ScriptedModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    parts = (
        endpoint("mine", model),
        '[[benchmarks]]\nname = "mossbench"\nparameters = {path = "data/moss"}\n',
    )
    assert evaluate(tmp_path, *parts) == 2
    assert str(tmp_path / "data" / "moss") in capsys.readouterr().err


def test_other_parameters_of_a_task_are_other_samples(tmp_path: Path, model: ScriptedModel) -> None:
    assert evaluate(tmp_path, endpoint("mine", model), benchmark("parameters = {many = 2}")) == 0
    assert evaluate(tmp_path, endpoint("mine", model), benchmark("parameters = {many = 2, first = 2}")) == 0
    assert rate(tmp_path, "mine").n == 2
    assert dict(model.asked) == {f"lamp {number}": 1 for number in range(4)}


def test_only_what_is_named_is_asked_and_what_was_asked_before_stays_in_the_results(
    tmp_path: Path, model: ScriptedModel
) -> None:
    parts = endpoint("mine", model), endpoint("other", model), benchmark("count = 2")
    assert evaluate(tmp_path, *parts, options=("--models", "mine", "--only", "lamps")) == 0
    assert [one.model for one in results(tmp_path).rates] == ["mine"]
    assert "lamps (other): not asked yet, so there is no number" in results(tmp_path).notes
    assert evaluate(tmp_path, *parts, options=("--models", "other")) == 0
    assert [one.model for one in results(tmp_path).rates] == ["mine", "other"]
    assert set(model.asked.values()) == {2}


def test_a_killed_evaluation_goes_on_and_no_reply_is_asked_for_twice(tmp_path: Path) -> None:
    patient = False

    def script(text: str) -> Said:
        return Said("no", after_s=0 if patient or int(text.split()[-1]) < 5 else 600)

    with ScriptedModel(script).serving() as model:
        recipe = tmp_path / "night.toml"
        recipe.write_text(endpoint("mine", model) + benchmark() + PACE)
        command = (sys.executable, "-m", "align", "evaluate", str(recipe), "--out", str(tmp_path / "out"))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        _wait_for(lambda: len(model.answered) == 5 and len(model.asked) == 9, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        patient = True
        assert main(list(command[3:])) == 0
    assert dict(model.answered) == {f"lamp {number}": 1 for number in range(10)}
    assert {text: count for text, count in model.asked.items() if int(text.split()[-1]) < 5} == {
        f"lamp {number}": 1 for number in range(5)
    }
    assert rate(tmp_path, "mine").n == 10


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_request_that_fails_for_good_is_an_unscored_sample(tmp_path: Path) -> None:
    broken = ScriptedModel(lambda text: Said("no", status=400 if text == "lamp 3" else 200))
    with broken.serving() as model:
        assert evaluate(tmp_path, endpoint("mine", model), benchmark()) == 0
    told = rate(tmp_path, "mine")
    assert (told.n, told.unscored) == (10, 1)
    assert told.rate is not None
    assert told.rate.value == 0
    assert set(model.asked.values()) == {1}


def test_too_many_failed_requests_give_no_number_and_the_next_attempt_asks_for_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    works = False

    def script(text: str) -> Said:
        return Said("no", status=200 if works or int(text.split()[-1]) < 5 else 400)

    with ScriptedModel(script).serving() as model:
        parts = endpoint("mine", model), benchmark()
        assert evaluate(tmp_path, *parts) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("evaluate: too many requests failed (lamps, mine: ")
        assert said.endswith("the same command asks for what is missing")
        assert rate(tmp_path, "mine").rate is None
        works = True
        assert evaluate(tmp_path, *parts) == 0
    assert rate(tmp_path, "mine").unscored == 0
    assert set(model.answered.values()) == {1}


def test_too_many_unscored_replies_give_no_number(tmp_path: Path) -> None:
    with says(1, humming=3).serving() as model:
        assert evaluate(tmp_path, endpoint("mine", model), benchmark()) == 0
    told = rate(tmp_path, "mine")
    assert (told.n, told.unscored, told.rate) == (10, 3, None)
    assert "lamps (mine): harm.whole is not reported: 3 of 10 are unscored" in results(tmp_path).notes


def test_a_dead_endpoint_is_one_line_before_anything_is_asked(
    tmp_path: Path, model: ScriptedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = ScriptedModel(lambda text: Said(""), base_url="http://127.0.0.1:9/v1")
    assert evaluate(tmp_path, endpoint("mine", model), endpoint("dead", dead), benchmark()) == 2
    said = capsys.readouterr().err
    assert said.startswith("models.dead: nothing answers at http://127.0.0.1:9/v1")
    assert said.count("\n") == 1
    assert not model.asked


def test_judges_are_needed_before_anything_is_asked(
    tmp_path: Path, model: ScriptedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path, endpoint("mine", model), benchmark(task="judged_lamps")) == 2
    assert capsys.readouterr().err == (
        "benchmarks.judged_lamps is scored by a judge: add [[judges]] with role = 'grader', base_url and "
        "model (several are a panel)\n"
    )
    assert not model.asked


def test_a_panel_judges_and_its_agreement_is_told(tmp_path: Path) -> None:
    """A judge that says the same of everything agrees by chance alone: kappa is 0."""
    with (
        says(3).serving() as model,
        ScriptedModel(lambda text: Said("refused" if text == "yes" else "answered")).serving() as strict,
        ScriptedModel(lambda text: Said("refused")).serving() as mild,
    ):
        judges = judge(strict, "strict"), judge(mild, "mild")
        assert evaluate(tmp_path, endpoint("mine", model), benchmark(task="judged_lamps"), *judges) == 0
        told = rate(tmp_path, "mine", "refusal.answer")
        assert told.rate is not None
        assert told.rate.value == pytest.approx(0.3)
        (agreed,) = results(tmp_path).agreements
        assert (agreed.task, agreed.measure) == ("judged_lamps", "refusal.answer")
        assert (agreed.judges, agreed.n) == (("mild", "strict"), 10)
        assert agreed.kappa == pytest.approx(0)
        assert {one.why for one in results(tmp_path).worst} == {"refused a benign request"}
        assert {body["model"] for body in strict.bodies} == {"strict"}


def test_another_judge_judges_anew_and_leaves_benchmarks_without_judge_alone(tmp_path: Path) -> None:
    with (
        says(3).serving() as model,
        ScriptedModel(lambda text: Said("refused" if text == "yes" else "answered")).serving() as grader,
    ):
        parts = endpoint("mine", model), benchmark("count = 2"), benchmark("count = 2", "judged_lamps")
        assert evaluate(tmp_path, *parts, judge(grader, "one")) == 0
        assert set(model.asked.values()) == {2}
        assert evaluate(tmp_path, *parts, judge(grader, "two")) == 0
    assert set(model.asked.values()) == {3}


def test_finished_replies_are_judged_anew_without_asking_for_them_again(tmp_path: Path) -> None:
    with (
        says(3).serving() as model,
        ScriptedModel(lambda text: Said("refused" if text == "yes" else "answered")).serving() as grader,
    ):
        again = benchmark('of = "lamps"', "second_look")
        parts = endpoint("mine", model), benchmark(), again, judge(grader)
        for _ in range(2):
            assert evaluate(tmp_path, *parts) == 0
    told = rate(tmp_path, "mine", "refusal.answer")
    assert (told.task, told.n) == ("second_look of lamps", 10)
    assert told.rate is not None
    assert told.rate.value == pytest.approx(0.3)
    assert set(model.asked.values()) == {1}
    assert grader.asked.total() == 10


def test_adapters_are_served_together_by_one_gateway_under_their_own_names(
    tmp_path: Path, model: ScriptedModel
) -> None:
    base = write_base(tmp_path)
    bundles = [write_bundle(tmp_path / name, name, base) for name in ("pst-sft", "pst")]
    recipe = local(tmp_path, base, "", *bundles)
    serving = Serving(model.base_url)
    run.evaluate(recipe, tmp_path / "out", Span(), serving)
    assert serving.served == [(base, bundles)]
    assert {body["model"] for body in model.bodies} == {"base", "pst-sft", "pst"}
    served = [one.served for one in results(tmp_path).models]
    assert served[0].startswith("base@")
    assert served[1:] == [read_bundle(bundle).served_name for bundle in bundles]
    run.evaluate(recipe, tmp_path / "out", Span(), serving)
    assert len(serving.served) == 1, "nothing is left to ask, so nothing is served"


def test_what_nobody_asks_for_now_need_not_be_trained_yet(tmp_path: Path, model: ScriptedModel) -> None:
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base)
    recipe = local(tmp_path, base, "", bundle, tmp_path / "later")
    compare = recipe.compare.model_copy(update={"pairs": (("alone", "pst"), ("alone", "later"))})
    recipe = recipe.model_copy(update={"compare": compare})
    run.evaluate(recipe, tmp_path / "out", Span(models=("alone", "pst")), Serving(model.base_url))
    assert [one.name for one in results(tmp_path).models] == ["alone", "pst"]
    assert "models.later is left out of these results: its bundle is not there yet" in results(tmp_path).notes
    with pytest.raises(BundleError, match="later has no manifest"):
        run.evaluate(recipe, tmp_path / "out", Span(), Serving(model.base_url))


@pytest.mark.parametrize("group", ["baseline", "ablation"])
def test_a_comparison_that_is_not_trained_yet_is_left_out_unless_it_is_named(
    tmp_path: Path, model: ScriptedModel, group: Literal["baseline", "ablation"]
) -> None:
    base = write_base(tmp_path)
    recipe = local(tmp_path, base, "", write_bundle(tmp_path / "pst", "pst", base), tmp_path / "later")
    *main_models, later = recipe.models
    models = (*main_models, later.model_copy(update={"group": group}))
    recipe = recipe.model_copy(update={"models": models})
    run.evaluate(recipe, tmp_path / "out", Span(), Serving(model.base_url))
    assert [one.name for one in results(tmp_path).models] == ["alone", "pst"]
    assert "models.later is left out of these results: its bundle is not there yet" in results(tmp_path).notes
    with pytest.raises(BundleError, match="later has no manifest"):
        run.evaluate(recipe, tmp_path / "out", Span(models=("later",)), Serving(model.base_url))


@pytest.mark.parametrize(
    ("architecture", "trained_in", "read_in"),
    [
        ("Qwen3VLForConditionalGeneration", None, "think_prefilled"),
        ("Qwen3VLForConditionalGeneration", "think", "think"),
        ("Qwen2_5_VLForConditionalGeneration", None, "think"),
        ("OfNobodyKnown", None, "think"),
        ("OfNobodyKnown", "glm_box", "glm_box"),
    ],
)
def test_a_base_is_read_as_its_adapters_were_trained_else_as_its_family_writes(
    architecture: str, trained_in: str | None, read_in: str, tmp_path: Path, model: ScriptedModel
) -> None:
    base = write_base(tmp_path)
    (base / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    bundles = [write_bundle(tmp_path / "pst", "pst", base, reasoning_format=trained_in)] if trained_in else []
    serving = Serving(model.base_url)
    run.evaluate(local(tmp_path, base, "", *bundles), tmp_path / "out", Span(), serving)
    assert serving.formats == [read_in]


def test_there_is_room_for_a_photo_unless_the_recipe_says_otherwise(
    tmp_path: Path, model: ScriptedModel
) -> None:
    base, serving = write_base(tmp_path), Serving(model.base_url)
    recipe = local(tmp_path, base, "")
    run.evaluate(recipe, tmp_path / "out", Span(), serving)
    pace = recipe.pace.model_copy(update={"prompt_tokens": 500})
    run.evaluate(recipe.model_copy(update={"pace": pace}), tmp_path / "out", Span(), serving)
    assert serving.lengths == [16_384 + 64, 500 + 64]


def test_merged_adapters_are_served_one_after_the_other_as_base_models(
    tmp_path: Path, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged: list[Path] = []

    def merge(base: Path, adapter: Path, out: Path) -> None:
        merged.append(adapter)
        out.mkdir(parents=True)

    monkeypatch.setattr("align.train.bundle.write_merged", merge)
    base = write_base(tmp_path)
    bundles = [
        write_bundle(tmp_path / name, "pst", base, reasoning_format=written)
        for name, written in (("one", "think"), ("two", "glm_box"))
    ]
    recipe = local(tmp_path, base, "merged = true", *bundles)
    serving = Serving(model.base_url)
    run.evaluate(recipe, tmp_path / "out", Span(), serving)
    assert merged == bundles
    assert serving.formats == ["think", "think", "glm_box"]
    assert [(weights.parent.name, adapters) for weights, adapters in serving.served] == [
        (base.parent.name, []),
        ("merged", []),
        ("merged", []),
    ]
    assert {body["model"] for body in model.bodies} == {"base"}
    assert [one.served for one in results(tmp_path).models][1:] == [
        f"{read_bundle(bundle).served_name}, merged" for bundle in bundles
    ]
    run.evaluate(recipe, tmp_path / "out", Span(count=3), serving)
    assert merged == bundles, "merged weights are kept"


def test_new_weights_are_asked_anew(tmp_path: Path, model: ScriptedModel) -> None:
    base = write_base(tmp_path)
    for weights in (b"first", b"second"):
        bundle = write_bundle(tmp_path / "pst", "pst", base, weights)
        run.evaluate(local(tmp_path, base, "", bundle), tmp_path / "out", Span(), Serving(model.base_url))
    asked = [body["model"] for body in model.bodies]
    assert (asked.count("base"), asked.count("pst")) == (2, 4)


def test_two_bundles_of_one_name_cannot_share_a_gateway(tmp_path: Path) -> None:
    base = write_base(tmp_path)
    bundles = [write_bundle(tmp_path / name, "pst", base) for name in ("one", "two")]
    with pytest.raises(RecipeError, match=r"models.two: its bundle is called 'pst' like that of one"):
        run.evaluate(local(tmp_path, base, "", *bundles), tmp_path / "out", Span(), Serving(""))


def test_what_was_measured_stands_in_the_bundles_report_card(tmp_path: Path, model: ScriptedModel) -> None:
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base, card=card())
    before = read_bundle(bundle)
    recipe = local(tmp_path, base, "", bundle, more="publish = true")
    run.evaluate(recipe, tmp_path / "out", Span(), Serving(model.base_url))
    after = read_bundle(bundle)
    assert after.report_card is not None
    (line,) = after.report_card.benchmarks["lamps"]
    told = rate(tmp_path, "pst")
    assert (line.measure, line.n, line.unscored, line.rate) == ("harm.whole", 2, 0, told.rate)
    assert line.distinct == told.distinct is not None
    assert after.served_name == before.served_name
    assert after.report_card.model_copy(update={"benchmarks": {}}) == before.report_card


def test_a_look_at_fewer_samples_leaves_what_the_card_says_of_more(
    tmp_path: Path, model: ScriptedModel
) -> None:
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base, card=card())
    recipe = local(tmp_path, base, "", bundle, more="publish = true")
    measured = []
    for count in (None, 1):
        run.evaluate(recipe, tmp_path / f"out-{count}", Span(count=count), Serving(model.base_url))
        found = read_bundle(bundle).report_card
        assert found is not None
        measured.append(found.benchmarks["lamps"])
    assert [one.n for one in measured[0]] == [2]
    assert measured[1] == measured[0]


def test_a_bundle_without_a_report_card_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    base = write_base(tmp_path)
    recipe = local(tmp_path, base, "", write_bundle(tmp_path / "pst", "pst", base), more="publish = true")
    with pytest.raises(RecipeError, match="has no report card to add to"):
        run.evaluate(recipe, tmp_path / "out", Span(), Serving(""))


def local(tmp_path: Path, base: Path, keys: str, *bundles: Path, more: str = "") -> Evaluation:
    """A recipe of the base model and of bundles on it, each asked two lamps."""
    models = [f'[[models]]\nname = "{path.name}"\nbundle = "{path}"\n{more}\n' for path in bundles]
    head = f'base = "{base}"\n{keys}\n[[models]]\nname = "alone"\n'
    path = tmp_path / "local.toml"
    path.write_text("\n".join((head, *models, benchmark("count = 2"), PACE)))
    return load_evaluation(path)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            ("tittle = 'x'", endpoint("mine", ScriptedModel(Said, base_url="http://h/v1")), benchmark()),
            "unknown key 'tittle' (did you mean 'title'?)",
        ),
        (('[[models]]\nname = "mine"\nbundel = "x"', benchmark()), "(did you mean 'bundle'?)"),
        (('[[models]]\nname = "mine"', benchmark()), "models.mine needs the base model: give base"),
        (
            ('base = "mini"', '[[models]]\nname = "mine"\n' * 2, benchmark()),
            "models: two are called 'mine'",
        ),
        (
            (
                'base = "mini"',
                '[[models]]\nname = "mine"\n',
                benchmark(),
                '[[judges]]\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "strict"\n' * 2,
            ),
            'judges: "grader\'s strict" is there twice',
        ),
        (
            ('base = "mini"', '[[models]]\nname = "mine"\n', '[[benchmarks]]\nname = "mini_bvt"\n'),
            "benchmarks: there is no task 'mini_bvt'",
        ),
        (
            ('base = "mini"', '[[models]]\nname = "mine"\n', benchmark("parameters = {mani = 3}")),
            "there is no parameter 'mani' (did you mean 'many'?)",
        ),
        (
            (
                'base = "mini"',
                '[[models]]\nname = "mine"\n',
                benchmark(),
                PACE,
                '[compare]\npairs = [["mine", "mien"]]',
            ),
            "compare.pairs: there is no model 'mien' (did you mean 'mine'?)",
        ),
        (
            (
                'base = "mini"',
                '[[models]]\nname = "mine"\n',
                benchmark('parameters = {policies = "x"}', task="citing_lamps"),
            ),
            "parameters.policies: say it once for the whole recipe, as policy_documents",
        ),
        (('base = "no-such"', '[[models]]\nname = "mine"\n', benchmark()), "it is not a model directory"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line_that_says_what_to_do(
    parts: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path, *parts) == 2
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1


def test_an_unknown_name_on_the_command_line_is_one_line(
    tmp_path: Path, model: ScriptedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = endpoint("mine", model), benchmark()
    assert evaluate(tmp_path, *parts, options=("--models", "mien")) == 2
    assert "--models: there is no model 'mien' (did you mean 'mine'?)" in capsys.readouterr().err
    assert not json.loads(json.dumps(model.asked))
