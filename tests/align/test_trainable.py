"""What makes a training, a bundle or an evaluation impossible is told before any teacher is paid."""

import json
import shutil
from pathlib import Path

import pytest

from align.__main__ import main
from align.errors import RecipeError
from align.stages import bundle, evaluate
from align.stages.trainable import check_training
from align.stages.workspace import Workspace
from policies.catalog import load_catalog
from tests.align.recipes import recipe, write_recipe
from tests.align.tiny_bases import tiny_base

pytestmark = pytest.mark.filterwarnings("default")
MERGED = ('srpo = "pst"', 'srpo = "pst"\nmerged = true')
GATEWAY = ("concurrency = 2\n", 'concurrency = 2\nbase_url = "http://127.0.0.1:9/v1"\n')


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bases")
    tiny_base("Qwen2_5_VLForConditionalGeneration", directory / "usual")
    tiny_base("Qwen3VLForConditionalGeneration", directory / "prefilled")
    tiny_base("MllamaForConditionalGeneration", directory / "merged")
    shutil.copytree(directory / "usual", directory / "bare", ignore=shutil.ignore_patterns("*token*"))
    (directory / "other").mkdir()
    (directory / "other" / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    return directory


def based_on(base: Path, *changes: tuple[str, str]) -> dict[str, str]:
    return {'base = "mini"': f'base = "{base}"', **dict(changes)}


def is_refused_before_any_work(
    changes: dict[str, str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(tmp_path / "small.toml", changes)
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("prefilled", "which does not fit the reasoning format think"),
        ("bare", "cannot be trained: "),
        ("other", "is a LlamaForCausalLM; the bases that can be trained are Qwen2.5-VL"),
        ("merged", "engines load no adapter for its architecture, so [bundle] needs merged = true"),
    ],
)
def test_a_base_that_cannot_become_a_bundle_is_refused(
    name: str, why: str, bases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    is_refused_before_any_work(based_on(bases / name), why, tmp_path, capsys)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            ("[bundle]", '[launch]\nconfig = "dpd"\nprocesses = 2\n\n[bundle]'),
            "'dpd' is no file, and none of",
        ),
        (("[bundle]", '[launch]\nconfig = "fsdp"\nprocesses = 2\n\n[bundle]'), 'there is none: use "ddp"'),
        (("[sft]\n", "[sft]\ntensorboard = true\n"), "[sft] tensorboard = true needs the package"),
        (("[srpo]\n", "[srpo]\ntensorboard = true\n"), "[srpo] tensorboard = true needs the package"),
        (("[sft]\n", '[sft]\ntarget_modules = "("\n'), "sft.target_modules"),
    ],
)
def test_settings_that_allow_no_training_are_refused(
    changes: tuple[str, str],
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("align.stages.trainable.find_spec", lambda _: None)
    is_refused_before_any_work(dict([changes]), why, tmp_path, capsys)


def test_merged_weights_are_refused_where_the_stages_own_gateway_would_have_to_serve_them(
    bases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    think = ('reasoning_format = "think"', 'reasoning_format = "llava_cot"')
    changes = based_on(bases / "merged", think, MERGED)
    is_refused_before_any_work(
        changes,
        "is served as merged weights, which this stage cannot serve: run with --to bundle",
        tmp_path,
        capsys,
    )
    workspace = Workspace(recipe(tmp_path, changes), load_catalog(), tmp_path)
    check_training(workspace)
    bundle.check(workspace)
    with pytest.raises(RecipeError, match="or name a gateway that does"):
        evaluate.check(workspace)
    evaluate.check(Workspace(recipe(tmp_path, changes | dict([GATEWAY])), load_catalog(), tmp_path))


def test_a_run_that_could_not_be_measured_in_the_end_is_refused_where_there_is_no_gateway_installed(
    bases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = based_on(bases / "usual")
    monkeypatch.setattr("align.stages.evaluate.find_spec", lambda name: None if name == "vllm" else name)
    is_refused_before_any_work(
        changes, "engine, and vllm cannot be imported here: run with --to", tmp_path, capsys
    )
    evaluate.check(Workspace(recipe(tmp_path, changes | dict([GATEWAY])), load_catalog(), tmp_path))


def test_bases_that_take_adapters_need_none_of_this(bases: Path, tmp_path: Path) -> None:
    workspace = Workspace(recipe(tmp_path, based_on(bases / "usual")), load_catalog(), tmp_path)
    for check in (check_training, bundle.check, evaluate.check):
        check(workspace)
