"""Recipes: the shipped one is valid, and every mistake is one line that names the key."""

from pathlib import Path

import pytest

from align.errors import RecipeError
from align.recipe import Recipe, digest_of, load_recipe
from align.training_tables import Srpo, Training
from tests.align.recipes import recipe

MINI = Path(__file__).parents[2] / "align" / "recipes" / "mini.toml"


@pytest.mark.parametrize("path", [*sorted(MINI.parent.glob("[!m]*.toml")), MINI], ids=lambda path: path.stem)
def test_the_shipped_recipes_are_valid(path: Path) -> None:
    bundle = load_recipe(path).bundle
    assert bundle.sft.endswith("pst-sft")
    assert bundle.srpo
    assert bundle.srpo.endswith("pst")


def test_a_packaged_recipe_is_found_by_its_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path("recipes/mini.toml")) == load_recipe(Path("mini.toml")) == load_recipe(MINI)
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(Path("elsewhere/mini.toml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate", "learning_rat", "unknown key 'sft.learning_rat' (did you mean 'learning_rate'?)"),
        ("learning_rate", "learning_rat", "key 'sft.learning_rate' is missing"),
        ("[bundle]", "[bundel]", "unknown key 'bundel' (did you mean 'bundle'?)"),
        ("concurrency = 16", "parallel = 16", "unknown key 'endpoints.lab.parallel'"),
        ("rank = 16", 'rank = "16"', "key 'sft.rank': Input should be a valid integer"),
        ("rank = 16", "rank = true", "key 'sft.rank': Input should be a valid integer"),
        ("rank = 16", "rank = 0", "key 'sft.rank': Input should be greater than 0"),
        ('precision = "float32"', 'precision = "fp8"', "key 'sft.precision': Input should be 'bf16'"),
        (
            'name = "mini"',
            'name = "mina"',
            "key 'sources.0.name': there is no source 'mina' (did you mean 'mini'?)",
        ),
        ('policies = "all"', 'policies = ["P1"]', "key 'policies': give \"all\" or a list of ids"),
        ('policies = "all"', "policies = []", "key 'policies': give"),
        ('policies = "all"', 'policies = ["P01", 2]', "key 'policies': give"),
        ('"think"', '"thinc"', "key 'trajectories': reasoning_format 'thinc' is unknown"),
        ("oracle = true", "oracle = false", "key 'endpoints.lab': give either base_url or oracle = true"),
        ("max_dropped_share = 0.9", "max_dropped_share = 1.5", "key 'gates.max_dropped_share'"),
        (
            'endpoint = "lab"',
            'endpoint = "lap"',
            "roles.describer: there is no [endpoints.lap]; there is lab",
        ),
        ('model = "lab-timid"', 'model = "lab-reasoner"', "roles.miners: two have the same model"),
        ("over_refusal = 0.30", "over_refusal = 0.40", "key 'pairs': shares must add up to 1"),
        ("over_refusal = 0.30", "overrefusal = 0.30", "key 'pairs.shares.overrefusal"),
        (
            "[derive]\nmax_failed_share = 0.2",
            "",
            "pairs need the tables mine, derive and pairs: derive is missing",
        ),
        ("[describe]\nmax_failed_share = 0.2", "", "the table describe goes with roles.describer"),
        ("max_tokens = 256\nsees = true", "max_tokens = 256", "the describer and the miners must see"),
        ("unreadable_retries = 2", "unreadable_retries = 10", "key 'categorise.unreadable_retries'"),
        (
            'policies = "all"',
            'policies = "all"\nbudget = { money = 5.0 }',
            "budget.money cannot be kept without a price for 'lab-adversary': add [prices.\"lab-adversary\"]",
        ),
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
    slow = recipe(tmp_path, {"concurrency = 16": "concurrency = 1", "retries = 6": "retries = 0"})
    patient = recipe(tmp_path, {"max_failed_share = 0.2": "max_failed_share = 0.9"})
    assert slow.making() == patient.making() == recipe(tmp_path).making()
    assert recipe(tmp_path, {"temperature = 0.6": "temperature = 0.5"}).making() != slow.making()
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
        "seed", "policies", "policy_documents", "sources", "endpoints", "prices",
        "roles.describer", "roles.categoriser", "roles.teacher", "roles.scorer", "roles.miners",
        "roles.adversary",
        "budget.money", "budget.currency", "budget.tokens",
        "expect.passes_gates", "expect.full_in_first_round", "expect.full_in_all_rounds",
        "expect.mined_unsafe", "expect.completion_share",
        "describe", "mine", "derive", "pairs",
        "categorise.trust_source", "categorise.unreadable_retries", "categorise.max_failed_share",
        "trajectories.candidates", "trajectories.reasoning_format", "trajectories.policy_tokens",
        "trajectories.max_failed_share",
        "gates.min_chars", "gates.max_chars", "gates.max_completion_tokens", "gates.require_visual_step",
        "gates.require_citation_of_category", "gates.language", "gates.max_dropped_share",
        "score.rounds", "score.unreadable_retries", "score.max_failed_share",
        "select.count", "select.benign_share", "select.general_share", "select.min_count",
        "sft.base", "sft.rank", "sft.alpha", "sft.dropout", "sft.rslora", "sft.target_modules",
        *(f"sft.{key}" for key in Training.model_fields),
        "srpo", "launch",
        "bundle.sft", "bundle.srpo", "bundle.merged",
        "evaluate.split", "evaluate.count", "evaluate.max_tokens", "evaluate.base_url",
        "evaluate.concurrency", "evaluate.compare_with",
    }  # fmt: skip
    assert Training.model_fields.keys() == {
        "seed", "learning_rate", "epochs", "batch_size", "micro_batch_size", "scheduler", "warmup_share",
        "weight_decay", "max_grad_norm", "max_tokens", "max_dropped_share", "precision", "base_weights",
        "gradient_checkpointing", "checkpoint_steps", "tensorboard",
    }  # fmt: skip
    assert Srpo.model_fields.keys() - Training.model_fields.keys() == {
        "beta", "losses", "label_smoothing", "ld_alpha",
    }  # fmt: skip


SRPO = "[srpo]\nseed = 1\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({'srpo = "pst"': ""}, "bundle.srpo is the name of what [srpo] trains: give both or neither"),
        ({'srpo = "pst"': 'srpo = "pst-sft"'}, "sft and srpo must have different names"),
        ({SRPO: SRPO + "losses = { sft = 1.0 }\n"}, "`sft` alone compares nothing"),
        (
            {SRPO: SRPO + "losses = { robust = 1.0 }\n"},
            "label_smoothing above 0 and the loss `robust` go together",
        ),
        (
            {SRPO: SRPO + "label_smoothing = 0.1\n"},
            "label_smoothing above 0 and the loss `robust` go together",
        ),
        ({SRPO: SRPO + "losses = { dpo = 1.0 }\n"}, "srpo.losses.dpo"),
        ({SRPO: SRPO + "label_smoothing = 0.5\n"}, "srpo.label_smoothing"),
        ({SRPO: SRPO + "micro_batch_size = 3\n"}, "srpo.micro_batch_size = 3 does not divide"),
        (
            {"[bundle]": '[launch]\nconfig = "ddp"\nprocesses = 3\n\n[bundle]'},
            "sft.batch_size = 8 cannot be shared evenly by 3 processes",
        ),
    ],
)
def test_training_tables_that_do_not_fit_are_told(
    changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as told:
        recipe(tmp_path, changes)
    assert message in str(told.value)


def test_pace_of_training_decides_no_adapter(tmp_path: Path) -> None:
    slow = recipe(tmp_path, {SRPO: SRPO + "micro_batch_size = 2\ncheckpoint_steps = 5\n"})
    assert slow.part("srpo") == recipe(tmp_path).part("srpo")
    other = recipe(tmp_path, {SRPO: SRPO + "beta = 0.2\n"})
    assert other.part("srpo") != slow.part("srpo")
    assert (other.making(), other.part("making")) != (slow.making(), slow.part("making"))
    assert other.making() == slow.making()
