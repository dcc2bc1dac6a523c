"""Every comparison of the lab in one table: what each is trained on that PST itself is not.

All have the run's own settings and number of optimizer steps, stage by stage, and differ from PST in what
their entry names. The first are baselines, other ways to write the chosen reply of a row from the row's
truth; the rest are ablations of PST. In the order in which they are trained where no other is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from align.baselines import refusal_template, rules, self_check, without
from align.mini.world import Situation
from align.stages.pairs import Kind
from policies.catalog import Catalog

SAFETY_ONLY = 0.1
"""Benign share of rows, our estimate of sets that are all about harm, such as MSR-Align's BeaverTails-V."""
SAFETY_MOSTLY = 0.2
"""Our estimate of Think-in-Safety's: VLGuard, a third of it benign, and SPA-VL, hardly any of it."""
ALL_KINDS: frozenset[Kind] = frozenset({"contrastive", "post_hoc", "over_refusal"})


@dataclass(frozen=True, slots=True)
class Variant:
    """One comparison; what it does not name is as in the run."""

    name: str
    """Of its bundle."""
    label: str
    """What readers of the results see."""
    group: Literal["baseline", "ablation"]
    about: str
    """One sentence."""
    count: int | None = None
    """Rows of stage 1."""
    benign_share: float | None = None
    """Of these rows."""
    reply: Callable[[Situation, Catalog], str] | None = None
    """Writes the chosen reply anew."""
    less: Callable[[str], str] | None = None
    """Takes something out of every reply, chosen and rejected."""
    kinds: frozenset[Kind] = frozenset()
    """The pairs of stage 2; none: stage 1 is all."""

    @property
    def own_rows(self) -> bool:
        """Whether it is trained on other rows than the run's, not only on the same rows in other words."""
        return self.count is not None or self.benign_share is not None


VARIANTS = (
    Variant(
        "refusal-template",
        "Refusal-template SFT",
        "baseline",
        "Harmful rows get one fixed refusal without a reason, 90 % of the rows are harmful; stage 1 only.",
        benign_share=SAFETY_ONLY,
        reply=refusal_template.reply,
    ),
    Variant(
        "self-check",
        "Self-check SFT (Think-in-Safety's manner)",
        "baseline",
        "Free reasoning that checks itself against general regulations, 80 % harmful rows; stage 1 only.",
        benign_share=SAFETY_MOSTLY,
        reply=self_check.reply,
    ),
    Variant(
        "rules",
        "Rule-heuristic SFT (MSR-Align's manner)",
        "baseline",
        "Visual grounding, then a policy by title and rule of thumb, 90 % harmful rows; stage 1 only.",
        benign_share=SAFETY_ONLY,
        reply=rules.reply,
    ),
    Variant(
        "no-over-refusal",
        "PST without over-refusal pairs",
        "ablation",
        "Stage 2 on contrastive and adversarial pairs only: no pair is about a harmless request's refusal.",
        kinds=frozenset({"contrastive", "post_hoc"}),
    ),
    Variant(
        "contrastive-only",
        "PST, contrastive pairs only",
        "ablation",
        "Stage 2 on pairs whose rejected reply is the worst of the miners', without over-refusal pairs.",
        kinds=frozenset({"contrastive"}),
    ),
    Variant(
        "adversarial-only",
        "PST, adversarial pairs only",
        "ablation",
        "Stage 2 on pairs whose rejected reasoning was written post hoc, without over-refusal pairs.",
        kinds=frozenset({"post_hoc"}),
    ),
    *(
        Variant(
            f"rows-{count}",
            f"PST-SFT, {count:,} rows",
            "ablation",
            f"Stage 1 on {count:,} rows, balanced alike, with the run's number of steps; stage 1 only.",
            count=count,
        )
        for count in (250, 500, 1000, 2000, 4000)
    ),
    Variant(
        "no-source-tags",
        "PST without source tags",
        "ablation",
        "Both stages, with [visual], [textual] and [visual+textual] taken out of every reply.",
        less=without.source_tags,
        kinds=ALL_KINDS,
    ),
    Variant(
        "no-citations",
        "PST without citations",
        "ablation",
        "Both stages, with every clause taken out of every reply; the verdict stays.",
        less=without.citations,
        kinds=ALL_KINDS,
    ),
    *(
        Variant(
            f"{name}-same-rows",
            f"{label}, PST's rows",
            "baseline",
            f"As {name}, on the very rows of PST-SFT: how the chosen reply is written is all that differs.",
            reply=reply,
        )
        for name, label, reply in (
            ("refusal-template", "Refusal-template SFT", refusal_template.reply),
            ("self-check", "Self-check SFT", self_check.reply),
            ("rules", "Rule-heuristic SFT", rules.reply),
        )
    ),
)
