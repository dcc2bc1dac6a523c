"""The pipeline's guide names every key of a recipe, and which of them may be left out."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from align import recipe_tables as tables

GUIDE = (Path(__file__).parents[2] / "docs" / "pipeline.md").read_text()
ROWS = {
    "`[endpoints.NAME]`": (tables.Endpoint,),
    "`[roles.describer]`": (tables.Role, tables.Miner),
    "`[describe]`": (tables.Describe,),
    "`[derive]`": (tables.Derive,),
    "`[categorise]`": (tables.Categorise,),
    "`[trajectories]`": (tables.Trajectories,),
    "`[gates]`": (tables.Gates,),
    "`[score]`": (tables.Score,),
    "`[select]`": (tables.Select,),
    "`[mine]`": (tables.Mine,),
    "`[pairs]`": (tables.Pairs,),
    "`[bundle]`": (tables.Bundle,),
    "`[evaluate]`": (tables.Evaluate,),
    '`[prices."MODEL"]`': (tables.Price,),
    "`[budget]`": (tables.Budget,),
    "`[expect]`": (tables.Expect,),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_table_of_a_recipe_has_the_keys_that_the_guide_names(name: str) -> None:
    (line,) = [line for line in GUIDE.splitlines() if line.startswith("|") and name in line]
    keys = line.split("|", 2)[2]
    optional = set(re.findall(r"\*`(\w+)`\*", keys))
    named = optional | set(re.findall(r"`(\w+)`", keys))
    assert named == {key for table in ROWS[name] for key in table.model_fields}
    if name != "`[endpoints.NAME]`":  # of which one of two is needed, and no field says so alone
        assert optional == {key for table in ROWS[name] for key in _optional(table)}


def _optional(table: type[BaseModel]) -> set[str]:
    return {key for key, field in table.model_fields.items() if not field.is_required()}
