"""The lab's comparisons: each differs from PST in what its entry names and in nothing else."""

import fcntl
import json
import tomllib
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import pytest

from align.baselines import command, make, refusal_template, without
from align.baselines.budget import same_steps, steps
from align.baselines.data import Data, data_of
from align.baselines.listed import write_models
from align.baselines.parent import Parent, open_parent
from align.baselines.plan import Plan, plan
from align.baselines.variants import ALL_KINDS, VARIANTS, Variant
from align.errors import RecipeError
from align.evaluate.recipe import Evaluated, load_evaluation
from align.graph import Span
from align.manifest import begin
from align.recipe import load_recipe
from align.records import Dropped, Pair, SftRow
from align.run import run
from align.train import sft as stage_1
from policies.bundle import WEIGHTS_FILE, read_bundle
from tests.align.recipes import write_recipe
from tests.align.tiny_bases import tiny_base
from tests.align.training import QWEN, SFT

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

BY_NAME = {variant.name: variant for variant in VARIANTS}
FEWER = Variant("fewer", "Fewer", "ablation", "Half the rows.", count=10)
OWN = Variant("own", "Own", "ablation", "The run's own number of rows.", count=20)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small recipe on a tiny base."""
    directory = tmp_path_factory.mktemp("recipe")
    base = tiny_base(QWEN, directory / "base")
    changes = {
        'base = "mini"': f'base = "{base}"\ncheckpoint_steps = 2',
        "epochs = 3.0": "epochs = 1.0",
    }
    return write_recipe(directory / "small.toml", changes)


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A run with both stages trained."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    run(load_recipe(recipe), directory, Span(last="srpo"))
    return directory


@pytest.fixture(scope="module")
def parent(finished: Path, recipe: Path) -> Parent:
    return open_parent(finished, load_recipe(recipe))


def planned(variant: Variant, parent: Parent, out: Path) -> Plan:
    return plan(variant, parent, out / variant.name)


def less_reply(rows: Sequence[SftRow]) -> list[dict[str, object]]:
    return [row.model_dump(exclude={"completion"}) for row in rows]


def replies(rows: Sequence[SftRow], pairs: Sequence[Pair]) -> list[str]:
    return [row.completion for row in rows] + [
        text for pair in pairs for text in (pair.chosen, pair.rejected)
    ]


def weights(adapter: Path) -> bytes:
    return (adapter / WEIGHTS_FILE).read_bytes()


def losses(adapter: Path) -> list[float]:
    found: list[float] = json.loads((adapter / "training.json").read_text())["loss"]
    return found


@pytest.mark.parametrize("name", ["refusal-template", "self-check", "rules"])
def test_a_baselines_rows_differ_from_psts_only_in_the_chosen_reply(name: str, parent: Parent) -> None:
    data = data_of(BY_NAME[f"{name}-same-rows"], parent)
    assert less_reply(data.rows) == less_reply(parent.selected)
    assert all(new.completion != old.completion for new, old in zip(data.rows, parent.selected, strict=True))
    assert data.pairs == ()


def test_a_safety_only_baseline_has_the_stated_share_of_harmless_rows(parent: Parent) -> None:
    variant = Variant("v", "V", "baseline", "", count=10, benign_share=0.1, reply=refusal_template.reply)
    data = data_of(variant, parent)
    refused = [row for row in data.rows if refusal_template.TEMPLATE in row.completion]
    assert (len(data.rows), len(refused)) == (10, 9)


def test_fewer_rows_are_a_balanced_part_of_more_rows(parent: Parent) -> None:
    rows = data_of(FEWER, parent).rows
    assert {row.id for row in rows} < {row.id for row in parent.selected}
    assert sum(row.verdict == "comply" for row in rows) == 5


def test_a_run_with_too_few_rows_for_a_variant_is_told_so(parent: Parent) -> None:
    with pytest.raises(RecipeError, match="rows-4000: 4000 rows are needed, 2000 of them benign"):
        data_of(BY_NAME["rows-4000"], parent)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("no-over-refusal", {"contrastive", "post_hoc"}),
        ("contrastive-only", {"contrastive"}),
        ("adversarial-only", {"post_hoc"}),
    ],
)
def test_stage_2_gets_the_pairs_of_the_named_kinds_and_all_of_those(
    name: str, kinds: set[str], parent: Parent
) -> None:
    data = data_of(BY_NAME[name], parent)
    assert list(data.rows) == parent.selected
    assert list(data.pairs) == [pair for pair in parent.pairs if pair.kind in kinds]
    assert {pair.kind for pair in data.pairs} == kinds


@pytest.mark.parametrize(
    ("name", "less"), [("no-source-tags", without.source_tags), ("no-citations", without.citations)]
)
def test_what_is_taken_out_is_gone_from_rows_and_from_both_replies_of_every_pair(
    name: str, less: object, parent: Parent
) -> None:
    data = data_of(BY_NAME[name], parent)
    assert BY_NAME[name].less is less
    assert less_reply(data.rows) == less_reply(parent.selected)
    marks = ("[visual]", "[P") if name == "no-source-tags" else ("[P", "[visual]")
    before, after = replies(parent.selected, parent.pairs), replies(data.rows, data.pairs)
    gone, kept = ([[reply.count(mark) for reply in texts] for texts in (before, after)] for mark in marks)
    assert sum(gone[0]) > 0 == sum(gone[1])
    assert kept[0] == kept[1]
    assert any(map(all, zip(*kept, strict=True)))


@pytest.mark.parametrize("rows", [1, 7, 8, 250, 500, 999, 1001, 2000, 4000])
def test_any_number_of_rows_takes_as_many_steps(rows: int) -> None:
    settings = SFT.model_copy(update={"epochs": 3.0, "batch_size": 8})
    assert steps(settings, 1000) == 375
    assert steps(same_steps(settings, rows, 1000), rows) == 375


def test_every_variant_that_the_run_allows_has_its_budget(parent: Parent, tmp_path: Path) -> None:
    stages = {stage: parent.manifests[stage].rows for stage in ("sft", "srpo")}
    assert parent.recipe.srpo
    for variant in (*VARIANTS, FEWER):
        if variant.own_rows and variant is not FEWER:
            continue
        made = planned(variant, parent, tmp_path)
        assert steps(made.sft, len(made.data.rows)) == steps(parent.recipe.sft, stages["sft"])
        same = made.sft.model_copy(update={"epochs": parent.recipe.sft.epochs})
        assert same == parent.recipe.sft
        if made.srpo:
            assert steps(made.srpo, len(made.data.pairs)) == steps(parent.recipe.srpo, stages["srpo"])


def test_names_are_apart_and_every_entry_says_what_it_is() -> None:
    assert len(BY_NAME) == len(VARIANTS)
    assert len({variant.label for variant in VARIANTS}) == len(VARIANTS)
    assert all(variant.about.endswith(".") for variant in VARIANTS)
    assert {variant.kinds for variant in VARIANTS if variant.less} == {ALL_KINDS}


def test_one_command_trains_bundles_skips_what_is_done_and_lists_it(
    recipe: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["self-check-same-rows", "contrastive-only"]
    chosen = command.named(names)
    command.train(chosen, finished, recipe, tmp_path)
    manifests = [read_bundle(tmp_path / name / "bundle") for name in names]
    assert [manifest.name for manifest in manifests] == names
    assert [set(manifest.seeds) for manifest in manifests] == [{"data", "sft"}, {"data", "sft", "srpo"}]
    assert len({manifest.data_digest for manifest in manifests}) == 2
    own = losses(finished / "sft" / "adapter"), losses(finished / "srpo" / "adapter")
    baseline = losses(tmp_path / names[0] / "sft" / "adapter")
    assert len(baseline) == len(own[0])
    assert baseline != own[0]
    assert len(losses(tmp_path / names[1] / "srpo" / "adapter")) == len(own[1])
    assert not (tmp_path / names[1] / "sft").exists()  # its stage 1 is the run's own
    assert "1 of 2, self-check-same-rows: 20 rows in 3 steps; in all" in capsys.readouterr().err
    stamps = [(tmp_path / name / "manifest.json").stat().st_mtime_ns for name in names]
    command.train(chosen, finished, recipe, tmp_path)
    assert stamps == [(tmp_path / name / "manifest.json").stat().st_mtime_ns for name in names]
    assert "2 of 2, contrastive-only: done; in all about 0 min left" in capsys.readouterr().err
    models = tomllib.loads((tmp_path / "models.toml").read_text())["models"]
    for model, manifest in zip(models, manifests[::-1], strict=True):  # in the order of the table
        evaluated = Evaluated.model_validate(model)
        assert evaluated.bundle
        assert (evaluated.name, read_bundle(evaluated.bundle)) == (manifest.name, manifest)
    assert [model.get("count") for model in models] == [200, None]  # of the ablation, of the baseline


def test_rows_that_are_the_runs_own_take_the_runs_adapter(
    parent: Parent, finished: Path, tmp_path: Path
) -> None:
    made = planned(OWN, parent, tmp_path)
    make.make(made)
    assert made.takes_stage_1
    assert weights(tmp_path / "own" / "bundle") == weights(finished / "sft" / "adapter")


def test_a_killed_variant_goes_on_and_ends_with_the_same_bytes(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = planned(FEWER, parent, tmp_path / "whole")
    make.make(whole)
    train = stage_1.train_adapter

    def killed(*arguments: object, **named: object) -> tuple[list[float], list[Dropped]]:
        train(*arguments, **named, stop_after=2)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    left = planned(FEWER, parent, tmp_path / "killed")
    with monkeypatch.context() as patched:
        patched.setattr(stage_1, "train_adapter", killed)
        with pytest.raises(KeyboardInterrupt):
            make.make(left)
    assert left.begun
    assert not left.done
    assert list((left.directory / "sft" / "adapter" / "checkpoints").glob("checkpoint-*"))
    make.make(left)
    assert weights(left.directory / "bundle") == weights(whole.directory / "bundle")
    assert len(losses(left.directory / "sft" / "adapter")) == 3


def test_another_making_in_the_same_place_is_refused_and_left_alone(parent: Parent, tmp_path: Path) -> None:
    made = planned(OWN, parent, tmp_path)
    make.make(made)
    other = Plan(OWN, parent, made.directory, Data(made.data.rows[1:], ()), made.sft, None)
    with pytest.raises(RecipeError, match="own was begun with other rows, settings or weights: remove it"):
        make.make(other)
    assert read_bundle(made.directory / "bundle").data_digest == made.digests["select"]


def test_a_run_that_is_unfinished_or_another_recipes_is_refused(
    recipe: Path, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="queries is not complete: finish the run first"):
        open_parent(tmp_path, load_recipe(recipe))
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace("max_chars = 2000", "max_chars = 1999"))
    with pytest.raises(RecipeError, match="not made by this recipe, they differ in gates's part"):
        open_parent(finished, load_recipe(other))


def test_an_unknown_name_is_told_with_what_is_near() -> None:
    with pytest.raises(RecipeError, match="--only 'self-chek' is no variant: try self-check"):
        command.named(["self-chek"])


def test_the_order_is_the_callers_and_all_are_meant_where_none_is_named() -> None:
    assert [variant.name for variant in command.named(["rules", "self-check"])] == ["rules", "self-check"]
    assert command.named(None) == list(VARIANTS)


def test_the_list_trains_nothing_and_says_what_each_is_and_how_far_it_is(
    parent: Parent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(tmp_path / "rows-250", planned(OWN, parent, tmp_path).origin)
    parser = ArgumentParser()
    command.add_arguments(parser)
    asked = ["--run", str(parent.workspace.directory), "--out", str(tmp_path), "--list"]
    arguments = parser.parse_args([*asked, "--only", "rows-250", "rules"])
    arguments.command(arguments)
    begun, to_do = [line for line in capsys.readouterr().out.splitlines() if "stage 1 only." in line]
    assert "rows-250" in begun
    assert "begun, goes on" in begun
    assert "rules" in to_do
    assert "to do" in to_do
    assert [path.name for path in tmp_path.iterdir()] == ["rows-250"]


def test_a_variant_is_made_by_one_command_at_a_time(parent: Parent, tmp_path: Path) -> None:
    made = planned(OWN, parent, tmp_path)
    made.directory.mkdir()
    with (made.directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RecipeError, match="own is in use by another command"):
            make.make(made)


def test_nothing_done_is_no_model(tmp_path: Path) -> None:
    assert tomllib.loads(write_models(tmp_path).read_text()) == {}


def test_the_labs_evaluation_names_every_variant_where_the_guide_trains_it() -> None:
    recipe = load_evaluation(Path("recipes/mini-results.toml"))
    asked = {model.name: model for model in recipe.models if model.group != "main"}
    assert asked.keys() == {variant.name for variant in VARIANTS}
    for variant in VARIANTS:
        model = asked[variant.name]
        assert model.bundle == Path("runs/variants") / variant.name / "bundle"
        assert model.group == variant.group
        assert model.rows == (variant.count if variant.name.startswith("rows-") else None)
