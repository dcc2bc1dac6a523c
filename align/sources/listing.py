"""`python -m align sources`: where queries can come from, under which terms, and what is already here."""

import json
import sys
from collections.abc import Mapping

from align.sources.about import About
from align.sources.catalogue import ABOUT, published_tables
from align.sources.hub import is_cached


def show_sources(*, as_json: bool) -> None:
    """Write the list to standard output, as a table or as JSON."""
    if as_json:
        json.dump([_as_words(about) for about in ABOUT.values()], sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_lines=False, padding=(0, 1, 1, 0))
    for name in ("source", "kind"):
        table.add_column(name, no_wrap=True)
    for name in ("licence", "size and state"):
        table.add_column(name, overflow="fold")
    for about in ABOUT.values():
        words = _as_words(about)
        restricted = f"\n{about.restricted}" if about.restricted != "none" else ""
        table.add_row(
            about.table, about.kind, f"{about.licence}{restricted}", f"{about.size}\n{words['state']}"
        )
    Console().print(table)


def _as_words(about: About) -> Mapping[str, str]:
    return {
        "source": about.table,
        "title": about.title,
        "kind": about.kind,
        "training splits": ", ".join(about.training),
        "benchmark splits": ", ".join(about.benchmark),
        "size": about.size,
        "licence": about.licence,
        "restriction": about.restricted,
        "repository": about.repository,
        "revision": about.revision,
        "files": about.files,
        "purpose": about.purpose,
        "state": _state(about),
    }


def _state(about: About) -> str:
    """What stands between a recipe and the rows."""
    if not about.repository:
        return "ready"
    switch = ", needs accept_licence" if about.restricted != "none" else ""
    if not about.on_hub:
        return f"clone {about.place} and give path{switch}"
    here = [table.split for table in published_tables(about) if is_cached(table)]
    cached = f"cached: {', '.join(here)}; " if here else ""
    gated = "gated, " if about.restricted == "gated" else ""
    return f"{cached}{gated}downloads from {about.place}{switch}"
