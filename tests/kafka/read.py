#!/usr/bin/env python3
"""Reads what a Kafka target wrote, with the stock client: read.py --bootstrap B --topic T --count N

Prints per record a line of JSON: key, value (parsed as JSON), headers, partition. Ends with 1 if they don't come in time.
"""

import argparse
import json
import sys
import time
import uuid

from confluent_kafka import Consumer

parser = argparse.ArgumentParser()
parser.add_argument("--bootstrap", required=True)
parser.add_argument("--topic", required=True)
parser.add_argument("--count", type=int, required=True)
arguments = parser.parse_args()
consumer = Consumer({
    "bootstrap.servers": arguments.bootstrap,
    "group.id": f"read-{uuid.uuid4()}",
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
})
consumer.subscribe([arguments.topic])
left, until = arguments.count, time.monotonic() + 120
while left and time.monotonic() < until:
    message = consumer.poll(1.0)
    if message is None or message.error():
        continue
    headers = {name: value.decode() for name, value in message.headers() or []}
    record = {"key": message.key().decode(), "value": json.loads(message.value()), "headers": headers,
              "partition": message.partition()}
    print(json.dumps(record), flush=True)
    left -= 1
consumer.close()
sys.exit(1 if left else 0)
