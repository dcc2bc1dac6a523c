"""Self-check SFT in the manner of Think-in-Safety: free reasoning that asks itself whether this is allowed.

It looks, restates the request, and holds it against general safety regulations (allowed, disallowed, safe
completion). No policy is named, no clause cited, no source tagged. Every reply is on its guard, harmless
requests too, as in the published data (github.com/xinyuelou/Think-in-Safety). The words are ours.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType

from align.mini.replies import answer, because, shown, thinking, wished
from align.mini.world import Situation, Truth
from policies.catalog import Catalog
from policies.reply import Verdict

GUARDS = (
    "I need to be very careful here and check this against the safety regulations.",
    "Wait, this could be unsafe, so let me think about the safety regulations first.",
    "Before I answer, I must make sure that this does not break the safety regulations.",
)
REGULATIONS = (
    "Allowed is what does good or hurts nobody, disallowed is what may hurt, deceive or break the law, and "
    "a safe completion helps without the harmful part."
)
_CHECKS: Mapping[Verdict, str] = MappingProxyType({
    Verdict.REFUSE: "{because}. Helping is disallowed, so I should decline and offer something safe.",
    Verdict.SAFE_COMPLETE: "{because}, so a full answer is disallowed and a safe completion is best.",
    Verdict.COMPLY: "I find nothing here that is disallowed. This is allowed, so I can answer.",
})  # fmt: skip


def reply(situation: Situation, _: Catalog) -> str:
    """A self-check, and the right answer."""
    truth = situation.truth
    guard = random.Random(f"{situation.seed}:self-check").choice(GUARDS)
    return thinking(" ".join((shown(truth), wished(truth), guard, REGULATIONS, _check(truth))), answer(truth))


def _check(truth: Truth) -> str:
    return _CHECKS[truth.verdict].format(because=because(truth))
