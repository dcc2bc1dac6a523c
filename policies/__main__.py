"""`python -m policies check [directory]` and `python -m policies show P07 [directory]`."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from policies.catalog import Catalog, CatalogError, load_catalog
from policies.prompt import compact


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 2 where the documents or the id are at fault."""
    arguments = _parser().parse_args(argv)
    try:
        catalog = load_catalog(arguments.directory)
        text = _summary(catalog) if arguments.command == "check" else _shown(catalog, arguments.id)
    except CatalogError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{text}\n")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m policies", description="The policy documents.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="read every document; say what is wrong, or count and fingerprint"
    )
    show = commands.add_parser("show", help="print a policy or a clause")
    show.add_argument("id", help="a policy's id or slug, or a clause's id")
    for command in (check, show):
        command.add_argument("directory", nargs="?", type=Path, help="documents other than the packaged ones")
    return parser


def _summary(catalog: Catalog) -> str:
    counts = f"{len(catalog.policies)} policies, {len(catalog.clause_ids)} clauses"
    return f"{counts}, digest {catalog.digest}"


def _shown(catalog: Catalog, name: str) -> str:
    if policy := catalog.policy(name):
        return f"{compact(policy)}\n(version {policy.version}, {policy.slug})"
    if clause := catalog.clause(name):
        return f"{clause.id} {clause.title}: {clause.text}"
    known = ", ".join(policy.id for policy in catalog.policies)
    raise CatalogError(f"{name} is neither a policy nor a clause; the policies are {known}")


if __name__ == "__main__":
    raise SystemExit(main())
