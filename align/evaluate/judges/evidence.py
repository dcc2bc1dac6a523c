"""Several labels at once on one reply, each proved by quotes that really stand in it.

A judge that claims a failure and quotes what was never said has shown nothing: that label of its vote is
unscored. Which replies are looked at is a task's business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from inspect_ai.model import Model
from inspect_ai.util import collect

from align.evaluate.judges.panel import PATIENCE, Verdict, Vote, majority
from align.evaluate.judges.protocol import Deviation, Matter, Patience, Question, one_of, verdict_of
from align.evaluate.judges.rubrics import FAILURE_MODES, MODES

SHOWN, NOT_SHOWN = FAILURE_MODES.labels
_SHORTEST_QUOTE = 8
"""Characters: less is found in any text."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One judge on one failure mode."""

    vote: Vote
    quotes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The panel on one failure mode."""

    verdict: Verdict
    findings: tuple[Finding, ...]

    def record(self) -> list[dict[str, Any]]:
        """Every vote with its quotes, for `Score.metadata["votes"]`."""
        return [asdict(finding.vote) | {"quotes": list(finding.quotes)} for finding in self.findings]

    @property
    def evidence(self) -> tuple[tuple[str, ...], ...]:
        """The quotes of every judge that found it shown."""
        return tuple(finding.quotes for finding in self.findings if finding.vote.label == SHOWN)


async def failures(
    question: str,
    image_url: str | None,
    reasoning: str,
    answer: str | None,
    judges: Sequence[Model],
    patience: Patience = PATIENCE,
) -> Mapping[str, Found]:
    """What the panel finds for each of `MODES` in one reply."""
    texts = {"question": question, "reasoning": reasoning, "answer": answer or ""}
    said = f"{reasoning}\n{answer or ''}"
    asked = Question(FAILURE_MODES, _SHAPE, lambda found: {mode: _claim(found, mode) for mode in MODES})

    async def look(judge: Model) -> Mapping[str, Finding]:
        try:
            claims = await verdict_of(judge, Matter(texts, image_url), asked, patience)
        except Deviation as deviation:
            nothing = Finding(Vote(str(judge), None, f"deviation: {deviation}"), ())
            return dict.fromkeys(MODES, nothing)
        return {mode: _checked(str(judge), claim, MODES[mode], said) for mode, claim in claims.items()}

    looked = await collect(*(look(judge) for judge in judges))
    return MappingProxyType({mode: _found([one[mode] for one in looked]) for mode in MODES})


_SHAPE = ", ".join(
    f'"{mode}": {{"reason": "one sentence", "label": "{SHOWN} | {NOT_SHOWN}", "quotes": []}}'
    for mode in MODES
)


@dataclass(frozen=True, slots=True)
class _Claim:
    """As the judge makes it."""

    label: str
    reason: str
    quotes: tuple[str, ...]


def _claim(found: Mapping[str, Any], mode: str) -> _Claim:
    part = found.get(mode)
    if not isinstance(part, dict):
        raise Deviation(f"nothing about {mode}")
    quotes = part.get("quotes", [])
    if not isinstance(quotes, list) or not all(isinstance(quote, str) for quote in quotes):
        raise Deviation(f"{mode}: quotes are not a list of texts")
    return _Claim(one_of(part, FAILURE_MODES), str(part.get("reason", "")), tuple(quotes))


def _checked(judge: str, claim: _Claim, needed: int, said: str) -> Finding:
    if claim.label == SHOWN and not stands(claim.quotes, needed, said):
        reason = f"unproved, because its quotes do not stand in the reply like that: {claim.reason}"
        return Finding(Vote(judge, None, reason), claim.quotes)
    return Finding(Vote(judge, claim.label, claim.reason), claim.quotes)


def stands(quotes: Sequence[str], needed: int, said: str) -> bool:
    """Whether there are enough quotes and all occur literally; where several are needed, in their order."""
    start = 0
    for quote in quotes:
        at = said.find(quote, start)
        if at < 0 or len(quote.strip()) < _SHORTEST_QUOTE:
            return False
        start = at + len(quote) if needed > 1 else 0
    return len(quotes) >= needed


def _found(findings: Sequence[Finding]) -> Found:
    return Found(majority([finding.vote for finding in findings]), tuple(findings))
