"""Where a published set's files are: in the recipe's `path`, or downloaded from the Hugging Face Hub.

Always the pinned commit, and only the files that are read. Knows nothing of what is in them.
"""

from collections.abc import Sequence
from pathlib import Path

from align.errors import RecipeError
from align.sources.about import About, PublishedTable

FULL_HASH = 40
"""Hex digits of a commit; the Hub serves no commit by fewer."""


def check_files(table: PublishedTable) -> None:
    """RecipeError where the recipe's `path` lacks a published file, or a set that needs one has none."""
    about = table.about
    if table.path is None:
        if not about.on_hub:
            raise RecipeError(
                f"source {table.name!r} is not on the Hugging Face Hub: clone {about.repository} at "
                f"{about.revision[:12]} and give path = … to its [[sources]] table ({about.files})"
            )
        return
    needed = dict.fromkeys(name for one in (table, *table.held_out()) for name in one.files())
    missing = [name for name in needed if not _is_there(table.path / name)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise RecipeError(
            f"source {table.name!r}: {table.path / missing[0]}{more} is missing; "
            f"path must hold the files as {about.place} publishes them: {about.files}"
        )


def _is_there(path: Path) -> bool:
    """Whether a file or folder is there; an archive may also lie unpacked in its place."""
    return path.exists() or (path.suffix == ".zip" and path.with_suffix("").is_dir())


def located(table: PublishedTable) -> Path:
    """The directory with the split's files; downloads them where the recipe gives none."""
    if table.path is not None:
        return table.path
    return _downloaded(table.about, table.files())


def is_cached(table: PublishedTable) -> bool:
    """Whether the split's files were downloaded before."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    revision = _known_commit(table.about)
    if revision is None:
        return False
    try:
        snapshot_download(
            table.about.repository,
            repo_type="dataset",
            revision=revision,
            allow_patterns=_patterns(table.files()),
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        return False
    return True


def _downloaded(about: About, files: Sequence[str]) -> Path:
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    try:
        found = snapshot_download(
            about.repository,
            repo_type="dataset",
            revision=_known_commit(about) or _commit(about),
            allow_patterns=_patterns(files),
        )
    except GatedRepoError:
        raise RecipeError(
            f"{about.repository} is gated: ask for access on its page, log in with `hf auth login`, and run "
            "again, or give path = … with the published files"
        ) from None
    except (OSError, httpx2.HTTPError) as error:
        raise RecipeError(
            f"{about.place} cannot be downloaded ({_first_line(error)}): check the network, or give "
            "path = … with the published files"
        ) from None
    return Path(found)


def _patterns(files: Sequence[str]) -> list[str]:
    return [f"{name}*" if name.endswith("/") else name for name in files]


def _commit(about: About) -> str:
    """The whole hash of a commit of which only the beginning is known."""
    from huggingface_hub import list_repo_commits

    history = (commit.commit_id for commit in list_repo_commits(about.repository, repo_type="dataset"))
    for commit in history:
        if commit.startswith(about.revision):
            return commit
    raise RecipeError(f"{about.repository} has no commit {about.revision} any more: give path = … instead")


def _known_commit(about: About) -> str | None:
    """The whole hash as far as it is known without the network."""
    if len(about.revision) == FULL_HASH:
        return about.revision
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return None
    hashes = (
        revision.commit_hash
        for repository in repositories
        if repository.repo_type == "dataset" and repository.repo_id == about.repository
        for revision in repository.revisions
    )
    return next((commit for commit in hashes if commit.startswith(about.revision)), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
