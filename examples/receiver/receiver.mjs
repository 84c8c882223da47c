// Receives files: verifies each signature, and puts each body under its webhook-id into the directory INBOX.
import { createHash, createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { open, rename } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";

const secret = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
const inbox = process.env.INBOX, maxBody = 1 << 20;

function isSigned(headers, body) {
  const id = headers["webhook-id"], seconds = headers["webhook-timestamp"];
  const expected = Buffer.from("v1," + createHmac("sha256", secret).update(`${id}.${seconds}.`).update(body).digest("base64"));
  const given = (headers["webhook-signature"] ?? "").split(" ").map((one) => Buffer.from(one));
  return Math.abs(Date.now() / 1000 - Number(seconds)) <= 300
    && given.some((one) => one.length === expected.length && timingSafeEqual(one, expected));
}

async function receive(request) {
  let body = Buffer.alloc(0);
  for await (const chunk of request) if (body.length <= maxBody) body = Buffer.concat([body, chunk]);
  if (body.length > maxBody) return [413, { error: "the body is too large" }];
  if (!isSigned(request.headers, body)) return [401, { error: "the signature is missing, wrong or too old" }];
  // Every attempt has the same id and the same bytes: the second time changes nothing.
  const path = join(inbox, `.${randomUUID()}`), file = await open(path, "wx");
  await file.writeFile(body);
  await file.sync();
  await file.close();
  await rename(path, join(inbox, request.headers["webhook-id"]));
  return [200, { result: "ok", received_digest: "sha256:" + createHash("sha256").update(body).digest("hex") }];
}

const server = createServer(async (request, response) => {
  const [status, value] = await receive(request).catch(() => [500, { error: "it is not known whether it was taken" }]);
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
});
server.listen(Number(process.env.PORT ?? 8492), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
