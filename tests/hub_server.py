"""A Hugging Face hub of one model, on this machine: as much of it as fetching a snapshot asks."""

import contextlib
import hashlib
import http.server
import json
import threading
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(http.server.BaseHTTPRequestHandler):
    """It has the files of ``server.files`` under ``user/model``, at the revision ``main``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = urlsplit(self.path).path
        self.server.asked.append((self.command, path))
        if path == "/api/models/user/model/revision/main":
            self._json({"id": "user/model", "sha": COMMIT, "siblings": []})
        elif path == f"/api/models/user/model/tree/{COMMIT}":
            self._json(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": self._oid(data)}
                    for name, data in self.server.files.items()
                ]
            )
        elif path.startswith(f"/user/model/resolve/{COMMIT}/"):
            data = self.server.files[path.rpartition("/")[2]]
            self._answer(200, data, {"ETag": f'"{self._oid(data)}"', "X-Repo-Commit": COMMIT})
        elif path.startswith("/api/models/user/model/"):
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/api/models/user/secret/"):
            self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        else:
            self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the library calls it so

    def _json(self, found):
        self._answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _answer(self, status, data, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @staticmethod
    def _oid(data):
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def hub(files):
    """The hub's address, and the list of what it is asked for, while it runs.

    Args:
      files: bytes by name.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        server.daemon_threads = True
        server.files, server.asked = files, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.asked
        finally:
            server.shutdown()
            thread.join()
