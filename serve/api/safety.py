"""The `safety` object that callers see, out of a trace."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from policies.catalog import Catalog
from policies.reply import Citation, Source, Step, Trace, Verdict
from serve.adapters.registry import Version
from serve.gate.values import Action, TraceShown

Json = dict[str, Any]
UNTAGGED = "untagged"
_WORDS = frozenset({"steps", "citations"})


class SafetyWriter:
    """Knows what is the same in every reply of one version."""

    def __init__(self, catalog: Catalog, version: Version) -> None:
        self._catalog = catalog
        self._adapter = version.adapter

    def whole(self, trace: Trace, action: Action = "none") -> Json:
        """The object of a finished reply."""
        cited = _distinct(trace.citations)
        return {
            "verdict": trace.verdict,
            "action": action,
            "policies": list(dict.fromkeys(_policy(c.clause) for c in cited if c.valid)),
            "citations": [self._citation(citation) for citation in cited],
            "steps": [step_json(step) for step in trace.steps],
            "sources": _sources(trace.steps),
            "flags": list(trace.flags),
            "policy_digest": self._catalog.digest,
            "adapter": self._adapter,
        }

    def shown(self, trace: Trace, action: Action, shown: TraceShown) -> Json:
        """As `whole`, without the reasoning's words where the caller wants none of them."""
        told = self.whole(trace, action)
        return {k: v for k, v in told.items() if k not in _WORDS} if shown == "none" else told

    def _citation(self, citation: Citation) -> Json:
        clause = self._catalog.clause(citation.clause)
        return {
            "clause": citation.clause,
            "title": clause.title if clause and citation.valid else None,
            "valid": citation.valid,
        }


def step_json(step: Step) -> Json:
    """One step, alike in a stream and in the whole object."""
    return {
        "text": step.text,
        "source": step.source,
        "citations": [citation.clause for citation in step.citations],
    }


def verdict_json(verdict: Verdict | None) -> Json:
    """What a stream says before the first token of its answer."""
    return {"verdict": verdict}


def _distinct(citations: Iterable[Citation]) -> list[Citation]:
    return list(dict.fromkeys(citations))


def _policy(clause: str) -> str:
    return clause.partition(".")[0]


def _sources(steps: Iterable[Step]) -> Json:
    counts = Counter(step.source or UNTAGGED for step in steps)
    return {name: counts[name] for name in (*Source, UNTAGGED)}
