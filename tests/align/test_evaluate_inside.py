"""`python -m align evaluate` and source tags: steps of local models measured with their pictures blanked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from align.__main__ import main
from align.errors import StageAborted
from align.evaluate import run
from align.evaluate.faithful import STEPS_FILE
from align.evaluate.results import Faithfulness
from align.evaluate.span import Span
from policies.bundle import read_bundle
from tests.align.evaluating import HARNESS_WARNS, LAMPS, PACE, local_recipe, place_of_its_own, results
from tests.align.scripted_model import Said, ScriptedModel
from tests.align.scripted_vllm import LIKELY, UNLIKELY, ScriptedVllm
from tests.align.serving import Serving, write_base, write_bundle

REASONING = "[visual] The lamp is red.\n[textual] The user asks about it.\nVerdict: comply"
pytestmark = HARNESS_WARNS
FAITHFUL = '[faithful]\nof = "lamps"\n'


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with place_of_its_own(tmp_path, monkeypatch):
        yield


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(lambda text: Said("no", REASONING)).serving() as found:
        yield found


@pytest.fixture
def vllm() -> Iterator[ScriptedVllm]:
    with ScriptedVllm(seen=frozenset({"red"})).running() as scripted:
        yield scripted


def told(tmp_path: Path, model: str) -> dict[str, Faithfulness]:
    """By source."""
    return {one.source: one for one in results(tmp_path).faithfulness if one.model == model}


def test_steps_are_measured_through_the_engine_itself_while_their_model_is_served(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base)
    wanted = local_recipe(base, FAITHFUL + "count = 3\nthreshold = 0.5\n", bundle)
    serving = Serving(model.base_url, vllm.url)
    page = run.evaluate(wanted, tmp_path / "out", Span(), serving)
    visual, textual = (told(tmp_path, "pst")[source] for source in ("visual", "textual"))
    # One token of five needs the picture.
    assert (visual.steps, visual.mean) == (3, pytest.approx((LIKELY - UNLIKELY) / 5))
    assert (visual.survives.value, visual.threshold) == (1.0, 0.5)
    assert (textual.mean, textual.survives.value) == (0.0, 1.0)
    assert told(tmp_path, "alone")["visual"].mean == visual.mean
    assert {body["model"] for body in vllm.asked} == {"base", read_bundle(bundle).served_name}
    assert "source tags, pst: the first 3 of 10 replies to lamps" in results(tmp_path).notes
    assert "Lost when the picture is blanked" in page.read_text()
    assert len(serving.served) == 1


def test_what_was_measured_is_not_measured_again_and_a_threshold_needs_no_engine(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    base = write_base(tmp_path)
    serving = Serving(model.base_url, vllm.url)
    run.evaluate(local_recipe(base, FAITHFUL), tmp_path / "out", Span(), serving)
    before, asked = told(tmp_path, "alone")["visual"], len(vllm.asked)
    assert before.survives.value == 0.0
    strict = local_recipe(base, FAITHFUL + "threshold = 0.9\n")
    run.evaluate(strict, tmp_path / "out", Span(), serving)
    after = told(tmp_path, "alone")["visual"]
    assert (after.mean, after.survives.value, after.threshold) == (before.mean, 1.0, 0.9)
    assert (len(vllm.asked), len(serving.served)) == (asked, 1)


def test_another_bundle_under_the_same_name_is_measured_anew(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged, so that the engine's name for both is the same as well."""
    monkeypatch.setattr("align.train.bundle.write_merged", lambda base, adapter, out: out.mkdir(parents=True))
    base = write_base(tmp_path)
    asked = []
    for weights in (b"first", b"first", b"second"):
        bundle = write_bundle(tmp_path / "pst", "pst", base, weights)
        wanted = local_recipe(base, FAITHFUL + 'models = ["pst"]\n', bundle, lamps=2, more="merged = true")
        run.evaluate(wanted, tmp_path / "out", Span(), Serving(model.base_url, vllm.url))
        asked.append(len(vllm.asked))
    assert asked[1:] == [asked[0], 2 * asked[0]]


def test_replies_that_are_there_are_measured_without_asking_for_them_again(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    base = write_base(tmp_path)
    serving = Serving(model.base_url, vllm.url)
    run.evaluate(local_recipe(base, ""), tmp_path / "out", Span(), serving)
    assert (results(tmp_path).faithfulness, vllm.asked) == ((), [])
    run.evaluate(local_recipe(base, FAITHFUL), tmp_path / "out", Span(), serving)
    assert told(tmp_path, "alone")["visual"].steps == 4
    assert set(model.asked.values()) == {1}


def test_merged_weights_are_the_engines_base_and_are_told_apart(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align.train.bundle.write_merged", lambda base, adapter, out: out.mkdir(parents=True))
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base)
    wanted = local_recipe(base, FAITHFUL, bundle, lamps=2, more="merged = true")
    run.evaluate(wanted, tmp_path / "out", Span(), Serving(model.base_url, vllm.url))
    assert {body["model"] for body in vllm.asked} == {"base"}
    kept = sorted(path.parent.parent.name for path in (tmp_path / "out" / "faithful").rglob(STEPS_FILE))
    assert [name.rpartition("-")[0] for name in kept] == ["alone", "pst"]
    assert set(told(tmp_path, "pst")) == set(told(tmp_path, "alone")) == {"visual", "textual"}


def test_too_many_unscored_replies_give_no_number_and_are_asked_about_again(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    wanted = local_recipe(write_base(tmp_path), FAITHFUL)
    serving = Serving(model.base_url, vllm.url)
    vllm.faults = {"red": "drop"}
    run.evaluate(wanted, tmp_path / "out", Span(), serving)
    assert results(tmp_path).faithfulness == ()
    fault = "source tags, alone: not reported: 4 of 4 replies are unscored: no prompt_logprobs (4)"
    assert fault in results(tmp_path).notes
    vllm.faults = {}
    run.evaluate(wanted, tmp_path / "out", Span(), serving)
    assert told(tmp_path, "alone")["visual"].steps == 4


def test_an_engine_that_cannot_be_used_costs_no_benchmark(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    wanted = local_recipe(write_base(tmp_path), FAITHFUL)
    vllm.opening = "<think>\n"
    with pytest.raises(StageAborted, match="alone: the chat template of 'base' does not continue"):
        run.evaluate(wanted, tmp_path / "out", Span(), Serving(model.base_url, vllm.url))
    (rate,) = results(tmp_path).rates
    assert rate.n == 4
    assert any("the chat template of 'base'" in note for note in results(tmp_path).notes)


def test_what_is_not_asked_this_time_is_not_measured_either(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base)
    span = Span(models=("pst",), count=2)
    wanted = local_recipe(base, FAITHFUL, bundle)
    run.evaluate(wanted, tmp_path / "out", span, Serving(model.base_url, vllm.url))
    assert told(tmp_path, "pst")["visual"].steps == 2
    assert told(tmp_path, "alone") == {}
    assert "source tags, alone: wait for lamps to be finished" in results(tmp_path).notes


LOCAL = '[[models]]\nname = "alone"\n'
THEIRS = '[[models]]\nname = "theirs"\nbase_url = "http://h/v1"\nmodel = "x"\n'
UNKNOWN_BASE = "is a Some; the bases that can be trained are"


@pytest.mark.parametrize(
    ("models", "keys", "said"),
    [
        (LOCAL, '[faithful]\nof = "lampen"\n', "faithful.of: there is no benchmark 'lampen' (did you mean"),
        (LOCAL, "[faithful]\ncount = 3\n", "key 'faithful.of' is missing"),
        (LOCAL, FAITHFUL + "treshold = 1.0\n", "(did you mean 'threshold'?)"),
        (LOCAL, FAITHFUL + 'models = ["alon"]\n', "faithful.models: there is no model 'alon'"),
        (LOCAL + THEIRS, FAITHFUL + 'models = ["theirs"]\n', "faithful.models: 'theirs' is an endpoint's"),
        (THEIRS, FAITHFUL, "faithful needs a local model, and all models are endpoints'"),
        (LOCAL + THEIRS, '[attention]\nmodels = ["theirs"]\n', "attention.models: 'theirs' is an endpoint's"),
        (THEIRS, "[attention]\n", "attention needs a local model"),
        (LOCAL, '[attention]\ntext = "nobody"\n', "attention.text: there is no model 'nobody'"),
        (LOCAL, '[attention]\ndirectory = "x"\ncount = 3\n', "give nothing beside it"),
        (LOCAL, "[attention]\n", UNKNOWN_BASE),
        (LOCAL + '[[models]]\nname = "own"\nbundle = "x"\n', "[attention]\n", "something else by 'own'"),
        (LOCAL + "rows = 250\n", "", "rows is for the curve of the ablations"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_before_anything_is_asked(
    models: str, keys: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = f'base = "{write_base(tmp_path)}"\n'
    (tmp_path / "inside.toml").write_text(
        f'{head}{models}[[benchmarks]]\nname = "{LAMPS}:lamps"\n{PACE}{keys}'
    )
    assert main(["evaluate", "inside.toml"]) == 2
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1
