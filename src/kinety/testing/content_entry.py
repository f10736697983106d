"""What a probe's entry says of its content, checked."""

import re
from collections.abc import Callable

from kinety.policy.diagnosis import closest
from kinety.policy.document import Path
from kinety.testing.content import REFUSALS, Content, DnsQuestion, HttpRequest, TlsHello
from kinety.testing.entry import HttpEntry, ProbeEntry

#: RFC 9110, 5.6.2.
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+\Z")
#: Visible characters, as a request's first line has them. Source: RFC 9112, 3.
_PATH = re.compile(r"/[!-~]*\Z")
#: What proxies rewrite or refuse before they judge: such a path is not the one that a rule meets.
_REWRITTEN = re.compile(r"//|/\.{1,2}(?:[/?]|\Z)|[\\#]|%(?:2[fe]|5c)", re.IGNORECASE)
_VALUE = re.compile(r"[!-~](?:[ !-~]*[!-~])?\Z")
_LABEL = r"[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\Z")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
_NAME_HINT = "write a name in lower case, without the last dot"
#: Ours, or of the connection rather than the request.
_RESERVED = ("host", "connection", "content-length", "transfer-encoding", "upgrade", "kinety-probe")
#: Says what is wrong at a path below the probe, with a hint.
Report = Callable[[Path, str, str], None]


def content_of(found: ProbeEntry, report: Report) -> Content | None:
    """What a probe's entry says of its content; None when it says nothing, or something was reported."""
    given = [field for field in REFUSALS.values() if getattr(found, field) is not None]
    if len(given) > 1:
        report((given[1],), f"a probe cannot be {given[0]} and {given[1]} at once", "make two of it")
        return None
    if found.http is not None:
        return _request(found.http, report)
    if found.dns is not None:
        name = found.dns.name
        if not _NAME.match(name):
            report(("dns", "name"), f"{name!r} is not a name to ask for", _NAME_HINT)
        return DnsQuestion(name)
    if found.tls is not None:
        name = found.tls.serverName
        if not _NAME.match(name):
            report(("tls", "serverName"), f"{name!r} is not a server's name", _NAME_HINT)
        return TlsHello(name)
    return None


def _request(found: HttpEntry, report: Report) -> HttpRequest:
    method, path, host = found.method, found.path, found.host
    if not _TOKEN.match(method) or method == "CONNECT":
        report(("http", "method"), f"{method!r} is not a method that a probe can use", "")
    elif method not in _METHODS and (meant := closest(method, _METHODS)):
        report(("http", "method"), f"{method!r} is not a method", f"did you mean {meant}?")
    if not _PATH.match(path):
        hint = "begin with / and percent-encode what is not a visible ASCII character"
        report(("http", "path"), f"{path!r} is not a path", hint)
    elif _REWRITTEN.search(path.partition("?")[0]) or "#" in path:
        hint = "write it as the server sees it: without //, /./, /../, \\, # and encoded slashes and dots"
        report(("http", "path"), f"a proxy would judge another path than {path!r}", hint)
    if host is not None and not _NAME.match(host):
        report(("http", "host"), f"{host!r} is not a host", f"{_NAME_HINT} and without a port")
    for name, value in found.headers.items():
        if name.lower() in _RESERVED:
            hint = "write `host:` beside method and path" if name.lower() == "host" else ""
            report(("http", "headers", name), f"a probe sets {name} itself", hint)
        elif not _TOKEN.match(name):
            report(("http", "headers", name), f"{name!r} is not the name of a header", "")
        elif not _VALUE.match(value):
            report(("http", "headers", name), f"{value!r} is not the value of a header", "")
    return HttpRequest(method, path, host, tuple(found.headers.items()))
