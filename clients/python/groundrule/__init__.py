"""Python client for a Groundrule gateway: the openai SDK, plus typed access to the `safety` object."""

from groundrule.client import Groundrule, NotGroundruleError, Reply, TruncatedStreamError
from groundrule.events import AnswerText, Event, Finished, ReasoningText, StepRead, VerdictRead
from groundrule.safety import Action, Citation, Safety, Source, Step, Verdict

__all__ = [
    "Action",
    "AnswerText",
    "Citation",
    "Event",
    "Finished",
    "Groundrule",
    "NotGroundruleError",
    "ReasoningText",
    "Reply",
    "Safety",
    "Source",
    "Step",
    "StepRead",
    "TruncatedStreamError",
    "Verdict",
    "VerdictRead",
]
