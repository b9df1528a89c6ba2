"""What a Hub holds, and what it answers to requests of each kind; see `hub_server.py`."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import yaml

TOKEN = "hf_aTokenThatMustNeverBeSeen1234567890"
SIGNATURE = "aSignatureThatMustNeverBeSeen"
OWNER = "me"
_WRITES = ("create", "preupload", "batch", "commit", "tag")


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


def is_lfs(path: str) -> bool:
    """Tell whether the Hub keeps a file as a large one."""
    return path.endswith((".tar", ".png", ".safetensors"))


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


class Answer(NamedTuple):
    status: int = 200
    data: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))


class Answers:
    """What a request is answered, once it is known of which kind it is.

    Attributes:
        kind: See `hub_server.py`.
        groups: The parts of its path: `type`, `name` (of the repository), `revision`, `path`, `oid`.
        body: What came with it.
    """

    kind: str
    groups: dict[str, str]
    body: bytes
    command: str
    path: str
    headers: Any
    hub: Any

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
        metadata = yaml.safe_load(self._json()["content"].removeprefix("---\n").partition("\n---\n")[0])
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
            lfs, blob = is_lfs(asked["path"]), tree.get(asked["path"])
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
