"""python -m serve.answer [CONFIG] -- POST: one worker of a gateway, as its keeper starts it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from policies.catalog import load_catalog
from serve.adapters.registry import build_registry
from serve.app import create_app
from serve.drain import Drain
from serve.observe.log import configure_logging
from serve.server import server_config
from serve.settings import load_settings
from serve.worker import Post, WorkingServer, take_post

_END_OF_CONFIG = "--"


def command_for(config: Path | None, post: Post) -> list[str]:
    """How the worker of that post is started; its settings are the keeper's, from the same places."""
    told = [str(config)] if config else []
    return [sys.executable, "-m", "serve.answer", *told, _END_OF_CONFIG, *post.arguments()]


def main(arguments: Sequence[str]) -> int:
    """Answer until told to stop."""
    end = arguments.index(_END_OF_CONFIG)
    config = Path(arguments[0]) if end else None
    post = Post.from_arguments(arguments[end + 1 :])
    configure_logging()
    take_post(post)
    settings = load_settings(config)
    catalog = load_catalog(settings.policies)
    drain = Drain(settings.drain_grace_s, settings.drain_timeout_s)
    app = create_app(settings, build_registry(settings, catalog), catalog, _ignore, drain=drain, post=post)
    WorkingServer(server_config(app, settings), drain, post).answer()
    return 0


def _ignore(_: str) -> None:
    """What ends a gateway, its keeper sees, too: it supervises the same engines."""


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
