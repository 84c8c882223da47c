#!/usr/bin/env python3
"""A producer and a reader in another language, with stock clients only.

  join.py produce --bootstrap B --registry URL --topic T [--partitioner P] FILE_ID…
      announces each file with a FileManifest: Confluent's own Avro serializer, and the schema that the registry has
      under the topic's subject. Prints per file a line of JSON: file_id, partition, offset.
  join.py consume --bootstrap B --registry URL --topic T --count N [--key KEY]… [--field NAME=VALUE] [--seconds S]
      reads the topic from its beginning until N records matched; prints per record a line of JSON: key, partition,
      offset, value. Ends with 1 if they don't come in time.

Without --partitioner the client's default chooses the partition.
"""

import argparse
import json
import sys
import time
import uuid

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def manifest(file_id, arguments):
    return {
        "file_id": file_id,
        "schema_version": 1,
        "file_type": arguments.file_type,
        "name": f"{file_id}.json",
        "location": None,
        "size": None,
        "checksum": None,
        "media_type": None,
        "attributes": {"from": "python"},
        "data": arguments.data,
        "produced_by": "join.py",
        "produced_at": int(time.time() * 1000),
        "deadline": None,
    }


def produce(arguments):
    registry = SchemaRegistryClient({"url": arguments.registry})
    serializer = AvroSerializer(registry, conf={"auto.register.schemas": False, "use.latest.version": True})
    settings = {"bootstrap.servers": arguments.bootstrap}
    if arguments.partitioner:
        settings["partitioner"] = arguments.partitioner
    producer = Producer(settings)
    failures = []

    def delivered(error, message):
        if error is not None:
            failures.append(str(error))
            return
        place = {"file_id": message.key().decode(), "partition": message.partition(), "offset": message.offset()}
        print(json.dumps(place), flush=True)

    context = SerializationContext(arguments.topic, MessageField.VALUE)
    for file_id in arguments.file_ids:
        value = serializer(manifest(file_id, arguments), context)
        producer.produce(arguments.topic, key=file_id, value=value, on_delivery=delivered)
    if producer.flush(arguments.seconds) > 0:
        failures.append("not everything was delivered in time")
    if failures:
        sys.exit("; ".join(failures))


def matches(arguments, key, value):
    if arguments.key and key not in arguments.key:
        return False
    wanted = (field.split("=", 1) for field in arguments.field)
    return all(value is not None and str(value.get(name)) == text for name, text in wanted)


def consume(arguments):
    registry = SchemaRegistryClient({"url": arguments.registry})
    deserializer = AvroDeserializer(registry)
    consumer = Consumer({
        "bootstrap.servers": arguments.bootstrap,
        "group.id": f"join-{uuid.uuid4()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    })
    consumer.subscribe([arguments.topic])
    deadline = time.monotonic() + arguments.seconds
    found = 0
    try:
        while found < arguments.count:
            if time.monotonic() > deadline:
                sys.exit(f"{found} of {arguments.count} records after {arguments.seconds} s")
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                sys.exit(str(message.error()))
            key = message.key().decode()
            value = deserializer(message.value(), SerializationContext(arguments.topic, MessageField.VALUE))
            if matches(arguments, key, value):
                found += 1
                place = {"key": key, "partition": message.partition(), "offset": message.offset(), "value": value}
                print(json.dumps(place, default=str), flush=True)
    finally:
        consumer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("produce", produce), ("consume", consume)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--bootstrap", required=True)
        command.add_argument("--registry", required=True)
        command.add_argument("--topic", required=True)
        command.add_argument("--seconds", type=float, default=30)
        if run is produce:
            command.add_argument("--partitioner")
            command.add_argument("--file-type", default="invoice")
            command.add_argument("--data", default='{"amount": 12.5}', help="JSON text")
            command.add_argument("file_ids", nargs="+", metavar="FILE_ID")
        else:
            command.add_argument("--count", type=int, required=True)
            command.add_argument("--key", action="append", default=[])
            command.add_argument("--field", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
