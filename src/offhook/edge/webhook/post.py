"""One attempt: sign, post, follow redirects, judge the answer. Never raises for what a receiver does."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace

import aiohttp
from yarl import URL

from offhook.base.clock import Clock
from offhook.base.limits import (
    WEBHOOK_ACCEPTED_LOGGED_BYTES_MAX,
    WEBHOOK_ANSWER_BYTES_MAX,
    WEBHOOK_EXCHANGE_LOGGED_BYTES_MAX,
    WEBHOOK_REDIRECTS_MAX,
)
from offhook.edge.egress import Egress, EgressRefused, EgressUnresolved
from offhook.edge.store import FORM
from offhook.proto.webhook import (
    Verdict,
    WebhookSigner,
    body_of,
    form_of,
    judge_status,
    query_of,
    read_retry_after,
)


@dataclass(frozen=True, slots=True)
class PostResult:
    """What became of one attempt. `reason` is fixed text, never something the receiver said; what it
    said is in `exchange`, JSON for the log of attempts."""

    verdict: Verdict
    status: int | None = None
    reason: str | None = None
    retry_after_s: float | None = None
    exchange: str | None = None


class Poster:
    """Posts signed bodies through one keep-alive pool. The caller bounds how many at once.

    Redirects: up to three of 307 and 308, which keep method and body; every other 3xx fails the
    attempt (contract 3.3). From https to http none is followed.
    """

    def __init__(self, egress: Egress, signer: WebhookSigner, clock: Clock) -> None:
        self._egress = egress
        self._signer = signer
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    def sign_with(self, signer: WebhookSigner) -> None:
        """Sign attempts that begin from now on with another key."""
        self._signer = signer

    async def open(self) -> None:
        """Make the pool."""
        reuse = aiohttp.TraceConfig()
        reuse.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            connector=self._egress.connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding"),
            trace_configs=[reuse],
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def post(
        self,
        data: bytes,
        *,
        event_id: str,
        attempt: int,
        url: str,
        timeout_s: float,
        method: str = "POST",
    ) -> PostResult:
        """Send `data` as attempt number `attempt` and say what came of it.

        By POST it is sent in its envelope; by GET it goes into the query, and the signature covers the
        whole query as sent (contract 3.1). After `FORM` only the payload is sent, as a form.
        """
        form, method = method.startswith(FORM), method.removeprefix(FORM)
        body = None
        try:
            target = _parse(url)
            if method == "GET":
                target = _with_query(target, form_of(data) if form else query_of(data))
        except _NotUsable as err:
            return PostResult(Verdict.REFUSED, reason=str(err))
        if method == "POST":
            body = form_of(data).encode() if form else body_of(data, attempt=attempt, delivered_to=url)
        unix_time = int(self._clock.unix_time())
        headers = self._signer.headers(
            target.raw_query_string.encode() if body is None else body,
            event_id=event_id,
            unix_time=unix_time,
            method=method,
        )
        if form and body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answered: list[PostResult] = []
        result = await self._try(target, body, headers, answered, timeout_s)
        if result.exchange is None:
            result = replace(result, exchange=_exchange_text(headers))
        return result

    async def _try(
        self,
        url: URL,
        body: bytes | None,
        headers: dict[str, str],
        answered: list[PostResult],
        timeout_s: float,
    ) -> PostResult:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._follow(url, body, headers, answered)
        except TimeoutError:
            # A 2xx whose body then stalls is still a yes.
            return answered[0] if answered else PostResult(Verdict.RETRY, reason="timeout")
        except (EgressRefused, _NotUsable) as err:
            return PostResult(Verdict.REFUSED, reason=str(err))
        except EgressUnresolved as err:
            return PostResult(Verdict.RETRY, reason=f"host not resolved: {err.reason}")
        except aiohttp.ClientSSLError:
            return PostResult(Verdict.RETRY, reason="the certificate or the TLS handshake is not acceptable")
        except aiohttp.ClientConnectorError as err:
            return PostResult(Verdict.RETRY, reason=f"no connection: {err.os_error.strerror or 'failed'}")
        except (aiohttp.InvalidURL, ValueError):
            return PostResult(Verdict.REFUSED, reason="the URL is not usable")
        except aiohttp.ServerDisconnectedError:
            return PostResult(Verdict.RETRY, reason="the receiver closed the connection")
        except (aiohttp.ClientError, OSError) as err:
            return (
                answered[0]
                if answered
                else PostResult(Verdict.RETRY, reason=f"network error: {type(err).__name__}")
            )

    async def _follow(
        self, url: URL, body: bytes | None, headers: dict[str, str], answered: list[PostResult]
    ) -> PostResult:
        query = url.raw_query_string
        for _ in range(WEBHOOK_REDIRECTS_MAX + 1):
            target = await self._exchange(url, body, headers, answered)
            if isinstance(target, PostResult):
                return target
            url = _redirected(url, target)
            if body is None and not url.raw_query_string:
                url = _with_query(url, query)
        return PostResult(Verdict.RETRY, reason="too many redirects")

    async def _exchange(
        self, url: URL, body: bytes | None, headers: dict[str, str], answered: list[PostResult]
    ) -> PostResult | str:
        """Post once; return the result, or the location to go to."""
        trace = SimpleNamespace(reused=False)
        try:
            return await self._exchange_once(url, body, headers, answered, trace)
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError):
            if not trace.reused or answered:
                raise
        # A kept connection that was closed under us says nothing about the receiver; ask anew at once
        # rather than make a call wait for the first retry. The event id makes a repetition harmless.
        return await self._exchange_once(url, body, headers, answered, SimpleNamespace(reused=False))

    async def _exchange_once(
        self,
        url: URL,
        body: bytes | None,
        headers: dict[str, str],
        answered: list[PostResult],
        trace: SimpleNamespace,
    ) -> PostResult | str:
        assert self._session is not None, "open() comes first"
        async with self._session.request(
            "GET" if body is None else "POST",
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            trace_request_ctx=trace,
        ) as answer:
            if answer.status in (307, 308) and (location := answer.headers.get("Location")):
                await answer.content.read(WEBHOOK_ANSWER_BYTES_MAX)
                return location
            result = self._judge(answer)
            answered.append(replace(result, exchange=_exchange_text(headers, answer)))
            text = await answer.content.read(WEBHOOK_ANSWER_BYTES_MAX)
            return replace(result, exchange=_exchange_text(headers, answer, text))

    def _judge(self, answer: aiohttp.ClientResponse) -> PostResult:
        verdict = judge_status(answer.status)
        if verdict is Verdict.DELIVERED:
            return PostResult(verdict, answer.status)
        asked = read_retry_after(answer.headers.get("Retry-After"), unix_time=self._clock.unix_time())
        return PostResult(verdict, answer.status, f"HTTP {answer.status}", asked)


def _exchange_text(
    sent: Mapping[str, str], answer: aiohttp.ClientResponse | None = None, body: bytes = b""
) -> str:
    """Return what the log of attempts keeps of an exchange: headers and body, cut to their bounds."""
    kept: dict[str, object] = {"request": _header_list(sent.items(), WEBHOOK_EXCHANGE_LOGGED_BYTES_MAX)}
    if answer is not None:
        accepted = 200 <= answer.status < 300
        most = WEBHOOK_ACCEPTED_LOGGED_BYTES_MAX if accepted else WEBHOOK_EXCHANGE_LOGGED_BYTES_MAX
        kept["response"] = _header_list(answer.headers.items(), most)
        kept["body"] = body[:most].decode("utf-8", "replace")
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _header_list(headers: Iterable[tuple[str, str]], bytes_max: int) -> list[list[str]]:
    kept: list[list[str]] = []
    for name, value in headers:
        # A cookie is a key to the receiver, and no answer to what went wrong.
        shown = "****" if name.lower() in ("set-cookie", "set-cookie2") else value
        bytes_max -= len(name) + len(shown)
        if bytes_max < 0:
            break
        kept.append([name, shown.encode("utf-8", "replace").decode()])
    return kept


class _NotUsable(Exception):
    """A URL that no retry will make usable; the text is fixed."""


def _parse(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        raise _NotUsable("the URL is not usable") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise _NotUsable("the URL is not http or https")
    return url


def _with_query(url: URL, query: str) -> URL:
    # Normalized now, so that a redirect that repeats the query repeats what was signed.
    return URL(f"{url.with_fragment(None)}{'&' if url.raw_query_string else '?'}{query}")


def _redirected(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
    except ValueError:
        raise _NotUsable("the redirect leads to no usable URL") from None
    if target.scheme not in ("http", "https") or not target.host:
        raise _NotUsable("the redirect leads away from http and https")
    if url.scheme == "https" and target.scheme == "http":
        raise _NotUsable("the redirect leads from https to http")
    return target


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = True
