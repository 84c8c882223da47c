"""Servers that speak the protocols of three object stores, on loopback, for the command that follows:

  servers.py AZURITE COMMAND…

Their addresses and keys are in the command's environment: S3_ENDPOINT, S3_KEY_ID, S3_SECRET, GCS_ENDPOINT, AZURE_ENDPOINT, AZURE_ACCOUNT,
AZURE_KEY. In each the bucket `incoming` has what tests read: see OBJECTS. All ends with the command.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import boto3
from azure.storage.blob import BlobServiceClient

BUCKET = "incoming"
# By name: names that must be escaped, more bytes than one part of a stream has.
OBJECTS = {
    "orders/2026 (1)/ä+b.csv": b"id,amount\n1,10\n",
    "large.bin": bytes(range(256)) * 20_000,
}
# The account that Azurite has for everyone, as Microsoft publishes it.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# Requests to S3 that nobody checks: they make the user whose keys all later ones need.
UNCHECKED = 3 + 1 + len(OBJECTS)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def begin(command, directory, environment=None):
    name = Path(command[0]).name
    with open(directory / f"{name}-{len(list(directory.iterdir()))}.log", "wb") as log:
        return subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                env={**os.environ, **(environment or {})}, start_new_session=True)


def until_open(port, process):
    began = time.monotonic()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() - began > 60:
                sys.exit(f"{process.args[0]} doesn't listen at {port}")
            time.sleep(0.1)


def fill_s3(endpoint):
    def client(service, key_id="nobody", secret="nobody"):
        return boto3.client(service, endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id=key_id,
                            aws_secret_access_key=secret)

    iam, s3 = client("iam"), client("s3")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.create_user(UserName="consign")
    iam.put_user_policy(UserName="consign", PolicyName="read", PolicyDocument=json.dumps(allowed))
    key = iam.create_access_key(UserName="consign")["AccessKey"]
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for name, content in OBJECTS.items():
        s3.put_object(Bucket=BUCKET, Key=name, Body=content)
    return {"S3_ENDPOINT": endpoint, "S3_KEY_ID": key["AccessKeyId"], "S3_SECRET": key["SecretAccessKey"]}


def fill_gcs(endpoint):
    def post(path, body, kind):
        request = urllib.request.Request(endpoint + path, body, {"Content-Type": kind})
        urllib.request.urlopen(request, timeout=30).close()

    post("/storage/v1/b?project=consign", json.dumps({"name": BUCKET}).encode(), "application/json")
    for name, content in OBJECTS.items():
        name = urllib.parse.quote(name, safe="")
        post(f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}", content, "application/octet-stream")
    return {"GCS_ENDPOINT": endpoint}


def fill_azure(endpoint):
    service = BlobServiceClient(endpoint, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})
    container = service.create_container(BUCKET)
    for name, content in OBJECTS.items():
        container.upload_blob(name, content)
    return {"AZURE_ENDPOINT": endpoint, "AZURE_ACCOUNT": ACCOUNT, "AZURE_KEY": ACCOUNT_KEY}


def main():
    azurite, *command = sys.argv[1:]
    # Whoever stops this one stops the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    s3, gcs, azure = free_port(), free_port(), free_port()
    processes = []
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        try:
            for port, line, environment in [
                (s3, [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3)],
                 {"INITIAL_NO_AUTH_ACTION_COUNT": str(UNCHECKED)}),
                (gcs, [sys.executable, str(Path(__file__).with_name("gcs.py")), str(gcs)], None),
                (azure, ["node", azurite, "--blobHost", "127.0.0.1", "--blobPort", str(azure), "--location",
                         str(directory / "azure"), "--silent", "--skipApiVersionCheck", "--disableTelemetry"], None),
            ]:
                processes.append((port, begin(line, directory, environment)))
            for port, process in processes:
                until_open(port, process)
            places = {
                **fill_s3(f"http://127.0.0.1:{s3}"),
                **fill_gcs(f"http://127.0.0.1:{gcs}"),
                **fill_azure(f"http://127.0.0.1:{azure}/{ACCOUNT}"),
            }
            return subprocess.run(command, env={**os.environ, **places}).returncode
        finally:
            for _, process in processes:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


if __name__ == "__main__":
    sys.exit(main())
