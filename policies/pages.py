"""The browsable rendering of the policies: markdown pages that link every clause.

Written by `python -m policies pages DIRECTORY`; `docs/policies/` is made so, and `--check` tells
whether it is what the documents say.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from policies.catalog import BoundaryClause, Catalog, Clause, Policy, ProhibitedClause
from policies.taxonomies import HAZARDS, TAXONOMIES, Taxonomy

INDEX = "README.md"
MAPPING = "mapping.md"
_NOTE = "<!-- Made by `python -m policies pages`; edit the documents, not this page. -->"
_VERDICTS = {"comply": "🟢 comply", "safe_complete": "🟡 safe_complete", "refuse": "🔴 refuse"}


def pages(catalog: Catalog) -> Mapping[str, str]:
    """File name to text."""
    found = {INDEX: _index(catalog), MAPPING: _mapping(catalog)}
    return found | {policy.file_name: _page(policy) for policy in catalog.policies}


def write_pages(catalog: Catalog, directory: Path) -> int:
    """Write every page and remove pages of policies that are gone; the number of pages.

    FileExistsError where a file that is no such page has the name of one.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wanted = pages(catalog)
    for name in wanted:
        if not (_text(directory / name) or _NOTE).startswith(_NOTE):
            # A document is named as its page is: its directory must never be written over.
            raise FileExistsError(
                f"{directory / name} was not made by this command: give another directory, or remove it"
            )
    for stray in stray_pages(wanted, directory):
        (directory / stray).unlink()
    for name, text in wanted.items():
        (directory / name).write_text(text, encoding="utf-8")
    return len(wanted)


def drift(catalog: Catalog, directory: Path) -> list[str]:
    """Names of pages that are missing, stale or left over."""
    wanted = pages(catalog)
    stale = [name for name, text in wanted.items() if _text(directory / name) != text]
    return [*stale, *stray_pages(wanted, directory)]


def stray_pages(wanted: Mapping[str, str], directory: Path) -> list[str]:
    """Pages of this kind that belong to no policy any more; other files are left alone."""
    if not directory.is_dir():
        return []
    made = (page for page in directory.glob("*.md") if page.name not in wanted)
    return sorted(page.name for page in made if (_text(page) or "").startswith(_NOTE))


def _text(page: Path) -> str | None:
    return page.read_text(encoding="utf-8", errors="replace") if page.is_file() else None


def _index(catalog: Catalog) -> str:
    return _joined(
        _NOTE,
        "# The policies",
        f"{len(catalog.policies)} policies with {len(catalog.clause_ids)} clauses, digest "
        f"`{catalog.digest[:12]}`. The model reasons over these clauses and cites them by id; the gateway "
        "returns the citations.",
        "A policy has a core principle **G**, prohibited behaviours **D**, boundary cases **B**, each "
        "decided with a verdict and a reason, and six rules **R** in the order in which they are applied: R1 "
        "ground in the picture, R2 intent before task, R3 when to refuse, R4 when to answer the safe part, "
        "R5 when to comply, R6 how to answer.",
        "The verdicts: **comply** answers in full; **safe_complete** serves the need and leaves the harmful "
        "part out; **refuse** gives no part of it, says why and offers another way.",
        "**To decide a request**: find the nearest line under [Boundary cases](#boundary-cases), or search "
        'with `python -m policies find "words of the request"`. Where no boundary case fits, go to the '
        "policy it is about: if a prohibited behaviour D matches, R3 and R4 decide, else R5. Where cases of "
        "two policies fit, the nearer words decide, and between equally near ones the stricter verdict.",
        "How the clauses map to published taxonomies: [mapping](mapping.md).",
        "| policy | protects | D | B | version |\n|---|---|---|---|---|\n"
        + "\n".join(
            f"| [{one.id} {_cell(one.title)}]({one.file_name}) | {_cell(one.principle.title)} "
            f"| {len(one.prohibited)} | {len(one.boundary)} | {one.version} |"
            for one in catalog.policies
        ),
        "## Boundary cases",
        "| when | verdict | clause |\n|---|---|---|\n"
        + "\n".join(
            f"| {_cell(case.title)} | {_VERDICTS[case.verdict]} | {_link(policy, case)} |"
            for policy in catalog.policies
            for case in policy.boundary
        ),
    )


def _cell(text: str) -> str:
    """Words as a table takes them."""
    return text.replace("|", "\\|")


def _page(policy: Policy) -> str:
    blocks = [
        _NOTE,
        f"# {policy.id} {policy.title}",
        f"`{policy.slug}`, version {policy.version}. [All policies]({INDEX})",
        *_clause(policy, policy.principle),
        "## Prohibited behaviour",
        *(block for clause in policy.prohibited for block in _clause(policy, clause)),
        "## Boundary cases",
        *(block for clause in policy.boundary for block in _clause(policy, clause)),
        "## Rules",
        *(block for clause in policy.rules for block in _clause(policy, clause)),
        *_retired(policy),
        "## In other policies",
        "\n".join(
            f"- {TAXONOMIES[name].title} ({TAXONOMIES[name].edition}): "
            + ("; ".join(f"{TAXONOMIES[name].entries[code]} (`{code}`)" for code in codes) or "nothing")
            for name, codes in policy.references
        ),
        "## Changelog",
        "\n".join(f"- **{one.version}** ({one.date}): {one.text}" for one in policy.changelog),
    ]
    return _joined(*blocks)


def _clause(policy: Policy, clause: Clause) -> Iterator[str]:
    yield f'<a id="{clause.id}"></a>\n\n### {clause.id} {clause.title}'
    match clause:
        case BoundaryClause(verdict=verdict, borders=borders, reason=reason):
            near = ", ".join(f"[{one.partition('.')[2]}](#{one})" for one in borders)
            yield f"{_VERDICTS[verdict]} · borders on {near}"
            yield clause.text
            yield f"*{reason}*"
        case ProhibitedClause():
            yield clause.text
            yield "Hazards: " + (", ".join(f"`{code}`" for code in clause.hazards) or "none")
        case _:
            yield clause.text


def _retired(policy: Policy) -> Iterator[str]:
    if policy.retired:
        yield "## Retired"
        yield "These ids are never used again."
        yield "\n".join(
            f"- {one.id} {one.title}, until {one.retired_in}: {one.text}" for one in policy.retired
        )


def _mapping(catalog: Catalog) -> str:
    blocks = [_NOTE, "# How the policies map to published taxonomies", f"[All policies]({INDEX})"]
    for taxonomy in TAXONOMIES.values():
        blocks += [f"## {taxonomy.title}, {taxonomy.edition}", _table(catalog, taxonomy)]
    unmapped = [
        _link(policy, clause)
        for policy in catalog.policies
        for clause in policy.prohibited
        if not clause.hazards
    ]
    names = " and ".join(one.title for one in HAZARDS)
    blocks += [
        "## In neither hazard taxonomy",
        f"{names} do not name these: {', '.join(unmapped) or 'none'}.",
    ]
    return _joined(*blocks)


def _table(catalog: Catalog, taxonomy: Taxonomy) -> str:
    rows = [
        f"| `{code}` | {name} | {', '.join(_link(*one) for one in covered(catalog, taxonomy, code)) or '–'} |"
        for code, name in taxonomy.entries.items()
    ]
    return "\n".join(("| code | entry | covered by |\n|---|---|---|", *rows))


def covered(catalog: Catalog, taxonomy: Taxonomy, code: str) -> list[tuple[Policy, Clause | None]]:
    """What covers an entry: prohibited clauses for a hazard, whole documents for a vendor's entry."""
    if taxonomy in HAZARDS:
        prohibited = [(one, clause) for one in catalog.policies for clause in one.prohibited]
        return [(one, clause) for one, clause in prohibited if code in clause.hazards]
    return [(one, None) for one in catalog.policies if code in dict(one.references)[taxonomy.name]]


def _link(policy: Policy, clause: Clause | None) -> str:
    if clause is None:
        return f"[{policy.id}]({policy.file_name})"
    return f"[{clause.id}]({policy.file_name}#{clause.id})"


def _joined(*blocks: str) -> str:
    return "\n\n".join(blocks) + "\n"
