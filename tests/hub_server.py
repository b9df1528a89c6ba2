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

Faults: `429`, `429-now` (with Retry-After: 0), `500`, `503`, `403`, `cut` (the connection ends in the middle, nothing
is done), `lost` (it is done, and the answer is cut), `slow` (the answer trickles), `short` (half of the answer, called
whole), `wrong` (a changed byte), `echo` (403, with the request's secrets in the answer).
"""

import base64
import hashlib
import json
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

TOKEN = "hf_aTokenThatMustNeverBeSeen1234567890"
SIGNATURE = "aSignatureThatMustNeverBeSeen"
OWNER = "me"
_LFS = (".tar", ".png", ".safetensors")


class Blob(NamedTuple):
    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def oid(self) -> str:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        data = pointer.encode() if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        lfs = {"lfs": {"oid": self.sha256, "size": len(self.data), "pointerSize": 134}} if self.lfs else {}
        return {"type": "file", "path": path, "oid": self.oid, "size": len(self.data), **lfs}


Tree = dict[str, Blob]


@dataclass
class Repo:
    private: bool = False
    commits: dict[str, Tree] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)

    def commit(self, tree: Tree, branch: str = "main") -> str:
        listing = [[path, blob.oid] for path, blob in sorted(tree.items())]
        oid = hashlib.sha1(json.dumps([len(self.commits), listing]).encode()).hexdigest()
        self.commits[oid] = dict(tree)
        self.branches[branch] = oid
        return oid

    def resolve(self, revision: str) -> str:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise RefusalError(404, "RevisionNotFound", "Invalid rev id")
        return oid


class RefusalError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Request(NamedTuple):
    kind: str
    path: str
    size: int


class Answer(NamedTuple):
    status: int = 200
    data: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012


def as_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


@dataclass
class _Fault:
    how: str
    skip: int
    times: int


class Hub:
    """The server; its state is in `repos`, by (type, owner/name), and what it was asked in `requests`."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.requests: list[Request] = []
        self.pauses: list[float] = []
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

    def __exit__(self, *_: object) -> None:
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
        new = {path: Blob(data, path.endswith(_LFS)) for path, data in files.items()}
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
_WRITES = ("create", "preupload", "batch", "commit", "tag")


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

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
        if fault and fault[:3].isdigit():
            answer = as_json({"error": "fault on demand"}, int(fault[:3]))
            return answer._replace(headers={"Retry-After": "0"}) if fault.endswith("-now") else answer
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

    @property
    def _type(self) -> str:
        return self.groups.get("type", "model").removesuffix("s")

    @property
    def _repo(self) -> Repo:
        return self.hub.repos[self._type, self.groups["name"]]

    def _check_rights(self) -> None:
        """Signed addresses need no token; all else of a private repository does, and every change."""
        if self.kind in ("put", "verify", "cdn"):
            if self.kind != "verify" and parse_qs(urlsplit(self.path).query).get("X-Amz-Signature") != [SIGNATURE]:
                raise RefusalError(403, "", "signature missing")
            return
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.headers.get("Authorization") and not known:
            raise RefusalError(401, "", "Invalid credentials in Authorization header")
        if self.kind in _WRITES and not known:
            raise RefusalError(401, "", "Invalid username or password.")
        if "name" in self.groups:
            repo = self.hub.repos.get((self._type, self.groups["name"]))
            if repo is None or (repo.private and not known):
                raise RefusalError(404 if known else 401, "RepoNotFound", "Repository not found")
            if self.kind in _WRITES and not self.groups["name"].startswith(f"{OWNER}/"):
                raise RefusalError(403, "", "You do not have the rights to change this repository.")

    def _json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value

    def _on_create(self) -> Answer:
        asked = self._json()
        name, kind = f"{asked['organization']}/{asked['name']}", asked.get("type", "model")
        if asked["organization"] != OWNER:
            raise RefusalError(403, "", f"You don't have the rights to create a {kind} under the namespace {name!r}.")
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repos:
            return as_json({"error": f"You already created this {kind} repo", "url": url}, 409)
        self.hub.add(name, kind, {".gitattributes": b"*.tar filter=lfs"}, asked.get("visibility") == "private")
        return as_json({"url": url, "name": name})

    def _on_validate(self) -> Answer:
        metadata = yaml.safe_load(self._json()["content"].split("---\n")[1])
        licence = metadata.get("license")
        if licence is None or re.fullmatch(r"[a-z0-9.+-]+", licence):
            return as_json({"errors": [], "warnings": []})
        return as_json(
            {"errors": [{"message": '"license" must be one of [apache-2.0, mit, ...]'}], "warnings": []}, 400
        )

    def _on_info(self) -> Answer:
        repo = self._repo
        sha = repo.resolve(self.groups.get("revision", "main"))
        siblings = [{"rfilename": path} for path in sorted(repo.commits[sha])]
        tail = {"sha": sha, "private": repo.private, "siblings": siblings, "tags": [], "cardData": {}}
        return as_json({"id": self.groups["name"], **tail})

    def _on_refs(self) -> Answer:
        refs = {
            kind: [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in named.items()]
            for kind, named in (("heads", self._repo.branches), ("tags", self._repo.tags))
        }
        return as_json({"branches": refs["heads"], "tags": refs["tags"], "converts": []})

    def _tree(self) -> Tree:
        return self._repo.commits[self._repo.resolve(self.groups["revision"])]

    def _on_tree(self) -> Answer:
        below = f"{self.groups['path']}/" if "path" in self.groups else ""
        found = {path: blob for path, blob in sorted(self._tree().items()) if path.startswith(below)}
        if below and not found:
            raise RefusalError(404, "EntryNotFound", "no such folder")
        if parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true":
            return as_json([blob.entry(path) for path, blob in found.items()])
        return as_json([self._entry(below + path[len(below) :].split("/")[0]) for path in found])

    def _entry(self, path: str) -> dict[str, Any]:
        blob = self._tree().get(path)
        return blob.entry(path) if blob else {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}

    def _on_paths(self) -> Answer:
        tree = self._tree()
        asked = parse_qs(self.body.decode()).get("paths", [])
        there = [path for path in asked if path in tree or any(one.startswith(f"{path}/") for one in tree)]
        return as_json([self._entry(path) for path in there])

    def _on_preupload(self) -> Answer:
        tree = self._tree()

        def plan(asked: dict[str, Any]) -> dict[str, Any]:
            lfs, blob = asked["path"].endswith(_LFS), tree.get(asked["path"])
            oid = {"oid": blob.sha256 if lfs else blob.oid} if blob else {}
            mode = "lfs" if lfs else "regular"
            return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, **oid}

        return as_json({"files": [plan(asked) for asked in self._json()["files"]]})

    def _on_batch(self) -> Answer:
        objects = []
        for asked in self._json()["objects"]:
            place = f"/{self._type}-objects/{self.groups['name']}/{asked['oid']}"
            actions = {
                "upload": {"href": f"{self.hub.other_host}{place}?X-Amz-Signature={SIGNATURE}"},
                "verify": {"href": f"{self.hub.url}{place}"},
            }
            objects.append(asked | ({} if asked["oid"] in self._repo.objects else {"actions": actions}))
        return as_json({"transfer": "basic", "objects": objects})

    def _on_put(self) -> Answer:
        if hashlib.sha256(self.body).hexdigest() != self.groups["oid"]:
            raise RefusalError(400, "", "the content is not what was announced")
        self._repo.objects[self.groups["oid"]] = self.body
        self._repo.uploads.append(self.groups["oid"])
        return Answer()

    def _on_verify(self) -> Answer:
        if self.groups["oid"] not in self._repo.objects:
            raise RefusalError(404, "EntryNotFound", "no such object")
        return as_json({})

    def _on_commit(self) -> Answer:
        repo, branch = self._repo, self.groups["revision"]
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit", repo.branches[branch]) != repo.branches[branch]:
            raise RefusalError(412, "", "A commit has happened since. Please refresh and try again.")
        tree = dict(repo.commits[repo.branches[branch]])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = Blob(base64.b64decode(value["content"]), lfs=False)
            elif line["key"] == "lfsFile":
                tree[value["path"]] = Blob(repo.objects[value["oid"]], lfs=True)
            elif tree.pop(value["path"], None) is None:
                raise RefusalError(404, "EntryNotFound", "A file with this name doesn't exist")
        oid = repo.commit(tree, branch)
        return as_json({"commitUrl": f"{self.hub.url}/{self.groups['name']}/commit/{oid}", "commitOid": oid})

    def _on_tag(self) -> Answer:
        tag = self._json()["tag"]
        if tag in self._repo.tags:
            raise RefusalError(409, "", "Tag reference exists already")
        self._repo.tags[tag] = self._repo.resolve(self.groups["revision"])
        return as_json({})

    def _on_get(self) -> Answer:
        commit = self._repo.resolve(self.groups["revision"])
        headers = {"X-Repo-Commit": commit}
        blob = self._repo.commits[commit].get(self.groups["path"])
        if blob is None:
            raise RefusalError(404, "EntryNotFound", "Entry not found")
        if not blob.lfs:
            return self._ranged(blob.data, headers | {"ETag": f'"{blob.oid}"'})
        self._repo.objects[blob.sha256] = blob.data
        place = f"/{self._type}-objects/{quote(self.groups['name'])}/{blob.sha256}?X-Amz-Signature={SIGNATURE}"
        linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
        return Answer(302, b"", headers | linked | {"Location": self.hub.other_host + place})

    _on_head = _on_get

    def _on_cdn(self) -> Answer:
        return self._ranged(self._repo.objects[self.groups["oid"]], {"ETag": f'"{self.groups["oid"]}"'})

    def _ranged(self, data: bytes, headers: dict[str, str]) -> Answer:
        headers = headers | {"Accept-Ranges": "bytes"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found:
            return Answer(200, data, headers)
        start, end = int(found[1]), min(int(found[2] or len(data) - 1), len(data) - 1)
        piece = data[start : end + 1]
        return Answer(206, piece, headers | {"Content-Range": f"bytes {start}-{end}/{len(data)}"})
