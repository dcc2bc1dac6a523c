"""How one request is handled: the strictest of what gateway, key and request say."""

from collections.abc import Mapping
from types import MappingProxyType

from serve.adapters.registry import Version
from serve.door.caller import Caller
from serve.errors import InvalidRequest
from serve.gate.values import Handling, Mode, Severity, TraceShown
from serve.options.gate import GateSettings

DEFAULT_SEVERITIES: Mapping[str, Severity] = MappingProxyType({
    "contradicted_answer": Severity.BLOCK,
    "missing_trace": Severity.BLOCK,
    "verdict_flip": Severity.BLOCK,
    "invented_clause": Severity.FLAG,
    "unseen_picture": Severity.FLAG,
})  # fmt: skip
"""What comes of a built-in check's objection, unless the settings say otherwise."""


def handling_of(
    gate: GateSettings,
    caller: Caller,
    version: Version,
    *,
    asked_mode: str | None = None,
    shown: TraceShown = "full",
    has_picture: bool = False,
) -> Handling:
    """Raises InvalidRequest where the request asks for less than its key demands.

    The key's mode stands in for the gateway's, laxer or stricter: that is the operator's word.
    """
    demanded = caller.mode if caller.mode is not None else Mode.of(gate.mode)
    mode = demanded if asked_mode is None else Mode.of(asked_mode)
    if mode < demanded:
        raise InvalidRequest(
            f"safety.mode: this key is handled in mode {demanded.word}, and a request may only ask for more",
            param="safety.mode",
        )
    return Handling(
        mode=mode,
        shown=shown,
        requires_trace=gate.require_trace == "always"
        or (gate.require_trace == "adapters" and version.is_aligned),
        has_picture=has_picture,
        severities=_severities(gate, mode),
    )


def _severities(gate: GateSettings, mode: Mode) -> Mapping[str, Severity]:
    if mode is Mode.STRICTER:
        return MappingProxyType(dict.fromkeys(DEFAULT_SEVERITIES, Severity.BLOCK))
    return MappingProxyType({**DEFAULT_SEVERITIES, **gate.checks})
