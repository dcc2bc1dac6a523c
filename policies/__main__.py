"""`python -m policies …`: look at the policies, hold them against what was published, hand them on."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from policies.bundle import BundleError, read_bundle
from policies.catalog import Catalog, CatalogError, load_alone, load_catalog, packaged_documents
from policies.compare import Change, Kind, State, changes
from policies.document import BoundaryClause, Clause
from policies.export import ExportedCatalog, export
from policies.find import find
from policies.forms import Form, written
from policies.pages import covered, drift, write_pages
from policies.published import REGISTER_FILE, Register, faults, read_register, unpublished, write_register
from policies.taxonomies import TAXONOMIES

OK, DIFFERENT, WRONG = 0, 1, 2
PACKAGED = "packaged"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command: 0, 1 where something differs or nothing is found, 2 where something is wrong."""
    arguments = _parser().parse_args(argv)
    try:
        text, status = arguments.run(arguments)
    except (CatalogError, BundleError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return WRONG
    sys.stdout.write(f"{text}\n")
    return int(status)


Command = Callable[[Namespace], tuple[str, int]]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m policies", description="The policy documents.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Command, help_: str) -> ArgumentParser:
        added = commands.add_parser(name, help=help_, description=help_)
        added.set_defaults(run=run)
        if run is not _diff:
            added.add_argument(
                "--policies", type=Path, metavar="DIR", help="your own documents, over the packaged ones"
            )
        return added

    command("check", _check, "read every document and hold it against what was published")
    show = command("show", _show, "print a policy or a clause")
    show.add_argument("id", help="a policy's id or slug, or a clause's id")
    show.add_argument("--form", choices=list(Form), type=Form, default=Form.WHOLE, help="as in a prompt")
    search = command("find", _find, "the clauses nearest to a situation in your own words")
    search.add_argument("words", nargs="+")
    diff = command("diff", _diff, "which clauses differ between two states of the policies")
    for side in ("old", "new"):
        diff.add_argument(side, help=f"a directory of documents, an adapter bundle, or `{PACKAGED}`")
    mapping = command("map", _map, "what covers each entry of a published taxonomy")
    mapping.add_argument("taxonomy", choices=list(TAXONOMIES))
    exported = command("export", _export, "all policies as JSON")
    exported.add_argument("--schema", action="store_true", help="the JSON schema of that instead")
    paged = command("pages", _pages, "write the browsable pages")
    paged.add_argument("directory", type=Path)
    paged.add_argument("--check", action="store_true", help="only say which pages are not up to date")
    command("publish", _publish, "enter the documents as they are into the register of what was published")
    return parser


def _check(arguments: Namespace) -> tuple[str, int]:
    catalog = load_catalog(arguments.policies)
    own, register = _own(arguments), _register(arguments)
    text = f"{len(catalog.policies)} policies, {len(catalog.clause_ids)} clauses, digest {catalog.digest}"
    publish = "python -m policies publish" + (
        f" --policies {arguments.policies}" if arguments.policies else ""
    )
    if register is None and arguments.policies is None:
        raise CatalogError(f"{REGISTER_FILE} is missing: restore it from version control")
    if register is None:
        return f"{text}\nnothing is published, so no id is held yet; when they are final, run: {publish}", OK
    _require_no_faults(arguments, own, register)
    if late := unpublished(own, register):
        raise CatalogError(f"not published yet: {', '.join(late)}; when they are final, run: {publish}")
    return text, OK


def _publish(arguments: Namespace) -> tuple[str, int]:
    load_catalog(arguments.policies)
    own, register = _own(arguments), _register(arguments) or Register(policies={})
    _require_no_faults(arguments, own, register)
    late = unpublished(own, register)
    write_register(Path(str(_directory(arguments))), own, register)
    return f"published: {', '.join(late) or 'nothing new'}", OK


def _directory(arguments: Namespace) -> Traversable:
    return arguments.policies or packaged_documents()


def _own(arguments: Namespace) -> Catalog:
    """The documents whose register it is: a team answers for its own."""
    return load_alone(_directory(arguments))


def _register(arguments: Namespace) -> Register | None:
    return read_register(_directory(arguments))


def _require_no_faults(arguments: Namespace, own: Catalog, register: Register) -> None:
    lent = [document.id for document in load_catalog().documents] if arguments.policies else []
    if found := faults(own, register, lent):
        raise CatalogError("\n".join(found))


def _show(arguments: Namespace) -> tuple[str, int]:
    catalog, name = load_catalog(arguments.policies), arguments.id
    if policy := catalog.policy(name):
        return f"{written(policy, arguments.form)}\n\n(version {policy.version}, {policy.slug})", OK
    if clause := catalog.clause(name):
        return _clause(catalog, clause), OK
    known = ", ".join(policy.id for policy in catalog.policies)
    raise CatalogError(
        _obituary(catalog, name) or f"{name} is neither a policy nor a clause; the policies are {known}"
    )


def _obituary(catalog: Catalog, name: str) -> str | None:
    """What is to say of a clause or document that was retired, if it was."""
    for document in catalog.documents:
        clauses = [clause.id for clause in document.clauses]
        if document.retired_in and name in (document.id, document.slug, *clauses):
            return f"{name} was retired in {document.retired_in}: {document.changelog[0].text}"
        for tombstone in document.retired:
            if tombstone.id == name:
                return f"{name} was retired in {tombstone.retired_in}: {tombstone.text}"
    return None


def _clause(catalog: Catalog, clause: Clause) -> str:
    policy = catalog.policy(clause.id.partition(".")[0])
    demanded = f" ({clause.demands})" if clause.demands else ""
    lines = [f"{clause.id} {clause.title}{demanded}", clause.text]
    if reason := _reason(clause):
        lines.append(f"Reason: {reason}")
    if policy and (hazards := policy.hazards_of(clause)):
        lines.append(f"Hazards: {', '.join(hazards)}")
    return "\n".join(lines)


def _find(arguments: Namespace) -> tuple[str, int]:
    catalog = load_catalog(arguments.policies)
    found = find(catalog, " ".join(arguments.words))
    if not found:
        return "no clause has any of these words; try others, or read docs/policies", DIFFERENT
    return "\n\n".join(_clause(catalog, clause) for clause in found), OK


def _diff(arguments: Namespace) -> tuple[str, int]:
    old, new = _state(arguments.old), _state(arguments.new)
    found = changes(old, new)
    if not found and old.digest != new.digest:
        return "no clause differs, but a policy's slug or title does", DIFFERENT
    if not found:
        return "no clause differs", OK
    return "\n".join(line for change in found for line in _change(change)), DIFFERENT


def _state(name: str) -> State:
    where = Path(name)
    if (where / "manifest.json").exists():
        manifest = read_bundle(where)
        return State(manifest.policies, digest=manifest.policy_digest)
    return State.of(load_catalog(None if name == PACKAGED else where))


_SIGNS = {Kind.ADDED: "+", Kind.RETIRED: "-", Kind.REMOVED: "-"}


def _change(change: Change) -> Iterator[str]:
    """One line, and where both sides are at hand, what the clause said and says now."""
    sign = _SIGNS.get(change.kind, "~")
    clause = change.new or change.old
    yield f"{sign} {change.clause} {change.kind}" + (f": {clause.title}" if clause else "")
    if change.old and change.new:
        for old, new in zip(_parts(change.old), _parts(change.new), strict=True):
            if old != new:
                yield f"    - {old}"
                yield f"    + {new}"


def _parts(clause: Clause) -> tuple[str, ...]:
    return clause.title, f"Verdict: {clause.demands}", clause.text, f"Reason: {_reason(clause)}"


def _reason(clause: Clause) -> str:
    return clause.reason if isinstance(clause, BoundaryClause) else ""


def _map(arguments: Namespace) -> tuple[str, int]:
    catalog, taxonomy = load_catalog(arguments.policies), TAXONOMIES[arguments.taxonomy]
    lines = [f"{taxonomy.title}, {taxonomy.edition}"]
    for code, name in taxonomy.entries.items():
        ids = [clause.id if clause else policy.id for policy, clause in covered(catalog, taxonomy, code)]
        lines += [f"\n{code}  {name}", f"    {', '.join(ids) or '(nothing)'}"]
    return "\n".join(lines), OK


def _export(arguments: Namespace) -> tuple[str, int]:
    if arguments.schema:
        return json.dumps(ExportedCatalog.model_json_schema(), indent=1), OK
    return export(load_catalog(arguments.policies)).model_dump_json(indent=1), OK


def _pages(arguments: Namespace) -> tuple[str, int]:
    catalog = load_catalog(arguments.policies)
    if not arguments.check:
        return f"{write_pages(catalog, arguments.directory)} pages in {arguments.directory}", OK
    stale = drift(catalog, arguments.directory)
    return (f"not up to date: {', '.join(stale)}", DIFFERENT) if stale else ("all pages are up to date", OK)


if __name__ == "__main__":
    raise SystemExit(main())
