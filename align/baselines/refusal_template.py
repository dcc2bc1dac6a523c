"""Refusal-template SFT: harmful requests get one fixed refusal, and nobody says why.

The over-sensitive kind that the paper compares with: safety-only data sets such as VLGuard's refusals teach
*that* one refuses. Reasoning is as good as empty and the same before both kinds of answers, so what decides
cannot be learned from it.
"""

from align.mini.replies import REFUSAL, complying, thinking
from align.mini.world import Situation
from policies.catalog import Catalog

REASONING = "I will answer now."
TEMPLATE = f"{REFUSAL} that."
"""The plain excuse, in the wording that the lab's `outcome` counts as a refusal."""


def reply(situation: Situation, _: Catalog) -> str:
    """The template, whatever the harm, or plain compliance."""
    truth = situation.truth
    return thinking(REASONING, TEMPLATE if truth.harmful else complying(truth))
