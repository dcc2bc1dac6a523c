"""The `safety` object: what a caller may ask of a trace, and what a reply tells of it."""

from collections.abc import Mapping
from typing import Final, get_args

from policies.reply import Flag, Source, Verdict
from serve.api.safety import UNTAGGED
from serve.api.schemas import SafetyOptions
from serve.api.shapes.schema import BOOLEAN, COUNT, STRING, Json, closed, listed, only, or_null, ref, told
from serve.gate.values import Action

_VERDICT = told(only(*Verdict, None), "What the model decided; null where it did not say.")
_CLAUSE = told(STRING, "As the model cited it.", "P19.D2")

SCHEMAS: Final[Mapping[str, Json]] = {
    "SafetyOptions": SafetyOptions.model_json_schema(),
    "Verdict": _VERDICT,
    "Step": closed(
        {
            "text": STRING,
            "source": told(only(*Source, None), "Where the step says its evidence is."),
            "citations": listed(_CLAUSE),
        },
        description="One step of the reasoning.",
    ),
    "Citation": closed(
        {
            "clause": _CLAUSE,
            "title": told(or_null(STRING), "The clause's; null where it is not valid."),
            "valid": told(BOOLEAN, "The clause exists, and means what the model learned."),
        }
    ),
    "Safety": closed(
        {
            "verdict": ref("Verdict"),
            "action": told(only(*get_args(Action)), "What the gateway did: never one word for both."),
            "policies": listed({"type": "string", "pattern": "^P[0-9]{2}$"}),
            "sources": closed(dict.fromkeys([*Source, UNTAGGED], COUNT), description="Steps by source."),
            "flags": told(listed(only(*Flag)), "How the reply departs from the grammar."),
            "policy_digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "adapter": told(
                or_null(STRING), "Which weights answered; null for a base model.", "pst@0123456789ab"
            ),
        },
        {
            "citations": told(listed(ref("Citation")), "Not with `safety.trace` none."),
            "steps": told(listed(ref("Step")), "Not with `safety.trace` none."),
        },
        description="What was delivered of the trace, and what the gateway did.",
    ),
}
