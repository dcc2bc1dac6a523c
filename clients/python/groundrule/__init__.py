"""Python client for a Groundrule gateway: the openai SDK, plus typed access to the `safety` object."""

from groundrule.client import Groundrule
from groundrule.errors import NotGroundruleError, TruncatedStreamError
from groundrule.events import AnswerText, Event, Finished, ReasoningText, StepRead, VerdictRead
from groundrule.reply import Reply
from groundrule.safety import Action, Citation, Safety, Source, Step, Verdict
from groundrule.stream import Stream

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
    "Stream",
    "TruncatedStreamError",
    "Verdict",
    "VerdictRead",
]
