"""The tables of a recipe: who is asked and where, what each stage is to do, how an adapter is trained.

Every table is frozen and strict. What of it decides rows, and what is only pace, place or patience, is
said here once: `effective` leaves the latter out, and digests are taken over what it gives.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from align.table import Share, Table
from policies.formats import FORMATS

AdapterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


def _check_format(name: str) -> None:
    if name not in FORMATS:
        raise ValueError(f"reasoning_format {name!r} is unknown: one of {', '.join(FORMATS)}")


class SourceTable(Table):
    """What every source's table has; each source in `align/sources` adds keys of its own."""

    without_effect_on_rows = frozenset({"path"})

    split: str = Field(min_length=1)
    count: PositiveInt | None = None
    """Take at most so many, in the source's own order; all where it is left out."""
    path: Path | None = Field(None, strict=False)
    """Directory with the published files, relative to the recipe's file; otherwise they are downloaded."""
    accept_licence: str | None = None
    """The licence's name, to be repeated for sets that are gated or not free for every use."""


class Endpoint(Table):
    """Where models are and how hard they may be asked. Nothing of it decides rows."""

    base_url: str | None = Field(None, pattern=r"^https?://")
    """Up to and including the version, such as http://127.0.0.1:8000/v1."""
    oracle: bool = False
    """The lab's scripted teacher, started for the run, in place of a `base_url`."""
    api_key_env: str | None = None
    """NAME of the environment variable with the key; never the key."""
    concurrency: PositiveInt
    """Requests in flight at most; fewer for a while after the server says that it is too much."""
    requests_per_minute: PositiveInt | None = None
    tokens_per_minute: PositiveInt | None = None
    """Prompt and completion together."""
    timeout_s: PositiveFloat
    """For one attempt, from connecting to the last byte."""
    retries: int = Field(ge=0)
    """Further attempts after a transient error (408, 425, 429, 5xx, timeout, broken reply)."""

    @model_validator(mode="after")
    def _one_place(self) -> "Endpoint":
        if self.oracle == (self.base_url is not None):
            raise ValueError("give either base_url or oracle = true")
        return self


class Role(Table):
    """Who is asked in a role, and how."""

    without_effect_on_rows = frozenset({"endpoint", "image_tokens"})

    endpoint: str
    """A name of `[endpoints.NAME]`."""
    model: str = Field(min_length=1)
    temperature: float = Field(ge=0)
    max_tokens: PositiveInt
    sees: bool = False
    """Whether the model takes pictures; one that does not gets the describer's description."""
    structured: Literal["json_schema", "json_object", "none"] = "none"
    """What the endpoint can be held to where JSON is asked for; replies are read tolerantly in any case."""
    own_thinking: Literal["separate", "inline"] = "separate"
    """`inline`: the server leaves the model's own thoughts in the content, ended by `</think>`."""
    extra_body: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further fields of the request, such as `top_p`."""
    image_tokens: PositiveInt = 1300
    """What one picture is estimated to take of the prompt; the server's own count decides."""


class Miner(Role):
    """A model whose failures become rejected replies."""

    reasoning_format: str | None = None
    """Its own, where it is not the student's: its reply is rewritten in the student's."""

    @model_validator(mode="after")
    def _known_format(self) -> "Miner":
        if self.reasoning_format is not None:
            _check_format(self.reasoning_format)
        return self


class Roles(Table):
    """One model for each part in the pipeline; one model may play several."""

    describer: Role | None = None
    """Left out where the teacher sees: then no description is made."""
    categoriser: Role | None = None
    """Left out where every source states its categories (`categorise.trust_source`)."""
    teacher: Role
    scorer: Role
    miners: tuple[Miner, ...] = Field((), strict=False)
    """Several, asked as applications would ask them."""
    adversary: Role | None = None
    """Back-derives the reasoning of rejected replies."""

    def named(self) -> dict[str, Role]:
        """Every role that there is; miners by their model's name, as `miner:NAME`."""
        single = {
            "describer": self.describer,
            "categoriser": self.categoriser,
            "teacher": self.teacher,
            "scorer": self.scorer,
            "adversary": self.adversary,
        }
        miners = {f"miner:{role.model}": role for role in self.miners}
        return {name: role for name, role in single.items() if role} | miners


class Price(Table):
    """What a model's tokens cost, in the budget's currency."""

    input: float = Field(ge=0)
    """Per million prompt tokens."""
    output: float = Field(ge=0)
    """Per million completion tokens."""


class Budget(Table):
    """Where a run stops spending, over all attempts at it together."""

    money: PositiveFloat | None = None
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    tokens: PositiveInt | None = None
    """Prompt and completion together."""


class Expect(Table):
    """What `--dry-run` assumes where nothing was measured yet; decides nothing."""

    passes_gates: Share = 0.7
    full_in_first_round: Share = 0.5
    """Of the trajectories that are scored."""
    full_in_all_rounds: Share = 0.4
    mined_unsafe: Share = 0.7
    """Share of harmful queries for which some miner does something unsafe."""
    completion_share: Share = 0.5
    """How much of `max_tokens` a reply takes."""


class Calling(Table):
    """A stage that asks models."""

    without_effect_on_rows = frozenset({"max_failed_share"})

    max_failed_share: Share
    """The stage gives up when more than this share of its rows gets no usable reply."""


class Describe(Calling):
    """Image to description d, for models that see nothing."""


class Categorise(Calling):
    """Which policy c_k decides a query, if any."""

    trust_source: bool
    """Take the category where the source states one, and ask only for the others."""
    unreadable_retries: int = Field(ge=0, le=9)
    """How often a reply that names no category is asked for anew."""


class Trajectories(Calling):
    """The teacher's k candidates for every query."""

    candidates: PositiveInt
    reasoning_format: str
    """The student's; `policies.formats` has the names."""
    policy_tokens: PositiveInt = 16_000
    """What the policies may take of the teacher's context; beyond that they come in a shorter form."""

    @model_validator(mode="after")
    def _known_format(self) -> "Trajectories":
        _check_format(self.reasoning_format)
        return self


class Gates(Table):
    """What a trajectory must be to be worth a judge's time."""

    without_effect_on_rows = frozenset({"max_dropped_share"})

    min_chars: PositiveInt = 1
    max_chars: PositiveInt
    """Of the completion."""
    max_completion_tokens: PositiveInt
    """As the teacher's server counted; not checked where it did not say."""
    require_visual_step: bool
    """At least one step must be tagged [visual] or [visual+textual]."""
    require_citation_of_category: bool
    """A refusal or safe completion must cite a clause of the row's category."""
    language: str = Field(default="en", pattern=r"^([a-z]{2}|any)$")
    """ISO 639-1: a reply in another language is dropped; `any` lets all pass."""
    max_dropped_share: Share


class Score(Calling):
    """Five dimensions, several independent rounds, kept only where all marks are full."""

    rounds: int = Field(ge=1, le=99)
    unreadable_retries: int = Field(ge=0, le=9)
    """How often a reply that holds no scores is asked for anew."""


class Select(Table):
    """From D_HQ to D_SFT."""

    count: PositiveInt
    benign_share: Share
    """Share of rows whose verdict is `comply`, as far as there are enough of either kind."""
    general_share: Share | None = None
    """Share of the benign rows that are near no policy, such as questions about what a picture shows: they
    keep what the base can do. Without it these are balanced as one category among the others."""
    min_count: PositiveInt = 1
    """The stage gives up where fewer are left."""


class Mine(Calling):
    """The miners' replies, scored like the teacher's."""

    count: PositiveInt
    """Rows of D_HQ that are mined, balanced like the selection."""
    benign_share: Share
    general_share: Share | None = None
    rounds: int = Field(default=1, ge=1, le=99)
    unreadable_retries: int = Field(ge=0, le=9)


class Derive(Calling):
    """Post-hoc reasoning: the conclusion is fixed, the adversary writes how one might arrive there."""


class Pairs(Table):
    """From chosen and rejected replies to SRPO's pairs."""

    count: PositiveInt
    max_length_ratio: float = Field(ge=1)
    """Of the longer reply of a pair to the shorter, in characters."""
    shares: dict[Literal["contrastive", "post_hoc", "over_refusal"], Share]
    """How many of the pairs are made in which way, as far as there are enough of each."""
    general_share: Share | None = None
    """Share of each kind's pairs whose request is near no policy, as far as there are any; as in `select`."""
    min_count: PositiveInt = 1

    @model_validator(mode="after")
    def _whole(self) -> "Pairs":
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise ValueError("shares must add up to 1")
        return self


MERGED = "-merged"
"""What a bundle's name is followed by where its merged weights lie."""


class Bundle(Table):
    """The adapters' names towards the gateway."""

    sft: AdapterName
    """Of stage 1."""
    srpo: AdapterName | None = None
    """Of stage 2, where the recipe has it."""
    merged: bool = False
    """Also write the whole models, adapters merged into the weights: for engines that load no adapter."""

    @model_validator(mode="after")
    def _apart(self) -> "Bundle":
        if self.sft == self.srpo:
            raise ValueError("sft and srpo must have different names")
        if f"{self.sft}{MERGED}" == self.srpo or f"{self.srpo}{MERGED}" == self.sft:
            raise ValueError(f"sft and srpo: NAME{MERGED} is where the merged weights of NAME go")
        return self


class Evaluate(Table):
    """What the adapter is measured on before it is published."""

    without_effect_on_rows = frozenset({"base_url", "concurrency"})

    split: str = Field(pattern=r"^[a-z]+$")
    count: PositiveInt
    max_tokens: PositiveInt
    concurrency: PositiveInt
    base_url: str | None = Field(None, pattern=r"^https?://")
    """A gateway that serves the bundle under its name; without it the stage starts one of its own."""
    compare_with: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The base model's name at the gateway, to be measured beside the adapter; none: the adapter alone."""
