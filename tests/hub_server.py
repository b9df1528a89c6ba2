"""A Hugging Face Hub on this machine: what the real client asks for, with faults on demand.

    with Hub() as hub:                                  # or the fixture `hub`, which points this process's client at it
        subprocess.run(..., env=os.environ | hub.env(tmp_path))
        hub.fail("commit", "503", times=1)              # the next commit is refused
        hub.files("me/set", "dataset", "v1")            # what a tag holds: {path: bytes}
        hub.count("put")                                # how many uploads were asked for
        hub.repos["dataset", "me/set"].uploads          # SHA-256 of each LFS object that arrived

Kinds of requests: `create`, `validate`, `info`, `refs`, `tree`, `paths`, `preupload`, `batch` (LFS), `put` and `verify`
(of one LFS object), `commit`, `tag`, `head` and `get` (of a file; that of an LFS file is answered with a signed address
of another host, as on the real Hub), `cdn` (that address).

Faults: a status like `403` or `503`, `429:7` (with Retry-After: 7), `cut` (the connection ends in the middle, nothing
is done), `lost` (it is done, and the answer is cut), `slow` (the answer trickles), `short` (half of the answer, called
whole), `wrong` (a changed byte), `echo` (403, with the request's secrets in the answer),
`say {}` (200, with these words as the answer), `hang` (no answer until the server ends; `hub.hanging` tells of it).
"""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tests.hub_answers import SIGNATURE, TOKEN, Answer, Answers, Blob, RefusalError, Repo, as_json, is_lfs

__all__ = ["SIGNATURE", "TOKEN", "Hub"]


class Request(NamedTuple):
    kind: str
    path: str
    size: int


@dataclass
class _Fault:
    how: str
    skip: int
    times: int


class Hub:
    """The server; `repos` is its state, by (type, owner/name), `requests` what it was asked, `fired` its faults."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[Request] = []
        self.pauses: list[float] = []
        self.fired = 0
        self.hanging, self._over = Event(), Event()
        self._faults: dict[str, list[_Fault]] = {}
        self._lock = Lock()
        handler = type("BoundHandler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.other_host = f"http://localhost:{self.port}"

    def __enter__(self) -> "Hub":
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def hang(self) -> None:
        self.hanging.set()
        self._over.wait()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def env(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a process that takes this for the Hub, with its caches in `home`."""
        known = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        return known | {"HF_TOKEN": token or "", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "" if token else "1"}

    def fail(self, kind: str, how: str, *, skip: int = 0, times: int = 10**6) -> None:
        """Let requests of a kind fail, after `skip` good ones, `times` times."""
        self._faults.setdefault(kind, []).append(_Fault(how, skip, times))

    def heal(self) -> None:
        self._faults.clear()

    def count(self, *kinds: str) -> int:
        return sum(request.kind in kinds for request in self.requests)

    def add(self, name: str, kind: str, files: dict[str, bytes], private: bool = False) -> str:
        """Commit files as somebody else would, on top of what is there; gives the commit."""
        repo = self.repos.setdefault((kind, name), Repo(private))
        old = repo.commits.get(repo.branches.get("main", ""), {})
        new = {path: Blob(data, is_lfs(path)) for path, data in files.items()}
        return repo.commit(old | new)

    def files(self, name: str, kind: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[kind, name]
        return {path: blob.data for path, blob in repo.commits[repo.resolve(revision)].items()}

    def take_fault(self, kind: str) -> str | None:
        with self._lock:
            for fault in self._faults.get(kind, []):
                if fault.skip:
                    fault.skip -= 1
                elif fault.times:
                    fault.times -= 1
                    self.fired += 1
                    return fault.how
        return None


_NAME = r"(?P<name>[^/]+/[^/]+)"
_API = rf"/api/(?P<type>models|datasets)/{_NAME}"
_GIT = rf"/(?:(?P<type>datasets)/)?{_NAME}"
_ROUTES = [
    ("create", "POST", r"/api/repos/create"),
    ("validate", "POST", r"/api/validate-yaml"),
    ("batch", "POST", rf"{_GIT}\.git/info/lfs/objects/batch"),
    ("put", "PUT", r"/(?P<type>model|dataset)-objects/(?P<name>[^/]+/[^/]+)/(?P<oid>\w+)"),
    ("verify", "POST", r"/(?P<type>model|dataset)-objects/(?P<name>[^/]+/[^/]+)/(?P<oid>\w+)"),
    ("cdn", "GET|HEAD", r"/(?P<type>model|dataset)-objects/(?P<name>[^/]+/[^/]+)/(?P<oid>\w+)"),
    ("refs", "GET", rf"{_API}/refs"),
    ("tree", "GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?"),
    ("paths", "POST", rf"{_API}/paths-info/(?P<revision>[^/]+)"),
    ("preupload", "POST", rf"{_API}/preupload/(?P<revision>[^/]+)"),
    ("commit", "POST", rf"{_API}/commit/(?P<revision>[^/]+)"),
    ("tag", "POST", rf"{_API}/tag/(?P<revision>[^/]+)"),
    ("info", "GET", rf"{_API}(?:/revision/(?P<revision>[^/]+))?"),
    ("head", "HEAD", rf"{_GIT}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    ("get", "GET", rf"{_GIT}/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
]


class _Handler(Answers, BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for the acknowledgement of its headers

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        path = urlsplit(self.path).path
        self.kind, self.groups = "unknown", dict[str, str]()
        for kind, methods, pattern in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in methods.split("|"):
                self.kind = kind
                self.groups = {name: unquote(value) for name, value in found.groupdict().items() if value}
                break
        fault = self.hub.take_fault(self.kind)
        if fault == "hang":
            self.hub.hang()
            self._hang_up()
            return
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length // 2 if fault == "cut" else length)
        self.hub.requests.append(Request(self.kind, path, len(self.body)))
        if fault == "cut" and self.command != "GET":
            self._hang_up()
            return
        self._send(self._faulty(fault) or self._answer(), fault)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815  the names that the base class looks for

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _faulty(self, fault: str | None) -> Answer | None:
        if fault == "echo":
            secrets = f"Authorization: {self.headers.get('Authorization')} {self.hub.url}/x?X-Amz-Signature={SIGNATURE}"
            answer = as_json({"error": f"No entry. {secrets}"}, 403)
            return answer._replace(headers={**answer.headers, "X-Error-Message": secrets, "X-Request-Id": secrets})
        if fault and fault.startswith("say "):
            return Answer(200, fault[4:].encode(), {"Content-Type": "application/json"})
        if fault and fault[:3].isdigit():
            pause = {"Retry-After": fault[4:]} if fault[4:] else {}
            return as_json({"error": "fault on demand"}, int(fault[:3]), pause)
        return None

    def _send(self, answer: Answer, fault: str | None) -> None:
        data = answer.data
        if fault == "wrong":
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        if fault == "short":
            data = data[: len(data) // 2]
        self.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(data))} | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "lost"):
            self.wfile.write(data[: len(data) // 2])
            self._hang_up()
            return
        pieces = 4 if fault == "slow" else 1
        size = -(-len(data) // pieces) or 1
        for start in range(0, len(data), size):
            self.wfile.write(data[start : start + size])
            if pieces > 1:
                Event().wait(0.01)

    def _answer(self) -> Answer:
        try:
            if self.kind == "unknown":
                raise RefusalError(404, "EntryNotFound", f"nothing at {self.path}")
            self._check_rights()
            answer: Callable[[], Answer] = getattr(self, f"_on_{self.kind}")
            return answer()
        except RefusalError as refusal:
            answered = as_json({"error": str(refusal)}, refusal.status)
            return answered._replace(headers={**answered.headers, "X-Error-Code": refusal.code})
