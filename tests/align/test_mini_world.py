"""Claims about the lab's world: balanced, reproducible, and true to the policies it cites."""

import hashlib
from collections import Counter
from functools import cache

import pytest

from align.mini.replies import Outcome, oracle_trace, outcome
from align.mini.unaligned import unaligned_reply
from align.mini.world import Situation, draw_situation, situations
from align.sources import mini
from align.sources.mini import MiniTable, png
from policies.catalog import load_catalog
from policies.formats import THINK
from policies.render import render
from policies.reply import Source, Verdict
from policies.trace import read

CATALOG = load_catalog()
SEEDS = [f"claims:{index}" for index in range(2000)]


@cache
def drawn() -> tuple[Situation, ...]:
    return tuple(draw_situation(seed) for seed in SEEDS)


@cache
def harmful() -> tuple[Situation, ...]:
    return tuple(situation for situation in drawn() if situation.truth.harmful)


@cache
def benign() -> tuple[Situation, ...]:
    return tuple(situation for situation in drawn() if not situation.truth.harmful)


def test_every_policy_occurs_about_equally_often() -> None:
    found = Counter(situation.truth.policy for situation in harmful())
    assert set(found) == {policy.id for policy in CATALOG.policies}
    assert min(found.values()) > len(harmful()) / 20 / 2


def test_about_half_of_the_requests_are_harmful() -> None:
    assert 0.46 < len(harmful()) / len(drawn()) < 0.54


def test_risk_sits_in_the_picture_in_the_words_and_in_both_together() -> None:
    found = Counter(situation.truth.risk_source for situation in harmful())
    assert set(found) == set(Source)
    assert min(found.values()) >= 25


def test_all_three_verdicts_occur() -> None:
    assert {situation.truth.verdict for situation in drawn()} == set(Verdict)


def test_splits_share_no_picture() -> None:
    train, test, validation = (
        {hashlib.sha256(png(situation.scene)).digest() for situation in situations(split, 100)}
        for split in ("train", "test", "validation")
    )
    assert len(train | test | validation) == len(train) + len(test) + len(validation) == 300


def test_the_same_seed_gives_the_same_pixels_and_words() -> None:
    for seed in ("train:0", "train:5", "x"):
        first, second = draw_situation(seed), draw_situation(seed)
        assert first == second
        assert png(first.scene) == png(second.scene)


def test_every_oracle_trace_is_well_formed_and_says_the_true_verdict() -> None:
    for situation in drawn():
        trace = read(render(oracle_trace(situation), THINK), THINK, CATALOG.citable)
        assert trace.well_formed, trace
        assert trace.flags == ()
        assert trace.verdict is situation.truth.verdict
        assert trace.steps[0].source is Source.VISUAL


def test_every_oracle_trace_cites_clauses_of_the_policy_that_applies_and_no_others() -> None:
    for situation in drawn():
        near = situation.truth.policy or situation.truth.look_alike
        cited = [citation.clause for citation in oracle_trace(situation).citations]
        assert {clause.split(".")[0] for clause in cited} == ({near} if near else set())
        assert all(CATALOG.clause(clause) for clause in cited)
        assert situation.truth.clause is None or situation.truth.clause in cited


def test_a_benign_trace_never_cites_a_prohibition() -> None:
    cited = {citation.clause.split(".")[1][0] for s in benign() for citation in oracle_trace(s).citations}
    assert cited == {"B", "R"}


def test_words_that_are_harmful_only_with_some_pictures_also_occur_as_benign_ones() -> None:
    harmless = {situation.instruction for situation in benign()}
    risky = [situation for situation in harmful() if situation.truth.risk_source is Source.BOTH]
    assert risky
    assert {situation.instruction for situation in risky} <= harmless


def test_words_that_a_sign_makes_harmful_also_occur_as_benign_ones() -> None:
    shown = {s.instruction for s in harmful() if s.truth.risk_source is Source.VISUAL}
    assert shown <= {situation.instruction for situation in benign()}


def test_harmful_words_are_never_benign() -> None:
    told = {s.instruction for s in harmful() if s.truth.risk_source is Source.TEXTUAL}
    assert not told & {situation.instruction for situation in benign()}


@pytest.mark.parametrize("seed", SEEDS[:200])
def test_the_unaligned_reply_always_complies_and_the_oracles_as_it_should(seed: str) -> None:
    situation = draw_situation(seed)
    unaligned = read(unaligned_reply(situation), THINK, {})
    assert outcome(unaligned.answer) is Outcome.COMPLIED
    assert unaligned.verdict is None
    wanted = Outcome.REFUSED if situation.truth.harmful else Outcome.COMPLIED
    assert outcome(oracle_trace(situation).answer) is wanted


def test_queries_tell_nothing_of_the_truth_but_the_nearest_policy() -> None:
    for found in mini.read(MiniTable(name="mini", split="train", count=50)):
        situation = draw_situation(found.key)
        assert found.category == (situation.truth.policy or situation.truth.look_alike)
        assert found.benign is not situation.truth.harmful
        assert found.instruction == situation.instruction
        assert found.image == png(situation.scene)
        assert found.meta == {"seed": situation.seed}
