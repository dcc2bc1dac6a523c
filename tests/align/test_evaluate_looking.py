"""`python -m align evaluate` and attention: the instrument on a tiny base and an adapter, in one command."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from align.__main__ import main
from align.attention.written import JSON_FILE
from align.errors import RecipeError
from align.evaluate import run
from align.evaluate.span import Span
from align.train.bases import kind_of, load_base
from policies.bundle import CONFIG_FILE, WEIGHTS_FILE
from tests.align.evaluating import HARNESS_WARNS, local_recipe, place_of_its_own, results
from tests.align.scripted_model import Said, ScriptedModel
from tests.align.serving import Serving, write_base, write_bundle
from tests.align.tiny_bases import tiny_base
from tests.align.training import QWEN

pytestmark = HARNESS_WARNS


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with place_of_its_own(tmp_path, monkeypatch):
        yield


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(lambda text: Said("no")).serving() as found:
        yield found


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(QWEN, tmp_path_factory.mktemp("checkpoint"))


def adapter(base: Path, out: Path) -> Path:
    """A bundle whose adapter changes something."""
    lora = LoraConfig(r=4, target_modules=kind_of(base).target_modules, init_lora_weights=False)
    work = out.with_name(f"{out.name}-work")
    get_peft_model(load_base(base, torch.float32), lora).save_pretrained(work)
    weights, config = ((work / name).read_bytes() for name in (WEIGHTS_FILE, CONFIG_FILE))
    return write_bundle(out, out.name, base, weights, config=config)


@pytest.mark.usefixtures("one_thread")
def test_attention_is_measured_once_for_all_models_and_shown(
    tmp_path: Path, checkpoint: Path, model: ScriptedModel
) -> None:
    bundle = adapter(checkpoint, tmp_path / "pst")
    keys = '[attention]\ncount = 2\ntext = "alone"\n'
    wanted = local_recipe(checkpoint, keys, bundle, lamps=1)
    page = run.evaluate(wanted, tmp_path / "out", Span(), Serving(model.base_url))
    place = Path(str(results(tmp_path).attention))
    assert place.parent == tmp_path / "out" / "attention"
    measured = json.loads((place / JSON_FILE).read_text())
    assert set(measured["models"]) == {"base", "pst"}
    assert (measured["method"]["questions"], measured["method"]["text"]) == (2, "base")
    assert measured["method"]["max_tokens"] == 8
    assert "data:image/svg+xml" in page.read_text()
    before = (place / JSON_FILE).stat().st_mtime_ns
    run.evaluate(wanted, tmp_path / "out", Span(), Serving(model.base_url))
    assert (place / JSON_FILE).stat().st_mtime_ns == before
    other = local_recipe(checkpoint, keys.replace("2", "1"), bundle, lamps=1)
    run.evaluate(other, tmp_path / "out", Span(), Serving(model.base_url))
    assert results(tmp_path).attention != str(place)
    assert not list((tmp_path / "out" / "attention").glob(".*"))


@pytest.mark.usefixtures("one_thread")
def test_a_part_of_the_recipe_leaves_attention_for_later(
    tmp_path: Path, checkpoint: Path, model: ScriptedModel
) -> None:
    wanted = local_recipe(checkpoint, "[attention]\ncount = 1\n", lamps=1)
    run.evaluate(wanted, tmp_path / "out", Span(only=("lamps",)), Serving(model.base_url))
    assert results(tmp_path).attention is None
    run.evaluate(wanted, tmp_path / "out", Span(), Serving(model.base_url))
    assert results(tmp_path).attention is not None


def test_attention_that_was_measured_elsewhere_is_shown_as_it_is(
    tmp_path: Path, model: ScriptedModel
) -> None:
    base, there = write_base(tmp_path), tmp_path / "there"
    with pytest.raises(RecipeError, match="holds no attention figures"):
        run.evaluate(
            local_recipe(base, f'[attention]\ndirectory = "{there}"\n', lamps=1),
            tmp_path / "out",
            Span(),
            Serving(model.base_url),
        )
    assert not model.asked
    there.mkdir()
    (there / "attention-by-layer.svg").write_text("<svg/>")
    wanted = local_recipe(base, f'[attention]\ndirectory = "{there}"\n', lamps=1)
    page = run.evaluate(wanted, tmp_path / "out", Span(), Serving(model.base_url))
    assert "data:image/svg+xml" in page.read_text()
    assert main(["evaluate", "inside.toml", "--out", str(tmp_path / "out"), "--render"]) == 0
    assert "data:image/svg+xml" in page.read_text()
