"""Access control: checks on every request before any handler, and security headers on every response."""

import ipaddress
import re
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from multidict import CIMultiDict

from graph_runtime.errors import Problem
from web.api.refusal import problems_response

TOKEN_HEADER = "X-Latentloom-Token"
CHANGING = frozenset({"POST", "PUT", "DELETE", "PATCH"})
UPLOAD = ("POST", "/api/files")
SOCKET = "/api/events"
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "worker-src 'self' blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
)
PORT = re.compile(r"[0-9]{1,5}")
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Guard:
    """Refuses requests that come neither from the editor's own page nor from a program with the token."""

    host: str
    port: int
    token: str

    @property
    def is_local(self) -> bool:
        """Return whether only this machine can reach the server."""
        return self.host == "localhost" or (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    @property
    def cookie(self) -> str:
        """Return the name of the cookie, which contains the port, since browsers send cookies to all ports."""
        return f"latentloom-{self.port}"

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        """Return status and reason if a request must be refused, else None."""
        if not self._is_ours(request.headers.getall("Host", [])):
            return 403, "This address is not one that the server answers to."
        origins = request.headers.getall("Origin", [])
        if any(not origin.startswith("http://") or not self._is_ours([origin[7:]]) for origin in origins):
            return 403, "Requests from pages of another origin are refused."
        if self._is_cross_site(request):
            return 403, "Requests from other sites are refused."
        if not self.is_local and not self.has_token(request):
            return 401, "The access token is missing: open the address that the server printed at its start."
        if request.path == SOCKET and not origins and not self.has_token(request):
            return 403, "A socket without an Origin needs the token."
        if request.method in CHANGING:
            return self._change_refusal(request)
        return None

    def _change_refusal(self, request: web.Request) -> tuple[int, str] | None:
        if not self._matches(request.headers.get(TOKEN_HEADER, "")) and not self._matches(_bearer(request)):
            return 403, f"The header {TOKEN_HEADER} is missing or out of date: load the page again."
        wanted = "application/octet-stream" if (request.method, request.path) == UPLOAD else "application/json"
        stated = request.content_type if "Content-Type" in request.headers else ""
        if request.method != "DELETE" and stated != wanted:
            return 415, f"The body must be {wanted}."
        return None

    def has_token(self, request: web.Request) -> bool:
        """Return whether a request carries the token in a header, the cookie or the query."""
        places = (request.headers.get(TOKEN_HEADER), _bearer(request), request.cookies.get(self.cookie), _query_token(request))
        return any(self._matches(text) for text in places if text)

    def _matches(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(errors="replace"), self.token.encode())

    def _is_ours(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        name, port = _split(hosts[0])
        if port != self.port:
            return False
        if name in ("localhost", "127.0.0.1", "::1", self.host.lower()):
            return True
        # a wildcard has no name of its own; DNS rebinding needs a name, so addresses are safe
        return self.host in ("0.0.0.0", "::") and (_is_address(name) or name == socket.gethostname().lower())

    def _is_cross_site(self, request: web.Request) -> bool:
        site = request.headers.get("Sec-Fetch-Site", "none")
        navigates = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"
        return site not in ("same-origin", "none") and not (navigates and request.path == "/")


GUARD = web.AppKey("guard", Guard)


@web.middleware
async def guarding(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a request or handle it; the printed address with the token is exchanged for a cookie."""
    guard = request.app[GUARD]
    refusal = guard.refusal(request)
    if refusal:
        return problems_response(refusal[0], [Problem(refusal[1])])
    if request.path == "/" and "token" in request.query:
        answer = web.Response(status=303, headers={"Location": "/"})
        if guard.has_token(request):
            answer.set_cookie(guard.cookie, guard.token, httponly=True, samesite="Strict", path="/")
        return answer
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to a response; one with its own policy keeps it."""
    headers: CIMultiDict[str] = response.headers
    headers["Server"] = "latentloom"
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if request.path.startswith("/api/"):
        headers.setdefault("Cache-Control", "no-store")


def _bearer(request: web.Request) -> str:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


def _query_token(request: web.Request) -> str:
    """Return the token in the query, which is allowed only where a client cannot set a header."""
    return request.query.get("token", "") if request.path in ("/", SOCKET) else ""


def _split(host: str) -> tuple[str, int]:
    """Return host and port: `[::1]:8199` becomes `::1` and 8199; the default port is 80."""
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, "80"
    return name.removeprefix("[").removesuffix("]").lower(), int(port) if PORT.fullmatch(port) else -1


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
