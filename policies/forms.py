"""A policy as text for a prompt: whole, or shorter where a model's context is small.

A form leaves out whole parts and never cuts one; which parts, its name says. What does not even fit as
an outline is an error, because a model must not reason over half a policy.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.document import BoundaryClause, Clause, Policy


class Form(StrEnum):
    """From the fullest to the shortest."""

    WHOLE = "whole"
    COMPACT = "compact"
    """Without reasons and headings: one line per clause."""
    OUTLINE = "outline"
    """Ids, titles and verdicts."""


class PolicyTooLong(ValueError):
    """The policies do not fit into the budget in any form."""


def estimate_tokens(text: str) -> int:
    """At least what a BPE tokenizer makes of a policy in English; for other languages give the model's own.

    SmolLM2's makes one token of 4.1 bytes of prose and of 2.9 bytes of an outline, with its many ids.
    """
    return math.ceil(len(text.encode()) / 2.5)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens of a model's context the policies may take."""

    tokens: int
    count: Callable[[str], int] = estimate_tokens
    """The model's own tokenizer, where it is at hand."""


def fitted(policies: Sequence[Policy], budget: Budget | None = None) -> str:
    """All the policies in the fullest form that fits; whole without a budget. Raises PolicyTooLong."""
    if budget is None:
        return _joined(policies, Form.WHOLE)
    for form in Form:
        text = _joined(policies, form)
        needed = budget.count(text)
        if needed <= budget.tokens:
            return text
    raise PolicyTooLong(
        f"{len(policies)} policies take {needed} tokens as outlines, and the budget is {budget.tokens}: "
        "give a larger budget or fewer policies"
    )


def _joined(policies: Sequence[Policy], form: Form) -> str:
    return "\n\n".join(written(policy, form) for policy in policies)


def written(policy: Policy, form: Form) -> str:
    """One policy in one form."""
    if form is Form.WHOLE:
        return _whole(policy)
    lines = [_line(clause, form) for clause in policy.clauses]
    return "\n".join((f"{policy.id} {policy.title}", *lines))


def _whole(policy: Policy) -> str:
    parts = {
        "What to protect": (policy.principle,),
        "Prohibited": policy.prohibited,
        "Boundary cases, each with its verdict": policy.boundary,
        "Rules, in the order in which they are applied": policy.rules,
    }
    sections = [
        "\n".join((f"{heading}:", *(_line(clause, Form.WHOLE) for clause in clauses)))
        for heading, clauses in parts.items()
    ]
    return "\n\n".join((f"{policy.id} {policy.title}", *sections))


def _line(clause: Clause, form: Form) -> str:
    boundary = clause if isinstance(clause, BoundaryClause) else None
    title = f"{clause.id} {clause.title}" + (f" ({boundary.verdict})" if boundary else "")
    if form is Form.OUTLINE:
        return title
    reason = f" {boundary.reason}" if boundary and form is Form.WHOLE else ""
    return f"{title}: {clause.text}{reason}"
