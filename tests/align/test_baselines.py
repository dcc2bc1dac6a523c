"""How baselines write a chosen reply anew: the right outcome in every row, and none of PST's grammar."""

import tomllib
from pathlib import Path

import pytest

from align.baselines import refusal_template, rules, self_check, without
from align.baselines.listed import write_models
from align.baselines.variants import VARIANTS, Variant
from align.evaluate.recipe import Evaluated
from align.manifest import Origin, StageManifest, write_manifest
from align.mini.replies import Outcome, oracle_trace, outcome
from align.mini.world import Situation, situations
from policies.catalog import Catalog, load_catalog
from policies.formats import THINK
from policies.render import render
from policies.reply import Flag, Trace
from policies.trace import read

BASELINES = [variant for variant in VARIANTS if variant.group == "baseline"]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture(scope="module")
def world() -> list[Situation]:
    return list(situations("train", 400))


def reply(variant: Variant, situation: Situation, catalog: Catalog) -> str:
    assert variant.reply
    return variant.reply(situation, catalog)


def trace(text: str, catalog: Catalog) -> Trace:
    return read(text, THINK, catalog.citable)


@pytest.mark.parametrize("variant", BASELINES, ids=lambda variant: variant.name)
def test_harmful_requests_are_refused_and_harmless_ones_fulfilled(
    variant: Variant, world: list[Situation], catalog: Catalog
) -> None:
    for situation in world:
        said = outcome(trace(reply(variant, situation, catalog), catalog).answer)
        assert said is (Outcome.REFUSED if situation.truth.harmful else Outcome.COMPLIED), situation.seed


@pytest.mark.parametrize("variant", BASELINES, ids=lambda variant: variant.name)
def test_no_source_tag_citation_or_verdict_is_left(
    variant: Variant, world: list[Situation], catalog: Catalog
) -> None:
    for situation in world:
        text = reply(variant, situation, catalog)
        found = trace(text, catalog)
        assert found.reasoning
        assert all(step.source is None for step in found.steps)
        assert (found.citations, found.verdict) == ((), None)
        assert Flag.LOOK_ALIKE not in found.flags
        assert "[" not in text
        assert "Verdict" not in text


def test_the_refusal_template_is_the_same_for_every_harm_and_gives_no_reason(
    world: list[Situation], catalog: Catalog
) -> None:
    replies = {situation.seed: refusal_template.reply(situation, catalog) for situation in world}
    refusals = {replies[situation.seed] for situation in world if situation.truth.harmful}
    assert len(refusals) == 1
    assert {trace(text, catalog).reasoning for text in replies.values()} == {refusal_template.REASONING}


def test_a_self_check_is_on_its_guard_in_every_reply_and_names_no_policy(
    world: list[Situation], catalog: Catalog
) -> None:
    titles = [policy.title for policy in catalog.policies]
    for situation in world:
        text = self_check.reply(situation, catalog)
        assert self_check.REGULATIONS in text
        assert any(guard in text for guard in self_check.GUARDS)
        assert not any(title in text for title in titles)


def test_rules_are_referenced_after_what_the_picture_shows(world: list[Situation], catalog: Catalog) -> None:
    for situation in world:
        grounded, _, referenced = rules.reply(situation, catalog).partition(rules.REFERENCING)
        assert rules.GROUNDING in grounded
        policy = catalog.policy(situation.truth.near) if situation.truth.near else None
        if policy:
            assert f'"{policy.title}"' in referenced
            assert policy.principle.title in referenced
        else:
            assert rules.UNRULED in referenced


def test_without_source_tags_everything_else_is_as_it_was(world: list[Situation], catalog: Catalog) -> None:
    for situation in world:
        whole = oracle_trace(situation)
        text = render(whole, THINK)
        bare = trace(without.source_tags(text), catalog)
        assert all(step.source is None for step in bare.steps)
        assert (bare.citations, bare.verdict, bare.answer) == (whole.citations, whole.verdict, whole.answer)
        assert without.source_tags(text).split() == [word for word in text.split() if word not in TAGS]


TAGS = ("[visual]", "[textual]", "[visual+textual]")


def test_without_citations_everything_else_is_as_it_was(world: list[Situation], catalog: Catalog) -> None:
    for situation in world:
        whole = oracle_trace(situation)
        bare = trace(without.citations(render(whole, THINK)), catalog)
        assert bare.citations == ()
        assert (bare.verdict, bare.answer) == (whole.verdict, whole.answer)
        assert [(step.source, step.text) for step in bare.steps] == [
            (step.source, step.text) for step in whole.steps
        ]


def test_a_reply_outside_the_grammar_stays_as_it_is() -> None:
    free = "<think>\nThe picture shows a dog.\n</think>\nIt is a dog."
    assert without.source_tags(free) == without.citations(free) == free


def test_ablations_by_rows_say_them_to_the_evaluation_and_others_do_not(tmp_path: Path) -> None:
    origin = Origin(stage="bundle", recipe_digest="0" * 64, inputs={})
    for name in ("rows-250", "contrastive-only", "rules"):
        (tmp_path / name).mkdir()
        write_manifest(
            tmp_path / name,
            StageManifest(
                origin=origin, seed=0, rows=1, result_digest="0" * 64, dropped={}, versions={}, seconds=1.0
            ),
        )
    models = tomllib.loads(write_models(tmp_path).read_text())["models"]
    evaluated = {model["name"]: Evaluated.model_validate(model).rows for model in models}
    assert evaluated == {"rules": None, "contrastive-only": None, "rows-250": 250}
