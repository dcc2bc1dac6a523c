"""What `python -m align evaluate` measures inside local models: blanked pictures, and attention."""

import functools
import gc
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from align.__main__ import main
from align.attention.written import JSON_FILE
from align.errors import RecipeError, StageAborted
from align.evaluate import run
from align.evaluate.faithful import STEPS_FILE
from align.evaluate.recipe import Evaluation, load_evaluation
from align.evaluate.results import Faithfulness, Results
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE, read_bundle
from tests.align.scripted_model import Said, ScriptedModel
from tests.align.scripted_vllm import LIKELY, UNLIKELY, ScriptedVllm
from tests.align.serving import Serving, write_base, write_bundle
from tests.align.tiny_bases import tiny_base
from tests.align.training import QWEN

LAMPS = Path(__file__).with_name("lamps.py")
REASONING = "[visual] The lamp is red.\n[textual] The user asks about it.\nVerdict: comply"
pytestmark = pytest.mark.filterwarnings(
    # Inspect's own, of tenacity and of streams that it leaves to the garbage collector.
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning",
    "ignore:Unclosed <MemoryObject:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
FAITHFUL = '[faithful]\nof = "lamps"\n'
PACE = "[pace]\nconcurrency = 2\nmax_tokens = 8\nretries = 0\n"


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the harness keeps its traces. It also reads every installed package's files, each time anew."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data-home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-home"))
    monkeypatch.chdir(tmp_path)
    known = functools.cache(importlib.metadata.packages_distributions)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", known)
    yield
    gc.collect()  # the clients that Inspect leaves open, while that is still forgiven


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(lambda text: Said("no", REASONING)).serving() as found:
        yield found


@pytest.fixture
def vllm() -> Iterator[ScriptedVllm]:
    with ScriptedVllm(seen=frozenset({"red"})).running() as scripted:
        yield scripted


def recipe(
    tmp_path: Path, base: Path, keys: str, *bundles: Path, lamps: int = 4, more: str = ""
) -> Evaluation:
    """The base model under the name `alone`, and bundles on it."""
    models = "".join(f'[[models]]\nname = "{path.name}"\nbundle = "{path}"\n' for path in bundles)
    path = tmp_path / "inside.toml"
    path.write_text(
        f'base = "{base}"\n{more}\n[[models]]\nname = "alone"\n{models}'
        f'[[benchmarks]]\nname = "{LAMPS}:lamps"\ncount = {lamps}\n{PACE}{keys}'
    )
    return load_evaluation(path)


def results(tmp_path: Path) -> Results:
    return Results.model_validate_json((tmp_path / "out" / "results.json").read_bytes())


def told(tmp_path: Path, model: str) -> dict[str, Faithfulness]:
    """By source."""
    return {one.source: one for one in results(tmp_path).faithfulness if one.model == model}


def test_steps_are_measured_through_the_engine_itself_while_their_model_is_served(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base)
    wanted = recipe(tmp_path, base, FAITHFUL + "count = 3\nthreshold = 0.5\n", bundle)
    serving = Serving(model.base_url, vllm.url)
    page = run.evaluate(wanted, tmp_path / "out", run.Span(), serving)
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
    run.evaluate(recipe(tmp_path, base, FAITHFUL), tmp_path / "out", run.Span(), serving)
    before, asked = told(tmp_path, "alone")["visual"], len(vllm.asked)
    assert before.survives.value == 0.0
    strict = recipe(tmp_path, base, FAITHFUL + "threshold = 0.9\n")
    run.evaluate(strict, tmp_path / "out", run.Span(), serving)
    after = told(tmp_path, "alone")["visual"]
    assert (after.mean, after.survives.value, after.threshold) == (before.mean, 1.0, 0.9)
    assert (len(vllm.asked), len(serving.served)) == (asked, 1)


def test_replies_that_are_there_are_measured_without_asking_for_them_again(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    base = write_base(tmp_path)
    serving = Serving(model.base_url, vllm.url)
    run.evaluate(recipe(tmp_path, base, ""), tmp_path / "out", run.Span(), serving)
    assert (results(tmp_path).faithfulness, vllm.asked) == ((), [])
    run.evaluate(recipe(tmp_path, base, FAITHFUL), tmp_path / "out", run.Span(), serving)
    assert told(tmp_path, "alone")["visual"].steps == 4
    assert set(model.asked.values()) == {1}


def test_merged_weights_are_the_engines_base_and_are_told_apart(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align.train.bundle.write_merged", lambda base, adapter, out: out.mkdir(parents=True))
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base)
    wanted = recipe(tmp_path, base, FAITHFUL, bundle, lamps=2, more="merged = true")
    run.evaluate(wanted, tmp_path / "out", run.Span(), Serving(model.base_url, vllm.url))
    assert {body["model"] for body in vllm.asked} == {"base"}
    kept = sorted(path.parent.parent.name for path in (tmp_path / "out" / "faithful").rglob(STEPS_FILE))
    assert [name.rpartition("-")[0] for name in kept] == ["alone", "pst"]
    assert set(told(tmp_path, "pst")) == set(told(tmp_path, "alone")) == {"visual", "textual"}


def test_too_many_unscored_replies_give_no_number_and_are_asked_about_again(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    wanted = recipe(tmp_path, write_base(tmp_path), FAITHFUL)
    serving = Serving(model.base_url, vllm.url)
    vllm.faults = {"red": "drop"}
    run.evaluate(wanted, tmp_path / "out", run.Span(), serving)
    assert results(tmp_path).faithfulness == ()
    fault = "source tags, alone: not reported: 4 of 4 replies are unscored: no prompt_logprobs (4)"
    assert fault in results(tmp_path).notes
    vllm.faults = {}
    run.evaluate(wanted, tmp_path / "out", run.Span(), serving)
    assert told(tmp_path, "alone")["visual"].steps == 4


def test_an_engine_that_cannot_be_used_costs_no_benchmark(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    wanted = recipe(tmp_path, write_base(tmp_path), FAITHFUL)
    vllm.opening = "<think>\n"
    with pytest.raises(StageAborted, match="alone: the chat template of 'base' does not continue"):
        run.evaluate(wanted, tmp_path / "out", run.Span(), Serving(model.base_url, vllm.url))
    (rate,) = results(tmp_path).rates
    assert rate.n == 4
    assert any("the chat template of 'base'" in note for note in results(tmp_path).notes)


def test_what_is_not_asked_this_time_is_not_measured_either(
    tmp_path: Path, model: ScriptedModel, vllm: ScriptedVllm
) -> None:
    base = write_base(tmp_path)
    bundle = write_bundle(tmp_path / "pst", "pst", base)
    span = run.Span(models=("pst",), count=2)
    wanted = recipe(tmp_path, base, FAITHFUL, bundle)
    run.evaluate(wanted, tmp_path / "out", span, Serving(model.base_url, vllm.url))
    assert told(tmp_path, "pst")["visual"].steps == 2
    assert told(tmp_path, "alone") == {}
    assert "source tags, alone: wait for lamps to be finished" in results(tmp_path).notes


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(QWEN, tmp_path_factory.mktemp("checkpoint"))


def adapter(base: Path, out: Path) -> Path:
    """A bundle whose adapter changes something."""
    import torch
    from peft import LoraConfig, get_peft_model

    from align.train.bases import kind_of, load_base

    lora = LoraConfig(r=4, target_modules=kind_of(base).target_modules, init_lora_weights=False)
    work = out.with_name(f"{out.name}-work")
    get_peft_model(load_base(base, torch.float32), lora).save_pretrained(work)
    bundle = write_bundle(
        out, out.name, base, (work / WEIGHTS_FILE).read_bytes(), config=(work / CONFIG_FILE).read_bytes()
    )
    return bundle


@pytest.mark.usefixtures("one_thread")
def test_attention_is_measured_once_for_all_models_and_shown(
    tmp_path: Path, checkpoint: Path, model: ScriptedModel
) -> None:
    bundle = adapter(checkpoint, tmp_path / "pst")
    keys = '[attention]\ncount = 2\ntext = "alone"\n'
    wanted = recipe(tmp_path, checkpoint, keys, bundle, lamps=1)
    page = run.evaluate(wanted, tmp_path / "out", run.Span(), Serving(model.base_url))
    place = Path(str(results(tmp_path).attention))
    assert place.parent == tmp_path / "out" / "attention"
    measured = json.loads((place / JSON_FILE).read_text())
    assert set(measured["models"]) == {"base", "pst"}
    assert (measured["method"]["questions"], measured["method"]["text"]) == (2, "base")
    assert measured["method"]["max_tokens"] == 8
    assert "data:image/svg+xml" in page.read_text()
    before = (place / JSON_FILE).stat().st_mtime_ns
    run.evaluate(wanted, tmp_path / "out", run.Span(), Serving(model.base_url))
    assert (place / JSON_FILE).stat().st_mtime_ns == before
    other = recipe(tmp_path, checkpoint, keys.replace("2", "1"), bundle, lamps=1)
    run.evaluate(other, tmp_path / "out", run.Span(), Serving(model.base_url))
    assert results(tmp_path).attention != str(place)
    assert not list((tmp_path / "out" / "attention").glob(".*"))


@pytest.mark.usefixtures("one_thread")
def test_a_part_of_the_recipe_leaves_attention_for_later(
    tmp_path: Path, checkpoint: Path, model: ScriptedModel
) -> None:
    wanted = recipe(tmp_path, checkpoint, "[attention]\ncount = 1\n", lamps=1)
    run.evaluate(wanted, tmp_path / "out", run.Span(only=("lamps",)), Serving(model.base_url))
    assert results(tmp_path).attention is None
    run.evaluate(wanted, tmp_path / "out", run.Span(), Serving(model.base_url))
    assert results(tmp_path).attention is not None


def test_attention_that_was_measured_elsewhere_is_shown_as_it_is(
    tmp_path: Path, model: ScriptedModel
) -> None:
    base, there = write_base(tmp_path), tmp_path / "there"
    with pytest.raises(RecipeError, match="holds no attention figures"):
        run.evaluate(
            recipe(tmp_path, base, f'[attention]\ndirectory = "{there}"\n', lamps=1),
            tmp_path / "out",
            run.Span(),
            Serving(model.base_url),
        )
    assert not model.asked
    there.mkdir()
    (there / "attention-by-layer.svg").write_text("<svg/>")
    wanted = recipe(tmp_path, base, f'[attention]\ndirectory = "{there}"\n', lamps=1)
    page = run.evaluate(wanted, tmp_path / "out", run.Span(), Serving(model.base_url))
    assert "data:image/svg+xml" in page.read_text()
    assert main(["evaluate", "inside.toml", "--out", str(tmp_path / "out"), "--render"]) == 0
    assert "data:image/svg+xml" in page.read_text()


LOCAL = '[[models]]\nname = "alone"\n'
THEIRS = '[[models]]\nname = "theirs"\nbase_url = "http://h/v1"\nmodel = "x"\n'
UNKNOWN_BASE = "is a Some; the bases that can be trained are"


@pytest.mark.parametrize(
    ("models", "keys", "said"),
    [
        (LOCAL, '[faithful]\nof = "lampen"\n', "faithful.of: there is no benchmark 'lampen' (did you mean 'lamps'?)"),
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
        (LOCAL + '[[models]]\nname = "own"\nbundle = "x"\n', "[attention]\n", "means something else by 'own'"),
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
