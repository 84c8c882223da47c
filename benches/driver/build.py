"""Builds the contestants."""

import json
import shutil
import subprocess
import sys

from .bed import ROOT

RECORDS = ("arrivals", "plans", "attempts", "outcomes", "history", "file-state")
STREAMS = ROOT / ".cache" / "bench" / "streams"


def rust(bench="contestants"):
    """The path of the binary of a benchmark: by itself, the one with the contestants that are ours."""
    command = ["cargo", "build", "--profile", "bench", "--locked", "--bench", bench, "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit("bench: the contestants don't build; see above")
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == bench:
            return message["executable"]
    sys.exit("bench: cargo names no executable")


def streams():
    """The class path of the Kafka Streams application."""
    if shutil.which("mvn") is None:
        sys.exit("bench: mvn is not installed (see `make tools`)")
    schemas = STREAMS / "schemas"
    schemas.mkdir(parents=True, exist_ok=True)
    seen = set()
    union = [bare(json.loads((ROOT / "schemas" / f"{name}.avsc").read_text()), seen) for name in RECORDS]
    (schemas / "all.avsc").write_text(json.dumps(union))
    shutil.rmtree(STREAMS / "out" / "libs", ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", ROOT / "benches" / "streams" / "pom.xml", "package", f"-Dschemas={schemas}",
               f"-Dout={STREAMS / 'out'}"]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        sys.exit("bench: Maven failed; see above")
    out = STREAMS / "out"
    return f"{next(out.glob('bench-streams-*.jar'))}:{out / 'libs'}/*"


def bare(schema, seen):
    """A schema for Java's compiler: each type defined once, no docs, and times as plain numbers, which spares the
    generated code their conversion."""
    if isinstance(schema, list):
        return [bare(each, seen) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "logicalType" in schema and isinstance(schema["type"], str):
        return schema["type"]
    if schema.get("type") in ("record", "enum", "fixed"):
        if schema["name"] in seen:
            return f"consign.{schema['name']}"
        seen.add(schema["name"])
    result = {}
    for key, value in schema.items():
        if key == "fields":
            result[key] = [{k: bare(v, seen) if k == "type" else v for k, v in field.items() if k != "doc"}
                           for field in value]
        elif key != "doc":
            result[key] = bare(value, seen) if key in ("type", "items", "values") else value
    return result
