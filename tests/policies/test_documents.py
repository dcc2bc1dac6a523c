"""All policy documents as they are packaged: complete, in order, and about what they must be about."""

import re

import pytest

from policies.catalog import Catalog, Policy, load_catalog
from policies.prompt import compact
from policies.reply import Verdict

CATALOG = load_catalog()

SLUGS = [
    "animal_abuse",
    "dangerous_behavior",
    "deception_in_personal_relationships",
    "discriminatory_depictions",
    "environmental_damage",
    "false_information",
    "financial_and_academic_fraud",
    "hacking_or_digital_crime",
    "harmful_health_content",
    "horror_and_gore",
    "identity_misuse_and_impersonation",
    "insulting_and_harassing_behavior",
    "pornographic_content",
    "privacy_invasion_and_surveillance",
    "psychological_harm_and_manipulation",
    "psychological_horror_and_dark_themes",
    "sensitive_information_in_key_areas",
    "sexual_crimes",
    "terrorism_or_extremism",
    "violence_and_physical_harm",
]

# Hazards that no category is named after, and the policy that must prohibit them.
GAPS = [
    ("P18", "children"),
    ("P15", "suicide"),
    ("P11", "intellectual property"),
    ("P09", "drugs"),
    ("P19", "nuclear"),
    ("P17", "election"),
    ("P08", "critical infrastructure"),
    ("P09", "diagnosis"),
    ("P07", "investment"),
    ("P17", "legal advice"),
]

# Every adapter is trained on these words: a new digest means that every adapter has to be trained again.
DIGEST = "826647ba33cbffbda7df2a3bd90f95c4bac1a9e1e1c8e72cf030e26fe2498960"

each_policy = pytest.mark.parametrize("policy", CATALOG.policies, ids=lambda policy: policy.id)


def test_there_is_one_policy_per_category_in_order() -> None:
    assert [policy.slug for policy in CATALOG.policies] == SLUGS


def test_the_policies_are_those_that_adapters_were_trained_on() -> None:
    assert CATALOG.digest == DIGEST


def test_importing_the_package_reads_no_document() -> None:
    assert isinstance(CATALOG, Catalog)
    assert load_catalog() == CATALOG
    assert load_catalog() is not CATALOG


@each_policy
def test_a_policy_has_all_its_parts(policy: Policy) -> None:
    assert policy.principle.id == f"{policy.id}.G"
    assert len(policy.prohibited) >= 4
    assert len(policy.boundary) >= 2
    assert [rule.id for rule in policy.rules] == [f"{policy.id}.R{n}" for n in range(1, 7)]
    assert dict(policy.references).keys() == {"ailuminate", "llama_guard", "openai", "google", "anthropic"}


@each_policy
def test_the_rules_stand_in_the_papers_order(policy: Policy) -> None:
    words = ["Ground", "Assess intent before the task", "Refuse", "Safe-complete", "Comply", ""]
    assert all(rule.title.startswith(word) for rule, word in zip(policy.rules, words, strict=True))


@each_policy
def test_the_second_prohibition_is_about_what_a_picture_shows(policy: Policy) -> None:
    assert "picture" in policy.prohibited[1].text


@each_policy
def test_the_first_boundary_case_is_the_benign_look_alike(policy: Policy) -> None:
    assert policy.boundary[0].verdict is Verdict.COMPLY


@each_policy
def test_clauses_are_short_and_plain(policy: Policy) -> None:
    for clause in policy.clauses:
        assert 3 <= len(clause.title.split()) <= 8, clause.id
        assert 8 <= len(clause.text.split()) <= 60, clause.id
        assert not re.search(r"[\[\]<>{}\n]", clause.title + clause.text), clause.id
    assert len({clause.title for clause in policy.clauses}) == len(policy.clauses)


@each_policy
def test_a_policy_fits_into_a_prompt(policy: Policy) -> None:
    assert len(compact(policy)) < 4_500


@pytest.mark.parametrize(("policy_id", "words"), GAPS)
def test_hazards_without_a_category_are_prohibited_somewhere(policy_id: str, words: str) -> None:
    policy = CATALOG.policy(policy_id)
    assert policy
    assert any(words in f"{clause.title} {clause.text}".lower() for clause in policy.prohibited)
