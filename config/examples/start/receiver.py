#!/usr/bin/env python3
"""A service that receives: prints each request and answers that it took it. For a first try only."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = ("127.0.0.1", 8490)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        print(self.path, self.headers.get("idempotency-key"), body.decode(), flush=True)
        answer = b'{"result": "ok"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(ADDRESS, Receiver).serve_forever()
