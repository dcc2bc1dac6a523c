"""What the harness shows of scores whose value is a number for each key, NaN where it could not be told.

Inspect leaves NaN out of every key by itself, counts it beside the metrics (`unscored_samples`, in its
viewer too), and reports NaN for the mean of nothing. Only its interval over nothing would read [0, 0].
"""

import math
from collections.abc import Callable
from typing import cast

from inspect_ai.scorer import Metric, SampleScore, Value, ci_wilson, mean, metric


@metric
def interval() -> Metric:
    """The 95 % Wilson interval of the mean, with NaN for both ends where nothing was scored."""
    of_some = cast(Callable[[list[SampleScore]], Value], ci_wilson())

    def measured(scores: list[SampleScore]) -> Value:
        return of_some(scores) if scores else {"lower": math.nan, "upper": math.nan}

    return measured


RATES = {"*": [mean(), interval()]}
"""For every key of a score, over the samples that were scored for it."""
