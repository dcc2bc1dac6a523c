"""How replies are handled, and who looks at them."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from serve.gate.values import Severity, Stage
from serve.options.table import AbsolutePath, Table

ModeName = Literal["observe", "enforce", "stricter"]
CheckName = Literal[
    "contradicted_answer", "missing_trace", "verdict_flip", "invented_clause", "unseen_picture"
]
GuardFormatName = Literal[
    "llama_guard",
    "gpt_oss_safeguard",
    "granite_guardian",
    "llava_guard",
    "shield_gemma",
    "openai_moderation",
    "litellm_generic",
]


class PatternGuard(Table):
    """Forbidden expressions (RE2), looked for in this process."""

    kind: Literal["patterns"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    stages: tuple[Stage, ...] = (Stage.INPUT, Stage.REASONING, Stage.ANSWER)
    patterns: tuple[str, ...] = Field(min_length=1)
    """Each of bounded width: `a{1,64}` and not `a+`."""
    normalise: bool = True
    """Also look through other letters, widths and cases, and past invisible characters."""


class EndpointGuard(Table):
    """A guard model or service behind HTTP."""

    kind: Literal["endpoint"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    stages: tuple[Stage, ...] = (Stage.INPUT, Stage.ANSWER)
    format: GuardFormatName
    """What it is asked, and how its words are read."""
    url: str = Field(pattern=r"^https?://[^/?#@]+/?$")
    """Root of the server, without /v1."""
    model: str | None = None
    key_variable: str | None = None
    """Environment variable that holds its key."""
    policy: AbsolutePath | None = None
    """A text it judges by, for formats that take one; None: the policies served."""
    deadline_s: PositiveFloat = 2
    on_error: Literal["block", "pass"] = "block"
    """What holds where it fails, is late or cannot be understood."""
    window_chars: PositiveInt = 600
    """New characters it is shown at a time."""
    context_chars: PositiveInt = 4000
    """Old characters it is shown before them."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """For formats that give a probability."""


GuardSettings = Annotated[PatternGuard | EndpointGuard, Field(discriminator="kind")]


class GateSettings(Table):
    """Between the engine and the caller."""

    mode: ModeName = "enforce"
    require_trace: Literal["adapters", "always", "never"] = "adapters"
    """Whose answers are held back where there is no trace with a verdict."""
    window_chars: PositiveInt = 160
    """New characters of an answer that are scanned at a time."""
    most_step_chars: PositiveInt = 2000
    """A step that is longer is released before its end."""
    most_held_chars: PositiveInt = 65536
    """Unscanned characters of a choice beyond which the engine is not read."""
    checks: dict[CheckName, Severity] = Field(default_factory=dict)
    """What comes of a built-in check's objection, where it is not the default."""
    policy_tokens: PositiveInt = 1500
    """Room for policies in context."""


class GuardrailSettings(Table):
    """Our own aligned model as somebody else's guard."""

    alias: str | None = None
    """Who judges; None: the default alias."""
    judge_responses: bool = False
    """Also ask it about a reply of another model, beside the guards."""
    deadline_s: PositiveFloat = 30
