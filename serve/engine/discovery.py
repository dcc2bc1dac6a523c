"""Where the replicas of a pool listen now: a list, a name in DNS, or a Service of Kubernetes.

Whether they answer is not asked here.
"""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from serve.options.engine import DnsSettings, KubernetesSettings, PoolSettings

Json = dict[str, Any]
Resolve = Callable[[str, int], Awaitable[Iterable[str]]]
"""Every IP address of a name, as text; raises OSError."""

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class DiscoveryFailed(Exception):
    """Nobody said which replicas there are; those known last stay."""


class Discovery(Protocol):
    """Asked again and again."""

    async def addresses(self) -> frozenset[str]:
        """The root of each replica's server; raises DiscoveryFailed."""


def discovery_of(pool: PoolSettings, session: aiohttp.ClientSession) -> Discovery:
    """The one way in which these settings name their replicas."""
    if pool.dns:
        return Dns(pool.dns)
    if pool.kubernetes:
        return KubernetesEndpoints(pool.kubernetes, session)
    return Static(pool.urls)


class Static:
    """Replicas that the settings name."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._urls = frozenset(url.rstrip("/") for url in urls)

    async def addresses(self) -> frozenset[str]:
        """Always the same."""
        return self._urls


async def resolve(host: str, port: int) -> Iterable[str]:
    """By the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Dns:
    """Every address of one name, as a headless Service or a load balancer's name has them."""

    def __init__(self, settings: DnsSettings, resolver: Resolve = resolve) -> None:
        self._settings = settings
        self._resolve = resolver

    async def addresses(self) -> frozenset[str]:
        """A name that does not resolve is a failure, never "no replicas"."""
        host, port = self._settings.host, self._settings.port
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            raise DiscoveryFailed(f"{host} does not resolve: {error}") from error
        return frozenset(_url(address, port) for address in found)


class KubernetesEndpoints:
    """The ready endpoints of a Service, from its EndpointSlices, by the pod's own account.

    Its role must allow to `list` `endpointslices` of the group discovery.k8s.io in that namespace.
    """

    def __init__(
        self,
        settings: KubernetesSettings,
        session: aiohttp.ClientSession,
        *,
        api: str | None = None,
        account: Path = _ACCOUNT,
    ) -> None:
        self._settings = settings
        self._session = session
        self._api = api
        self._account = account
        self._trust: ssl.SSLContext | None = None

    async def addresses(self) -> frozenset[str]:
        """Raises DiscoveryFailed if the API cannot be asked, or says something else."""
        try:
            slices = await self._slices()
            return frozenset(url for slice_ in slices for url in self._ready(slice_))
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"{type(error).__name__}: {error}"
            raise DiscoveryFailed(f"EndpointSlices of {self._settings.service}: {why}") from error

    async def _slices(self) -> list[Json]:
        # Read anew each time: the token is replaced about every hour.
        token = (self._account / "token").read_text().strip()
        namespace = self._settings.namespace or (self._account / "namespace").read_text().strip()
        url = f"{self._root()}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        async with self._session.get(
            url,
            params={"labelSelector": f"kubernetes.io/service-name={self._settings.service}"},
            headers={"authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
            ssl=self._context() if url.startswith("https:") else True,
            allow_redirects=False,
        ) as response:
            body = await response.read()
            if response.status != HTTPStatus.OK:
                raise DiscoveryFailed(f"EndpointSlices of {self._settings.service}: HTTP {response.status}")
        items: list[Json] = json.loads(body)["items"]
        return items

    def _root(self) -> str:
        if self._api is not None:
            return self._api
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        return f"https://{_bracketed(host)}:{port}"

    def _context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        return self._trust

    def _ready(self, slice_: Json) -> Iterator[str]:
        wanted = self._settings.port
        ports = [one["port"] for one in slice_["ports"] or () if wanted in (one.get("name"), one["port"])]
        for endpoint in slice_["endpoints"] or ():
            # Unknown counts as ready (the API's own rule); whoever is ending is not.
            conditions = endpoint.get("conditions") or {}
            if conditions.get("ready", True) is not False and not conditions.get("terminating"):
                yield from (_url(address, port) for address in endpoint["addresses"][:1] for port in ports)


def _url(address: str, port: int) -> str:
    return f"http://{_bracketed(address)}:{port}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
