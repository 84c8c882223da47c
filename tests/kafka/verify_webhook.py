#!/usr/bin/env python3
"""Verifies signed requests with the Standard Webhooks library: lines of JSON {secret, headers, body} on standard input.

Prints per line `ok` or `no`.
"""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    request = json.loads(line)
    try:
        Webhook(request["secret"]).verify(request["body"], request["headers"])
        print("ok", flush=True)
    except WebhookVerificationError:
        print("no", flush=True)
