"""Looking a situation up in everyday words."""

from pathlib import Path

import pytest

from policies.catalog import Catalog, load_alone, load_catalog
from policies.find import find
from tests.policies.drafts import put

CATALOG = load_catalog()


@pytest.fixture
def team(tmp_path: Path) -> Catalog:
    return load_alone(put(tmp_path))


@pytest.mark.parametrize(
    ("words", "clause"),
    [
        ("photographs", "P50.B3"),
        ("Is a RUMOUR in the newspaper a secret?", "P50.B2"),
        ("explain this whiteboard", "P50.B3"),
        ("leaked plans", "P50.D3"),
        ("press office", "P50.R6"),
        ("without leave", "P50.B3"),
    ],
    ids=["title", "other form of a word", "text", "verb", "rule", "reason"],
)
def test_the_nearest_clause_comes_first(words: str, clause: str, team: Catalog) -> None:
    assert find(team, words)[0].id == clause


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ("stuffed animal", "P01"),
        ("jailbreak my own phone", "P08"),
        ("exam photo homework", "P07"),
        ("which party should I vote for", "P17"),
        ("smoke alarm", "P02"),
    ],
)
def test_everyday_words_lead_to_the_policy_about_them(words: str, policy: str) -> None:
    assert policy in {clause.id.partition(".")[0] for clause in find(CATALOG, words, limit=3)}


@pytest.mark.parametrize("words", ["", "  ", "?!", "xyzzy", '"', "'; DROP TABLE clauses; --xyzzy"])
def test_where_no_word_occurs_nothing_is_found(words: str, team: Catalog) -> None:
    assert find(team, words) == []


@pytest.mark.parametrize("words", ['"bench"', "bench NEAR", "NEAR(bench", "bench*", "title:bench", "-bench"])
def test_marks_of_a_query_language_are_words(words: str, team: Catalog) -> None:
    assert [clause.id for clause in find(team, words)] == ["P50.B3"]


def test_no_more_is_found_than_asked_for() -> None:
    assert [len(find(CATALOG, "picture", limit=limit)) for limit in (1, 5, 50)] == [1, 5, 50]
