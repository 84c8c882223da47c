#!/usr/bin/env python3
"""Reads events with the CloudEvents SDK, from requests and from records: events.py --bootstrap B --topic T --posts N --records M

Prints first the port that it listens on, `{"port": P}`, and then a line of JSON for each event: by (http or kafka), mode, attributes, data.
"""

import argparse
import json
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

from cloudevents.core.bindings import http, kafka
from confluent_kafka import Consumer

parser = argparse.ArgumentParser()
parser.add_argument("--bootstrap", required=True)
parser.add_argument("--topic", required=True)
parser.add_argument("--posts", type=int, required=True)
parser.add_argument("--records", type=int, required=True)
arguments = parser.parse_args()
lock = threading.Lock()
posts = 0


def show(by, mode, event):
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    attributes["time"] = event.get_time().isoformat()
    with lock:
        print(json.dumps({"by": by, "mode": mode, "attributes": attributes, "data": event.get_data()}), flush=True)


def mode(content_type):
    return "structured" if content_type.lower().startswith("application/cloudevents") else "binary"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        global posts
        body = self.rfile.read(int(self.headers["content-length"]))
        message = http.HTTPMessage(headers=dict(self.headers.items()), body=body)
        show("http", mode(self.headers["content-type"]), http.from_http_event(message))
        self.send_response(200)
        self.end_headers()
        posts += 1

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
consumer = Consumer({
    "bootstrap.servers": arguments.bootstrap,
    "group.id": f"events-{uuid.uuid4()}",
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
})
consumer.subscribe([arguments.topic])
print(json.dumps({"port": server.server_port}), flush=True)
records, until = 0, time.monotonic() + 120
while (records < arguments.records or posts < arguments.posts) and time.monotonic() < until:
    message = consumer.poll(0.5)
    if message is None or message.error():
        continue
    headers = dict(message.headers() or [])
    message = kafka.KafkaMessage(headers=headers, key=message.key(), value=message.value())
    show("kafka", mode(headers["content-type"].decode()), kafka.from_kafka_event(message))
    records += 1
consumer.close()
sys.exit(0 if (records, posts) == (arguments.records, arguments.posts) else 1)
