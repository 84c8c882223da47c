#!/usr/bin/env python3
"""Receives files: verifies each signature, and puts each body under its webhook-id into the directory INBOX."""

import base64, hashlib, hmac, json, os, tempfile, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
INBOX, MAX_BODY = os.environ["INBOX"], 1 << 20


def is_signed(headers, body):
    id, seconds = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    expected = b"v1," + base64.b64encode(hmac.digest(SECRET, f"{id}.{seconds}.".encode() + body, "sha256"))
    given = headers.get("webhook-signature", "").encode().split(b" ")
    is_fresh = seconds.isdecimal() and abs(time.time() - int(seconds)) <= 300
    return is_fresh and any([hmac.compare_digest(expected, one) for one in given])


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), MAX_BODY + 1))
        if len(body) > MAX_BODY:
            return self.send_error(413, "the body is too large")
        if not is_signed(self.headers, body):
            return self.send_error(401, "the signature is missing, wrong or too old")
        # Every attempt has the same id and the same bytes: the second time changes nothing.
        with tempfile.NamedTemporaryFile(dir=INBOX, prefix=".", delete=False) as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, os.path.join(INBOX, self.headers["webhook-id"]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        digest = hashlib.sha256(body).hexdigest()
        self.wfile.write(json.dumps({"result": "ok", "received_digest": f"sha256:{digest}"}).encode())


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8492))), Receiver)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
