"""gcs.py PORT: the emulator of Google Cloud Storage, with two headers of an object's answer that the service sends and this one lacks:
https://cloud.google.com/storage/docs/xml-api/reference-headers."""

import sys
from email.utils import formatdate

from gcp_storage_emulator.handlers import objects

download = objects.download


def download_as_the_service_does(request, response, storage, *args, **kwargs):
    response["Last-Modified"] = formatdate(usegmt=True)
    response["ETag"] = '"1"'
    download(request, response, storage, *args, **kwargs)


# Before the server is imported: it keeps what it finds here.
objects.download = download_as_the_service_does

from gcp_storage_emulator.server import create_server  # noqa: E402

if __name__ == "__main__":
    create_server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()
