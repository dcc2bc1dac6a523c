"""Claims about where replicas are found; DNS is a table, Kubernetes an API server that has a script."""

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serve.engine.discovery import DiscoveryFailed, Dns, KubernetesEndpoints, Static, discovery_of
from serve.options.engine import DnsSettings, KubernetesSettings, PoolSettings

pytestmark = pytest.mark.anyio
Json = dict[str, Any]


async def test_a_list_is_what_it_is() -> None:
    assert await Static(["http://a:1/", "http://b:2"]).addresses() == {"http://a:1", "http://b:2"}


async def test_every_address_of_a_name_is_a_replica() -> None:
    async def resolver(host: str, port: int) -> Iterable[str]:
        assert (host, port) == ("engines.local", 8000)
        return ["10.0.0.1", "10.0.0.2", "10.0.0.1", "fd00::7"]

    found = await Dns(DnsSettings(host="engines.local", port=8000), resolver).addresses()
    assert found == {"http://10.0.0.1:8000", "http://10.0.0.2:8000", "http://[fd00::7]:8000"}


async def test_a_name_that_does_not_resolve_is_a_failure_and_not_an_empty_pool() -> None:
    async def resolver(host: str, port: int) -> Iterable[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(DiscoveryFailed, match=r"engines\.local does not resolve"):
        await Dns(DnsSettings(host="engines.local", port=8000), resolver).addresses()


async def test_the_systems_resolver_is_asked_by_default() -> None:
    found = await Dns(DnsSettings(host="localhost", port=1234)).addresses()
    assert found & {"http://127.0.0.1:1234", "http://[::1]:1234"}


def endpoint(address: str, **conditions: bool) -> Json:
    return {"addresses": [address], "conditions": conditions}


SLICES = {
    "items": [
        {
            "ports": [{"name": "http", "port": 8000}, {"name": "metrics", "port": 9000}],
            "endpoints": [
                endpoint("10.1.0.1", ready=True),
                endpoint("10.1.0.2", ready=False),
                endpoint("10.1.0.3", ready=True, terminating=True),
                endpoint("10.1.0.4"),
            ],
        },
        {"ports": [{"name": "http", "port": 8001}], "endpoints": [endpoint("fd00::8", ready=True)]},
        {"ports": None, "endpoints": None},
    ]
}


class ScriptedApi:
    """A Kubernetes API server that knows one list of EndpointSlices."""

    def __init__(self) -> None:
        self.answer: Any = SLICES
        self.status = 200
        self.asked: list[tuple[str, Json, str]] = []

    async def slices(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, dict(request.query), request.headers["authorization"]))
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first-token\n")
    (tmp_path / "namespace").write_text("shop\n")
    return tmp_path


async def test_ready_endpoints_of_a_service_are_its_replicas(account: Path) -> None:
    api = ScriptedApi()
    app = web.Application()
    app.router.add_get("/{path:.*}", api.slices)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        root = str(server.make_url("")).rstrip("/")

        def endpoints(**settings: Any) -> KubernetesEndpoints:
            asked = KubernetesSettings(service="vllm", **settings)
            return KubernetesEndpoints(asked, session, api=root, account=account)

        by_name = endpoints(port="http")
        assert await by_name.addresses() == {
            "http://10.1.0.1:8000",
            "http://10.1.0.4:8000",
            "http://[fd00::8]:8001",
        }
        assert await endpoints(port=9000).addresses() == {"http://10.1.0.1:9000", "http://10.1.0.4:9000"}
        (account / "token").write_text("second-token")
        await by_name.addresses()
        await endpoints(port="http", namespace="other").addresses()

        path, query, bearer = api.asked[0]
        assert path == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
        assert query == {"labelSelector": "kubernetes.io/service-name=vllm"}
        assert bearer == "Bearer first-token"
        assert api.asked[2][2] == "Bearer second-token"
        assert "/namespaces/other/" in api.asked[3][0]

        for api.status, api.answer in ((403, {"message": "no"}), (200, {"items": 3}), (200, [])):
            with pytest.raises(DiscoveryFailed, match="vllm"):
                await by_name.addresses()


async def test_an_api_that_cannot_be_asked_is_a_failure(account: Path) -> None:
    asked = KubernetesSettings(service="vllm", port=8000)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(DiscoveryFailed):
            await KubernetesEndpoints(asked, session, api="http://127.0.0.1:9", account=account).addresses()
        (account / "token").unlink()
        with pytest.raises(DiscoveryFailed, match="token"):
            await KubernetesEndpoints(asked, session, api="http://127.0.0.1:9", account=account).addresses()


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ({"urls": ["http://a:1"]}, Static),
        ({"dns": {"host": "a"}}, Dns),
        ({"kubernetes": {"service": "a", "port": 1}}, KubernetesEndpoints),
    ],
)
async def test_settings_name_one_way_of_finding_replicas(found: Json, kind: type) -> None:
    async with aiohttp.ClientSession() as session:
        assert isinstance(discovery_of(PoolSettings(name="main", **found), session), kind)
