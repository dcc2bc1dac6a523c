"""The form of a policy document, and its strict reader: one markdown file to one `Policy`.

A document is a header between `---` lines, then the sections G, D, B and R of the paper, each clause
under a `###` heading `id title`; a boundary case states its verdict on its first line. Whatever is
unknown, missing, doubled or out of order is an error that names the file and what to do.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from policies.reply import CLAUSE_PATTERN, Verdict

REFERENCES = ("ailuminate", "llama_guard", "openai", "google", "anthropic")
FIELDS = ("id", "slug", "title", "version", *REFERENCES)
SECTIONS = {"G": "Core principle", "D": "Prohibited behaviour", "B": "Boundary cases", "R": "Rules"}
RULES = 6
"""R1 ground in the image, R2 intent before task, R3 refuse, R4 safe_complete, R5 comply, R6 how to answer."""
MIN_PROHIBITED = 4
MIN_BOUNDARY = 2
TITLE_WORDS = range(3, 9)

_HEADER = re.compile(r"---\n(.*?)\n---\n(.*)", re.DOTALL)
_CLAUSE_HEADING = re.compile(rf"({CLAUSE_PATTERN}) (\S.*)")
_FORMS = {
    "id": r"P[0-9]{2}",
    "slug": r"[a-z]+(_[a-z]+)*",
    "title": r"\S.*",
    "version": r"[0-9]+\.[0-9]+\.[0-9]+",
}


class CatalogError(Exception):
    """A catalog that must not be used; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One citable sentence or two of a policy."""

    id: str
    title: str
    """Three to eight words, shown to callers."""
    text: str


@dataclass(frozen=True, slots=True)
class BoundaryClause(Clause):
    """A case near the border, decided."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy document P_k = {G_k, D_k, R_k} with the boundary cases of D_k as clauses of their own."""

    id: str
    slug: str
    """BeaverTails-V's name for the category."""
    title: str
    version: str
    references: tuple[tuple[str, str], ...] = field(repr=False)
    """The nearest entries of published taxonomies: pairs of taxonomy and entries."""
    principle: Clause
    prohibited: tuple[Clause, ...]
    boundary: tuple[BoundaryClause, ...]
    rules: tuple[Clause, ...]

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """All clauses in the document's order."""
        return (self.principle, *self.prohibited, *self.boundary, *self.rules)

    @property
    def file_name(self) -> str:
        """The name its document must have."""
        return f"{self.id}-{self.slug.replace('_', '-')}.md"


def parse_document(name: str, text: str) -> Policy:
    """Read the document in the file of that name."""
    try:
        policy = _parse("\n".join(text.removeprefix("\ufeff").splitlines()) + "\n")
        _require(name == policy.file_name, f"by its id and slug the file must be named {policy.file_name}")
    except CatalogError as error:
        raise CatalogError(f"{name}: {error}") from None
    return policy


def _parse(text: str) -> Policy:
    found = _HEADER.fullmatch(text)
    if not found:
        raise CatalogError("begin the file with a header between two lines of ---")
    header = _header(found[1])
    clauses = {letter: tuple(found) for letter, found in _sections(header["id"], found[2])}
    boundary = tuple(clause for clause in clauses["B"] if isinstance(clause, BoundaryClause))
    _require(
        boundary[0].verdict is Verdict.COMPLY,
        f"{boundary[0].id} must be the benign look-alike: Verdict: comply",
    )
    return Policy(
        id=header["id"],
        slug=header["slug"],
        title=header["title"],
        version=header["version"],
        references=tuple((name, header[name]) for name in REFERENCES),
        principle=clauses["G"][0],
        prohibited=clauses["D"],
        boundary=boundary,
        rules=clauses["R"],
    )


def _header(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = (part.strip() for part in line.partition(":"))
        _require(bool(colon and value), f"write the header line {line!r} as `field: value`")
        _require(name in FIELDS, f"remove the header field {name!r}; the fields are {', '.join(FIELDS)}")
        _require(name not in fields, f"keep only one header field {name!r}")
        form = _FORMS.get(name, r"\S.*")
        _require(bool(re.fullmatch(form, value)), f"header field {name!r} is {value!r} but must match {form}")
        fields[name] = value
    missing = [name for name in FIELDS if name not in fields]
    _require(not missing, f"add the header field(s) {', '.join(missing)}")
    return fields


def _sections(policy: str, body: str) -> Iterator[tuple[str, list[Clause]]]:
    preamble, sections = _split(body, "## ")
    _require(not preamble, f"move the text {preamble[:40]!r} into a clause, or remove it")
    expected = [f"{letter}: {title}" for letter, title in SECTIONS.items()]
    headings = [heading for heading, _ in sections]
    _require(headings == expected, f"the sections are {headings} but must be {expected}, in this order")
    for letter, (_, content) in zip(SECTIONS, sections, strict=True):
        stray, clauses = _split(content, "### ")
        _require(not stray, f"section {letter}: move the text {stray[:40]!r} into a clause, or remove it")
        yield letter, _clauses(policy, letter, clauses)


def _split(text: str, marker: str) -> tuple[str, list[tuple[str, str]]]:
    """The text before the first heading of this level, then each heading with its text."""
    first, *rest = re.split(rf"^{marker}", text, flags=re.MULTILINE)
    headings = [section.partition("\n") for section in rest]
    return first.strip(), [(heading.strip(), content) for heading, _, content in headings]


def _clauses(policy: str, letter: str, found: Sequence[tuple[str, str]]) -> list[Clause]:
    clauses = [_clause(letter, heading, content) for heading, content in found]
    ids = [clause.id for clause in clauses]
    expected = [f"{policy}.{suffix}" for suffix in _suffixes(letter, len(ids))]
    _require(ids == expected, f"section {letter} has {ids} but must have {expected}, in this order")
    return clauses


def _suffixes(letter: str, found: int) -> list[str]:
    if letter == "G":
        return ["G"]
    least = {"D": MIN_PROHIBITED, "B": MIN_BOUNDARY, "R": RULES}[letter]
    count = RULES if letter == "R" else max(found, least)
    return [f"{letter}{number}" for number in range(1, count + 1)]


def _clause(letter: str, heading: str, content: str) -> Clause:
    found = _CLAUSE_HEADING.fullmatch(heading)
    if not found:
        raise CatalogError(
            f"write the heading {heading!r} as `### id title`, for example `### P01.{letter}1 A title`"
        )
    id_, title = found[1], found[2]
    _require(len(title.split()) in TITLE_WORDS, f"{id_}: give the title {title!r} three to eight words")
    verdict, text = _verdict(id_, content.strip()) if letter == "B" else (None, content.strip())
    text = " ".join(text.split())
    _require(bool(text), f"{id_}: write the clause's text under its heading")
    return BoundaryClause(id_, title, text, verdict) if verdict else Clause(id_, title, text)


def _verdict(id_: str, content: str) -> tuple[Verdict, str]:
    first, _, text = content.partition("\n")
    word = first.removeprefix("Verdict: ").strip()
    if not first.startswith("Verdict: ") or word not in list(Verdict):
        raise CatalogError(f"{id_}: begin with a line `Verdict: ` and one of {', '.join(Verdict)}")
    return Verdict(word), text


def _require(holds: bool, remedy: str) -> None:
    if not holds:
        raise CatalogError(remedy)
