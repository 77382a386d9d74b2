"""A service that knows accounts and wants tokens, each good for 500 questions. Ctrl-C ends it."""

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD_FOR = 500
left: dict[str, int] = {}


class Service(BaseHTTPRequestHandler):
    """Answers `/token` and `/accounts/N`."""

    def do_GET(self) -> None:
        if self.path == "/token":
            token = secrets.token_hex(8)
            left[token] = GOOD_FOR
            return self.answer(200, {"token": token})
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if left.get(token, 0) <= 0:
            return self.answer(401, {"error": "the token has expired"})
        left[token] -= 1
        account = int(self.path.rpartition("/")[2])
        return self.answer(200, {"alive": account % 10 != 0})

    def answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        """Say nothing of each of ten thousand questions."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 8765), Service).serve_forever()
