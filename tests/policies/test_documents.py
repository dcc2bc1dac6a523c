"""All policy documents as they are packaged: complete, in order, and about what they must be about."""

import re
from collections import Counter

import pytest

from policies.catalog import Clause, Policy, load_catalog
from policies.document import BoundaryClause
from policies.forms import Form, written
from policies.pages import covered
from policies.published import faults, read_register, unpublished
from policies.reply import Verdict
from policies.taxonomies import LLAMA_GUARD_OF, TAXONOMIES, Taxonomy
from tests.policies.drafts import PACKAGED

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
    ("P08", "sandbox"),
    ("P09", "diagnosis"),
    ("P07", "investment"),
    ("P17", "legal advice"),
    ("P06", "reputation"),
]

each_policy = pytest.mark.parametrize("policy", CATALOG.policies, ids=lambda policy: policy.id)
each_entry = pytest.mark.parametrize(
    ("taxonomy", "code"),
    [(one, code) for one in TAXONOMIES.values() for code in one.entries],
    ids=lambda value: value.name if isinstance(value, Taxonomy) else value,
)


def test_there_is_one_policy_per_category_in_order() -> None:
    assert [policy.slug for policy in CATALOG.policies] == SLUGS


@each_policy
def test_a_policy_has_all_its_parts(policy: Policy) -> None:
    assert policy.principle.id == f"{policy.id}.G"
    assert len(policy.prohibited) >= 5
    assert len(policy.boundary) >= 4
    assert [rule.id for rule in policy.rules] == [f"{policy.id}.R{n}" for n in range(1, 7)]
    assert all(codes for _, codes in policy.references)


@each_policy
def test_the_rules_stand_in_the_papers_order(policy: Policy) -> None:
    words = ["Ground", "Assess intent before the task", "Refuse", "Safe-complete", "Comply", ""]
    assert all(rule.title.startswith(word) for rule, word in zip(policy.rules, words, strict=True))


@each_policy
def test_the_second_prohibition_is_about_what_a_picture_shows(policy: Policy) -> None:
    assert "picture" in policy.prohibited[1].text


@each_policy
def test_boundary_cases_are_decided_in_every_way(policy: Policy) -> None:
    verdicts = Counter(case.verdict for case in policy.boundary)
    assert policy.boundary[0].verdict is Verdict.COMPLY
    assert verdicts[Verdict.COMPLY] >= 2
    assert verdicts[Verdict.SAFE_COMPLETE] >= 1
    assert verdicts[Verdict.REFUSE] >= 1


@each_policy
def test_clauses_are_short_and_plain(policy: Policy) -> None:
    for clause in policy.clauses:
        assert 3 <= len(clause.title.split()) <= 8, clause.id
        assert 8 <= len(clause.text.split()) <= 60, clause.id
        assert not re.search(r"[\[\]<>{}\n]", " ".join(words_of(clause))), clause.id
    for case in policy.boundary:
        assert 8 <= len(case.reason.split()) <= 40, case.id


@each_policy
def test_titles_are_unique_within_a_policy(policy: Policy) -> None:
    titles = [clause.title for clause in (*policy.clauses, *policy.retired)]
    assert [title for title, times in Counter(titles).items() if times > 1] == []


def test_no_text_and_no_reason_occurs_twice() -> None:
    texts = [text for id_ in CATALOG.clause_ids for text in words_of(CATALOG.clause(id_))[1:]]
    assert [text for text, times in Counter(texts).items() if times > 1] == []


@each_policy
@pytest.mark.parametrize(
    ("form", "characters"), [(Form.WHOLE, 7_000), (Form.COMPACT, 6_000), (Form.OUTLINE, 1_200)]
)
def test_a_policy_fits_into_a_prompt(policy: Policy, form: Form, characters: int) -> None:
    assert len(written(policy, form)) < characters


@pytest.mark.parametrize(("policy_id", "words"), GAPS)
def test_hazards_without_a_category_are_prohibited_somewhere(policy_id: str, words: str) -> None:
    policy = CATALOG.policy(policy_id)
    assert policy
    assert any(words in f"{clause.title} {clause.text}".lower() for clause in policy.prohibited)


@each_entry
def test_every_entry_of_every_taxonomy_is_covered(taxonomy: Taxonomy, code: str) -> None:
    assert covered(CATALOG, taxonomy, code)


def test_llama_guards_hazards_follow_from_ailuminates_but_for_one() -> None:
    ailuminate, llama_guard = TAXONOMIES["ailuminate"], TAXONOMIES["llama_guard"]
    assert LLAMA_GUARD_OF.keys() == ailuminate.entries.keys()
    assert llama_guard.entries.keys() - set(LLAMA_GUARD_OF.values()) == {"S14"}


def test_no_code_belongs_to_two_taxonomies_that_a_clause_is_mapped_to() -> None:
    assert not TAXONOMIES["ailuminate"].entries.keys() & TAXONOMIES["llama_guard"].entries.keys()


def test_the_documents_are_what_was_published() -> None:
    register = read_register(PACKAGED)
    assert register, "publish the documents: python -m policies publish"
    assert faults(CATALOG, register) == []
    assert unpublished(CATALOG, register) == []


def words_of(clause: Clause | None) -> list[str]:
    assert clause
    reason = [clause.reason] if isinstance(clause, BoundaryClause) else []
    return [clause.title, clause.text, *reason]
