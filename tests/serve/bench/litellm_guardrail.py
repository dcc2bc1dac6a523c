"""A guardrail of LiteLLM's proxy that blocks what its patterns match; runs in LiteLLM's environment.

Knows nothing of ours: LiteLLM loads this file beside its configuration (`tests.serve.bench.peers`).
"""

import json
import os
import re
from typing import Any

from fastapi import HTTPException  # type: ignore[import-not-found,unused-ignore]
from litellm.integrations.custom_guardrail import CustomGuardrail  # type: ignore[import-not-found]

_FORBIDDEN = re.compile("|".join(f"(?:{pattern})" for pattern in json.loads(os.environ["BENCH_PATTERNS"])))


class PatternGuardrail(CustomGuardrail):  # type: ignore[misc]
    """Looks at whatever text LiteLLM shows it."""

    async def apply_guardrail(
        self, inputs: Any, request_data: dict[str, Any], input_type: str, logging_obj: Any = None
    ) -> Any:
        """The same inputs, or an error for the caller."""
        if any(_FORBIDDEN.search(text) for text in inputs.get("texts", ())):
            raise HTTPException(400, "blocked by the bench's pattern")
        return inputs
