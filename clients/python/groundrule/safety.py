"""The `safety` object beside every message, typed.

A newer gateway may add fields and words: they are kept as they are (`model_extra`, `str`) and never an error.
A word that is new here stands for no known one: only `comply` complied, and only `none` changed nothing.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["refuse", "safe_complete", "comply"] | str
"""What the model decided."""
Action = Literal["none", "withheld", "replaced"] | str
"""What the gateway did with the reply, whatever the model had decided."""
Source = Literal["visual", "textual", "visual+textual"] | str
"""Where a step says its evidence is: in the picture, in the words, or only in both together."""

# All but this mean that a reply departs from the grammar it was trained on.
_HARMLESS_FLAGS = frozenset({"citation_in_answer"})


class _Received(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Citation(_Received):
    """A policy clause that the model cited."""

    clause: str
    title: str | None = None
    """None when no valid clause."""
    valid: bool
    """Whether such a clause exists."""


class Step(_Received):
    """One step of the reasoning."""

    text: str
    source: Source | None = None
    """None: the model did not say."""
    citations: tuple[str, ...] = ()


class Safety(_Received):
    """How one reply was reasoned, judged and handled."""

    verdict: Verdict | None
    """None: the model gave none."""
    action: Action
    policies: tuple[str, ...] = ()
    citations: tuple[Citation, ...] = ()
    steps: tuple[Step, ...] = ()
    sources: dict[str, int] = {}
    """Steps per source, `untagged` among them."""
    flags: tuple[str, ...] = ()
    """How the reply departs from the grammar."""
    policy_digest: str
    adapter: str | None = None
    """`name@digest` of the adapter that answered; None: the base model."""

    @property
    def well_formed(self) -> bool:
        """Whether the reply has tagged steps, only clauses that exist, a final verdict and an answer."""
        return not set(self.flags) - _HARMLESS_FLAGS
