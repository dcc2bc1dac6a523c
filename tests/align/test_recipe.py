"""Recipes: the shipped one is valid, and every mistake is one line that names the key."""

from pathlib import Path

import pytest

from align.recipe import Recipe, RecipeError, digest_of, load_recipe
from tests.align.recipes import recipe

MINI = Path(__file__).parents[2] / "align" / "recipes" / "mini.toml"


def test_the_shipped_recipe_is_valid() -> None:
    assert load_recipe(MINI).bundle.name == "pst-sft"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate", "learning_rat", "unknown key 'sft.learning_rat' (did you mean 'learning_rate'?)"),
        ("learning_rate", "learning_rat", "key 'sft.learning_rate' is missing"),
        ("[bundle]", "[bundel]", "unknown key 'bundel' (did you mean 'bundle'?)"),
        ("concurrency = 16", "parallel = 16", "unknown key 'trajectories.endpoint.parallel'"),
        ("rank = 16", 'rank = "16"', "key 'sft.rank': Input should be a valid integer"),
        ("rank = 16", "rank = true", "key 'sft.rank': Input should be a valid integer"),
        ("rank = 16", "rank = 0", "key 'sft.rank': Input should be greater than 0"),
        ('precision = "float32"', 'precision = "fp8"', "key 'sft.precision': Input should be 'bf16'"),
        ('source = "mini"', 'source = "maxi"', "key 'queries.source': Input should be 'mini'"),
        ('policies = "all"', 'policies = ["P1"]', "key 'policies': give \"all\" or a list of ids"),
        ('policies = "all"', "policies = []", "key 'policies': give"),
        ('policies = "all"', 'policies = ["P01", 2]', "key 'policies': give"),
        ('"think"', '"thinc"', "key 'trajectories': reasoning_format 'thinc' is unknown"),
        ('teacher = "oracle"', 'teacher = "endpoint"', "endpoint.base_url goes with teacher = 'endpoint'"),
        ("max_dropped_share = 0.01", "max_dropped_share = 1.5", "key 'trajectories.max_dropped_share'"),
        ("seed = 1", "seed = = 1", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as found:
        recipe(tmp_path, {old: new})
    assert message in str(found.value)
    assert "small.toml" in str(found.value)
    assert "\n" not in str(found.value)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none.toml: cannot be read"):
        load_recipe(tmp_path / "none.toml")


def test_pace_and_patience_do_not_change_what_is_made(tmp_path: Path) -> None:
    slow = recipe(tmp_path, {"concurrency = 16": "concurrency = 1", "retries = 5": "retries = 0"})
    patient = recipe(tmp_path, {"max_dropped_share = 0.01": "max_dropped_share = 0.9"})
    assert slow.making() == patient.making() == recipe(tmp_path).making()
    assert recipe(tmp_path, {"temperature = 0.0": "temperature = 0.5"}).making() != slow.making()
    assert len(digest_of(slow.making())) == 64


def test_only_chosen_policies_are_taken_and_rows_near_none_stay(tmp_path: Path) -> None:
    chosen = recipe(tmp_path, {'policies = "all"': 'policies = ["P01", "P19"]'})
    assert [chosen.takes(category) for category in ("P01", "P19", None, "P02")] == [True, True, True, False]
    assert recipe(tmp_path).takes("P02")


def test_policy_documents_are_found_from_the_recipes_place(tmp_path: Path) -> None:
    assert recipe(tmp_path).policy_documents is None
    with_own = recipe(tmp_path, {'policies = "all"': 'policies = "all"\npolicy_documents = "../own"'})
    assert with_own.policy_documents == tmp_path.parent / "own"
    assert with_own.making() == recipe(tmp_path).making()


def test_the_recipes_keys_are_frozen() -> None:
    """A new key is a visible change: add it here, to the shipped recipes, and to the README."""
    keys = {
        f"{table}.{key}" if fields else table
        for table, field in Recipe.model_fields.items()
        for fields in [getattr(field.annotation, "model_fields", {})]
        for key in fields or [table]
    }
    assert keys == {
        "seed", "policies",
        "queries.source", "queries.split", "queries.count",
        "trajectories.teacher", "trajectories.model", "trajectories.temperature", "trajectories.max_tokens",
        "trajectories.reasoning_format", "trajectories.max_dropped_share", "trajectories.endpoint",
        "gates.max_chars", "gates.max_completion_tokens", "gates.require_visual_step",
        "gates.require_citation_of_category", "gates.max_dropped_share",
        "sft.base", "sft.seed", "sft.rank", "sft.alpha", "sft.dropout", "sft.target_modules",
        "sft.learning_rate", "sft.epochs", "sft.batch_size", "sft.warmup_share", "sft.precision",
        "bundle.name", "policy_documents", "trajectories.policy_tokens",
        "evaluate.split", "evaluate.count", "evaluate.max_tokens", "evaluate.base_url",
        "evaluate.concurrency", "evaluate.compare_with",
    }  # fmt: skip
