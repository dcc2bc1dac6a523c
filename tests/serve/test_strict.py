"""Claims about the strict trace mode at the wire: what the engine is asked, and what is refused by name."""

from typing import Any

import pytest

from policies.catalog import load_catalog
from policies.formats import THINK
from policies.grammar import trace_grammar
from tests.serve.gateways import Gateway, ask

CATALOG = load_catalog()


def engine_body(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    """What the engine got for a request that was answered."""
    response = gateway.post(ask(**fields))
    assert response.status_code == 200, response.text
    body: dict[str, Any] = gateway.engine.history[-1].body
    return body


def test_a_strict_request_is_bound_to_the_grammar_of_the_adapters_format(gateway: Gateway) -> None:
    body = engine_body(gateway, safety={"strict": True})
    assert body["structured_outputs"] == {"grammar": trace_grammar(THINK, CATALOG.citable)}


@pytest.mark.parametrize("name", ["P19", "terrorism_or_extremism"])
def test_a_strict_request_may_name_the_only_policies_to_cite(gateway: Gateway, name: str) -> None:
    body = engine_body(gateway, safety={"strict": True, "policies": [name]})
    grammar = body["structured_outputs"]["grammar"]
    assert grammar == trace_grammar(THINK, CATALOG.citable_of(["P19"]))
    assert '"P19."' in grammar
    assert '"P01."' not in grammar


@pytest.mark.parametrize("safety", [None, {}, {"strict": False}])
def test_without_strict_nothing_binds_the_engine(gateway: Gateway, safety: Any) -> None:
    assert "structured_outputs" not in engine_body(gateway, safety=safety)


@pytest.mark.parametrize("safety", [None, {}, {"strict": True}])
def test_the_callers_safety_options_never_reach_the_engine(gateway: Gateway, safety: Any) -> None:
    assert "safety" not in engine_body(gateway, safety=safety)


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"safety": {"strict": "yes"}}, "safety.strict", "boolean"),
        ({"safety": {"strikt": True}}, "safety.strikt", "not permitted"),
        ({"safety": {"policies": ["P19"]}}, "safety", "no effect without strict"),
        ({"safety": {"strict": True, "policies": []}}, "safety.policies", "at least 1"),
        ({"safety": {"strict": True, "policies": ["P98"]}}, "safety.policies", "'P98' is no policy"),
        (
            {"safety": {"strict": True}, "response_format": {"type": "json_object"}},
            "response_format",
            "leave",
        ),
        ({"safety": {"strict": True}, "structured_outputs": {"regex": "x"}}, "structured_outputs", "leave"),
        ({"safety": {"strict": True}, "tools": [{"type": "function"}]}, "tools", "leave one of them out"),
        ({"safety": {"strict": True}, "use_beam_search": True}, "use_beam_search", "is not supported"),
        ({"safety": {"strict": True}, "ignore_eos": True}, "ignore_eos", "does not go together"),
        ({"safety": {"strict": True}, "min_tokens": 9}, "min_tokens", "does not go together"),
    ],
)
def test_what_cannot_be_had_strictly_is_refused_by_name(
    gateway: Gateway, fields: dict[str, Any], param: str, says: str
) -> None:
    response = gateway.post(ask(**fields))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert says in error["message"]
    assert not gateway.engine.history


def test_plain_text_as_response_format_goes_with_strict(gateway: Gateway) -> None:
    body = engine_body(gateway, safety={"strict": True}, response_format={"type": "text"})
    assert "grammar" in body["structured_outputs"]
