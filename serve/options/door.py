"""What is let in: sizes, rates, pictures from elsewhere, transport."""

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from serve.options.table import AbsolutePath, Table


class LimitSettings(Table):
    """What one request may cost before it is admitted, and how many are admitted."""

    body_bytes: PositiveInt = 20 * 1024 * 1024
    """After decompression, too."""
    body_s: PositiveFloat = 30
    """A body that takes longer is refused."""
    bodies_in_flight_bytes: PositiveInt = 256 * 1024 * 1024
    """Of all bodies being read or waiting, together."""
    inflate_ratio: PositiveInt = 100
    """Bytes out per byte in beyond which a compressed body is taken for a bomb."""
    images_per_request: PositiveInt = 1
    image_bytes: PositiveInt = 10 * 1024 * 1024
    image_pixels: PositiveInt = 12_500_000
    """A phone's 12 megapixels (4032 x 3024) pass."""
    texts_per_request: PositiveInt = 2048
    """Different ones, since each is shown to guards: contents, names and arguments of every message."""
    choices: PositiveInt = 8
    """Largest `n`."""
    in_flight: PositiveInt = 64
    """Requests answered at the same time, by all workers together."""
    queue: int = Field(default=256, ge=0)
    """Requests that wait for their turn; one more gets 503 and Retry-After."""
    queue_s: PositiveFloat = 10
    """How long one waits."""
    send_s: PositiveFloat = 60
    """A caller who takes nothing for so long is let go."""
    connections: PositiveInt = 16_384
    """Open at the same time in one process, idle ones too; fewer where the system allows fewer files."""
    head_bytes: PositiveInt = 64 * 1024
    """Request line and headers; also whatever else of a request is neither head nor body."""
    head_s: PositiveFloat = 15
    """From connecting, or from a further request's first byte, to the end of its headers."""
    keep_alive_s: PositiveInt = 30
    """Idle connections are closed after so long. Clients should give up theirs sooner (httpx: after 5 s),
    and so should proxies in front: else a request may meet a connection that is just being closed."""


class ImageSettings(Table):
    """Pictures by URL: only from hosts named here."""

    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9.-]+(:[0-9]+)?$")], ...] = ()
    """`host`, `host:port` or `*.suffix`."""
    allow_http: bool = False
    fetch_s: PositiveFloat = 10
    """For one picture, redirects included."""
    cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """Of normalised pictures kept in memory."""


class TlsSettings(Table):
    """HTTPS, where no proxy in front does it."""

    certificate: AbsolutePath | None = None
    """PEM, with the chain."""
    key: AbsolutePath | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give both tls.certificate and tls.key, or none")
        return self
