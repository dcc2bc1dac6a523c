"""The strict trace mode: the engine may write nothing but a well-formed trace that cites given clauses."""

from typing import Any

from policies.catalog import Catalog, CatalogError
from policies.grammar import trace_grammar
from policies.reply import Clauses
from serve.adapters.registry import Version
from serve.api.schemas import Json, SafetyOptions
from serve.errors import InvalidRequest

_OTHER_FORMS = (
    "structured_outputs",
    "tools",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
)
"""Parameters that give a reply a form of their own."""
_BREAKING = ("use_beam_search", "ignore_eos", "min_tokens")
"""With these the engine drops the grammar, or goes on where it has ended."""


def strict_fields(body: Json, options: SafetyOptions | None, version: Version, catalog: Catalog) -> Json:
    """What is added to the engine's request; raises InvalidRequest where it cannot be had."""
    if options is None or not options.strict:
        return {}
    _refuse_other_forms(body)
    grammar = trace_grammar(version.format, _clauses(options, version, catalog))
    return {"structured_outputs": {"grammar": grammar}}


def _refuse_other_forms(body: Json) -> None:
    taken = [name for name in _OTHER_FORMS if body.get(name)]
    response_format: Any = body.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") not in (None, "text"):
        taken.append("response_format")
    if broken := [name for name in _BREAKING if body.get(name)]:
        raise InvalidRequest(
            f"safety.strict does not go together with {broken[0]}: leave one of them out", param=broken[0]
        )
    if taken:
        raise InvalidRequest(
            f"safety.strict gives the reply its form, and so does {taken[0]}: leave one of them out",
            param=taken[0],
        )


def _clauses(options: SafetyOptions, version: Version, catalog: Catalog) -> Clauses:
    if options.policies is None:
        return version.clauses
    try:
        chosen = catalog.citable_of(options.policies)
    except CatalogError as error:
        raise InvalidRequest(f"safety.policies: {error}", param="safety.policies") from error
    return {id_: demanded for id_, demanded in chosen.items() if id_ in version.clauses}
