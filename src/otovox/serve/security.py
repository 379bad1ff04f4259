"""Access control: a token for other machines, no scripts of other pages, strict headers."""

from hmac import compare_digest
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otovox.serve.settings import ServerSettings, is_loopback

COOKIE = "otovox_token"
#: All resources come from this server; the viewer creates images and workers in memory.
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)
#: Result pages contain scripts; the sandbox denies them access to the server.
SANDBOX = "sandbox allow-scripts allow-popups allow-downloads"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_SAFE = ("GET", "HEAD", "OPTIONS")


class Guard:
    """ASGI middleware that checks every request."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self.settings.token and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            # A page elsewhere whose name was made to point here (DNS rebinding).
            return PlainTextResponse("this server accepts requests to localhost only", 421)
        if scope["method"] not in _SAFE and not self._own_page(headers):
            return PlainTextResponse("requests from other pages are not accepted", 403)
        if self.settings.token:
            return self._without_token(scope, headers)
        return None

    def _own_page(self, headers: Headers) -> bool:
        """Whether a request comes from a page of this server, or not from a web page."""
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        return urlsplit(origin).netloc == headers.get("host") or origin in self.settings.origins

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """Response to a request without the token; a token in the address becomes a cookie."""
        token = self.settings.token
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = query.pop("token", [""])[0]
        if given and compare_digest(given.encode(), token.encode()):
            rest = urlencode(query, doseq=True)
            path = "/" + scope["path"].lstrip("/")
            answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(COOKIE, token, httponly=True, samesite="lax")
            return answer
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        for sent in (_cookie(headers), bearer):
            if sent and compare_digest(sent.encode(), token.encode()):
                return None
        return PlainTextResponse("a token is needed: open the address that the server printed", 401)


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("content-security-policy", POLICY)
        await send(message)

    return sending
