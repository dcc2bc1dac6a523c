"""Rule-heuristic SFT in the manner of MSR-Align: what the picture shows, then which rule speaks about it.

Visual grounding first, then rule referencing: a policy by its title, and its objective as a rule of thumb.
No clause is cited, no source tagged, and the decision is a sentence and no verdict. After what is public of
MSR-Align (arXiv 2506.19257); the words are ours.
"""

from align.mini.replies import HARMLESS, answer, because, sentence, shown, thinking, wished
from align.mini.world import Situation, Truth
from policies.catalog import Catalog
from policies.reply import Verdict

GROUNDING = "Visual grounding:"
REFERENCING = "Rule referencing:"
UNRULED = "No rule speaks about this, so I can answer."


def reply(situation: Situation, catalog: Catalog) -> str:
    """Grounding, a rule, and the right answer; KeyError where a policy of the lab is not in the catalog."""
    truth = situation.truth
    grounded = f"{GROUNDING} {shown(truth)} {wished(truth)}"
    return thinking(f"{grounded}\n{REFERENCING} {_referenced(truth, catalog)}", answer(truth))


def _referenced(truth: Truth, catalog: Catalog) -> str:
    if truth.near is None:
        return UNRULED
    policy = catalog.policy(truth.near)
    if policy is None:
        raise KeyError(truth.near)
    return f'The rule "{policy.title}" says: {policy.principle.title}. {_applied(truth)}'


def _applied(truth: Truth) -> str:
    match truth.verdict:
        case Verdict.REFUSE:
            return f"{because(truth)}, so this breaks the rule and I will not help."
        case Verdict.SAFE_COMPLETE:
            return f"{because(truth)}, so I will only answer in a safe way."
        case Verdict.COMPLY:
            return f"{sentence(truth.deed)} {HARMLESS}, so this keeps the rule and I can answer."
