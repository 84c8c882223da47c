#!/usr/bin/env python3
"""Reports by callback, signed by the Standard Webhooks library: report.py URL TOKEN SECRET REPORT

REPORT is the body, as JSON. Prints a line of JSON: the status that it was answered.
"""

import datetime
import json
import sys
import urllib.error
import urllib.request

from standardwebhooks.webhooks import Webhook

url, token, secret, body = sys.argv[1:]
at = datetime.datetime.now(tz=datetime.timezone.utc)
headers = {
    "authorization": f"Bearer {token}",
    "content-type": "application/json",
    "webhook-id": "report-1",
    "webhook-timestamp": str(int(at.timestamp())),
    "webhook-signature": Webhook(secret).sign("report-1", at, body),
}
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    status = opener.open(urllib.request.Request(url, data=body.encode(), headers=headers), timeout=60).status
except urllib.error.HTTPError as refused:
    status = refused.code
print(json.dumps({"status": status}))
