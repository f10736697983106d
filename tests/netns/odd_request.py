"""Requests that somebody might read differently than the rules do, and what becomes of each.

In force: ``GET /public/.*`` and ``POST /public/p``. The tables in docs/reference/http-rules.md are these.
"""

from dataclasses import dataclass

_HOST = b"Host: h\r\n"
_PASSES = b"GET /public/a HTTP/1.1\r\nHost: h"
_POST = b"POST /public/p HTTP/1.1\r\nHost: h"
_CHUNKED = b"\r\nTransfer-Encoding: chunked"
_LONG = 70_000


@dataclass(frozen=True, slots=True)
class Odd:
    """What is sent, and the statuses it is answered with; ``arrives`` is what the server gets: heads, bodies.

    ``what`` and ``why`` are Markdown.
    """

    what: str
    sent: bytes
    statuses: tuple[int, ...]
    arrives: tuple[tuple[bytes, bytes], ...] = ()
    why: str = ""

    @property
    def row(self) -> str:
        """A line of the table in the documents."""
        if self.arrives:
            fate = "; ".join(_shown(head) for head, _ in self.arrives)
            fate += "".join(f", then {status}" for status in self.statuses if status != 200)
        else:
            fate = str(self.statuses[0])
        return f"| {self.what} | {fate} | {self.why} |"


def _shown(head: bytes) -> str:
    """A head as the table has it: the request line, and headers that are not the usual ones."""
    line, *headers = head.decode("latin-1").split("\r\n")
    more = [each for each in headers if each not in ("Host: h", "Transfer-Encoding: chunked")]
    return f"`{line.removesuffix(' HTTP/1.1')}`" + "".join(f", `{each.strip()}`" for each in more)


def _target(target: str, becomes: int | str, why: str = "") -> Odd:
    """A request for a target, and its status or the target that arrives."""
    sent = b"GET " + target.encode("latin-1") + b" HTTP/1.1\r\n" + _HOST + b"\r\n"
    what = f"`{target}`" if target.isprintable() else target.encode("unicode_escape").decode()
    if isinstance(becomes, int):
        return Odd(what, sent, (becomes,), (), why)
    return Odd(what, sent, (200,), ((f"GET {becomes} HTTP/1.1\r\nHost: h".encode("latin-1"), b""),), why)


def _refused(what: str, sent: bytes, status: int = 400, why: str = "") -> Odd:
    return Odd(what, sent, (status,), (), why)


def _passes(what: str, sent: bytes, head: bytes = _PASSES, body: bytes = b"", why: str = "") -> Odd:
    return Odd(what, sent, (200,), ((head, body),), why)


def _get(*headers: bytes, line: bytes = b"GET /public/a HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *headers, b"", b""])


def _post(*headers: bytes, body: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([b"POST /public/p " + version, b"Host: h", *headers, b"", body])


PATHS = (
    _target("/public/../secret", 403, "judged as `/secret`"),
    _target("/secret/../public/a", "/public/a"),
    _target("/public/./a", "/public/a"),
    _target("/public/%2e%2E/secret", 403, "judged as `/secret`"),
    _target("/public/.%2e/secret", 403, "judged as `/secret`"),
    _target("//public///a", "/public/a"),
    _target("/%70ublic/a", "/public/a", "what needs no escape is judged and sent without"),
    _target("/public\\a", "/public/a", "some servers take `\\` for `/`; so does the judge"),
    _target("/public/..\\secret", 403, "judged as `/secret`"),
    _target("/public%2fa", 400, "nobody knows whether the server takes it for `/`"),
    _target("/public/..%2Fsecret", 400, "the same"),
    _target("/public/..%5csecret", 400, "the same"),
    _target("/public/..;/secret", 403, "judged as `/secret`; Java servers cut `;…` off first"),
    _target("/public/%2e%2e;/secret", 400, "the same, half read"),
    _target("/public/a;x=1", "/public/a;x=1"),
    _target("/public/%252e%252e/secret", 400, "for servers that read escapes twice"),
    _target("/public/..%252fsecret", 400, "the same"),
    _target("/public/%c0%ae%c0%ae/secret", 400, "overlong UTF-8, which old readers take for dots"),
    _target("/public/%00", 400, "ends the path of readers in C"),
    _target("/public/\0", 400),
    _target("/public/a\tb", 400),
    _target("/public/a b", 400),
    _target("/public/\xff", 400, "bytes beyond ASCII must be escaped"),
    _target("/PUBLIC/a", 403, "case makes a difference"),
    _target("/public/a?b=c", "/public/a?b=c", "the query is judged with the path"),
    _target("/secret?/public/a", 403),
    _target("/public/?/../secret", "/public/?/../secret", "a query is no path"),
    _target("/public/%3f/../../secret", 403, "judged as `/secret`"),
    _target("/public/a#/../../secret", 400, "fragments are not sent"),
    _target("public/a", 400),
    _target("http://other/secret", 403, "absolute form: judged as `/secret` at `other`"),
    Odd(
        "`http://other/public/a`",
        _get(b"Host: h", line=b"GET http://other/public/a HTTP/1.1"),
        (200,),
        ((b"GET /public/a HTTP/1.1\r\nHost: other", b""),),
        "the host is the target's, as RFC 9112, 3.2.2, has it",
    ),
    _target("http://other?/public/a", 404),
    _target("//other/public/a", 403, "a path, judged as `/other/public/a`"),
    _refused("`OPTIONS *`", _get(b"Host: h", line=b"OPTIONS * HTTP/1.1"), 404, "there is no path to judge"),
    _refused("`CONNECT h:80`", _get(b"Host: h:80", line=b"CONNECT h:80 HTTP/1.1"), 403, "never passes"),
    _refused("`TRACE`", _get(b"Host: h", line=b"TRACE /public/a HTTP/1.1"), 403, "as the rules say"),
    _refused("a method nobody registered", _get(b"Host: h", line=b"FOO /public/a HTTP/1.1")),
    _refused("a method in lower case", _get(b"Host: h", line=b"get /public/a HTTP/1.1")),
)
HOSTS = (
    _refused("no Host", _get()),
    _passes("an empty Host", _get(b"Host:"), b"GET /public/a HTTP/1.1\r\nHost: ", why="judged as such"),
    _refused("two Hosts", _get(b"Host: h", b"Host: g")),
    _refused("`Host: h,g`", _get(b"Host: h,g")),
    _refused("`Host: a@h`", _get(b"Host: a@h")),
    _refused("`Host: h/../g`", _get(b"Host: h/../g")),
    _refused("`Host : h`", _get(b"Host : h")),
    _passes(
        "`Host: h.`", _get(b"Host: h."), b"GET /public/a HTTP/1.1\r\nHost: h.", why="another host than `h`"
    ),
    _passes("`Host: H`", _get(b"Host: H"), b"GET /public/a HTTP/1.1\r\nHost: H", why="another host than `h`"),
    _passes("`Host: h:80`", _get(b"Host: h:80"), b"GET /public/a HTTP/1.1\r\nHost: h:80", why="the same"),
)
FRAMES = (
    _refused(
        "Content-Length and Transfer-Encoding",
        _post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nX"),
    ),
    _refused("two Content-Lengths", _post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab")),
    _refused("the same one twice", _post(b"Content-Length: 2", b"Content-Length: 2", body=b"ab")),
    _refused("`Content-Length: 2, 2`", _post(b"Content-Length: 2, 2", body=b"ab")),
    _refused("`Content-Length: +2`", _post(b"Content-Length: +2", body=b"ab")),
    _refused("`Content-Length: -2`", _post(b"Content-Length: -2", body=b"ab")),
    _refused("`Transfer-Encoding: xchunked`", _post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 501),
    _refused(
        "`Transfer-Encoding: gzip, chunked`",
        _post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        501,
    ),
    _refused("`Transfer-Encoding: identity`", _post(b"Transfer-Encoding: identity", body=b""), 501),
    _refused(
        "two Transfer-Encodings",
        _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        501,
    ),
    _refused("`Transfer-Encoding : chunked`", _post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    _refused(
        "`Transfer-Encoding: \\x0bchunked`", _post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n")
    ),
    _passes(
        "`Transfer-Encoding:\\tChunked`",
        _post(b"Transfer-Encoding:\tChunked", body=b"0\r\n\r\n"),
        _POST + _CHUNKED,
        b"0\r\n\r\n",
        "written anew",
    ),
    _passes(
        "the same in HTTP/1.0",
        _post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"HTTP/1.0"),
        _POST + _CHUNKED,
        b"0\r\n\r\n",
        "written anew, and the connection ends",
    ),
    _passes(
        "chunks with extensions and trailers",
        _post(b"Transfer-Encoding: chunked", body=b"2;a=b\r\nab\r\n0\r\nX-T: 1\r\n\r\n"),
        _POST + _CHUNKED,
        b"2\r\nab\r\n0\r\n\r\n",
        "without both",
    ),
    _refused(
        "`0x2` for the length of a chunk",
        _post(b"Transfer-Encoding: chunked", body=b"0x2\r\nab\r\n0\r\n\r\n"),
    ),
    _passes(
        "a body of `GET`",
        _get(b"Host: h", b"Content-Length: 2") + b"ab",
        _PASSES + b"\r\nContent-Length: 2",
        b"ab",
    ),
    Odd(
        "one request right after another",
        _get(b"Host: h") + _get(b"Host: h", line=b"GET /secret HTTP/1.1"),
        (200, 403),
        ((_PASSES, b""),),
        "each is judged",
    ),
)
HEADERS = (
    _refused("`X-A : b`", _get(b"Host: h", b"X-A : b")),
    _refused("` X-A: b` as the first header", _get(b" X-A: b", b"Host: h")),
    _passes(
        "a value folded into two lines",
        _get(b"Host: h", b"X-A: b\r\n c"),
        _PASSES + b"\r\nX-A: b c",
        why="judged and sent as one",
    ),
    _passes(
        "a lone CR in a value",
        _get(b"Host: h", b"X-A: b\rX-B: c"),
        _PASSES + b"\r\nX-A: bX-B: c",
        why="judged and sent without",
    ),
    _refused("NUL in a value", _get(b"Host: h", b"X-A: b\0c")),
    _refused("`X(A: b`", _get(b"Host: h", b"X(A: b")),
    _refused("`: b`", _get(b"Host: h", b": b")),
    _passes(
        "`X_A: b`",
        _get(b"Host: h", b"X_A: b"),
        _PASSES + b"\r\nX_A: b",
        why="400 where rules name `X-A`: to many servers it is the same",
    ),
    _passes(
        "`Connection: X-A`",
        _get(b"Host: h", b"Connection: X-A", b"X-A: b"),
        why="such headers end at the proxy",
    ),
    _refused("`Connection: Host`", _get(b"Host: h", b"Connection: Host")),
    _refused("headers of more than 60 KiB", _get(b"Host: h", b"X-A: " + b"a" * _LONG), 431),
    _refused("more than 100 headers", _get(b"Host: h", *(b"X-%d: a" % number for number in range(150))), 431),
    _refused(
        "a path of more than 60 KiB",
        _get(b"Host: h", line=b"GET /public/" + b"a" * _LONG + b" HTTP/1.1"),
        431,
    ),
    _passes(
        "`Upgrade: h2c`",
        _get(
            b"Host: h",
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
        ),
        why="answered in HTTP/1.1",
    ),
    _refused(
        "`Upgrade: tcp`",
        _get(b"Host: h", b"Connection: Upgrade", b"Upgrade: tcp"),
        403,
        "what would come then could not be judged",
    ),
    _passes(
        "`X-Envoy-Retry-On: 5xx`", _get(b"Host: h", b"X-Envoy-Retry-On: 5xx"), why="nobody steers the proxy"
    ),
)
VERSIONS = (
    _refused("HTTP/0.9", b"GET /public/a\r\n\r\n"),
    _passes("HTTP/1.0 with a Host", _get(b"Host: h", line=b"GET /public/a HTTP/1.0"), why="sent as HTTP/1.1"),
    _refused("HTTP/1.0 without", _get(line=b"GET /public/a HTTP/1.0")),
    _passes("lines that end in LF alone", b"GET /public/a HTTP/1.1\nHost: h\n\n", why="written anew"),
    _passes("empty lines before a request", b"\r\n\r\n" + _get(b"Host: h"), why="left out"),
    _passes(
        "more than one space in the request line",
        _get(b"Host: h", line=b"GET  /public/a  HTTP/1.1"),
        why="written anew",
    ),
    _refused("TLS", bytes.fromhex("16030100050100000100")),
)
TABLE = {
    "Targets": PATHS,
    "Hosts": HOSTS,
    "Where a request ends": FRAMES,
    "Headers": HEADERS,
    "Versions": VERSIONS,
}


def tables() -> str:
    """All of it, as the documents have it."""
    parts = []
    for title, odd in TABLE.items():
        head = [f"### {title}", "", "| sent | becomes | because |", "|---|---|---|"]
        parts.append("\n".join([*head, *(each.row for each in odd)]))
    return "\n\n".join(parts) + "\n"
