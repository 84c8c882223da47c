// Verifies signed requests with the Standard Webhooks library: lines of JSON {secret, headers, body} on standard input.
// Prints per line `ok` or `no`.
const { createInterface } = require("node:readline");
const { Webhook, WebhookVerificationError } = require("standardwebhooks");

createInterface({ input: process.stdin }).on("line", (line) => {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log("ok");
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    console.log("no");
  }
});
