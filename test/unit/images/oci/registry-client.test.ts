// Several requests of one pull, at the same time or to several hosts.

import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { blobBody } from "../../../../src/images/oci/blob.ts";
import { openClient } from "../../../../src/images/oci/registry-client.ts";
import type { ImageDigest } from "../../../../src/model/ids.ts";
import type { RegistryCredentials } from "../../../../src/model/registry-credentials.ts";
import { type Hook, OciRegistry } from "../../../fakes/oci-registry.ts";

const signal = AbortSignal.timeout(60_000);

const clientOf = async (registry: OciRegistry, credentials?: RegistryCredentials) =>
  openClient(
    {
      baseUrl: new URL(`${registry.url}/v2`),
      isOtherHost: false,
      isMirror: false,
      canResolve: true,
      canPull: true,
      caPaths: [],
      clients: [],
      skipVerify: false,
      headers: {},
    },
    { image: "vm", registry: "r", repository: "vm", credentials, profile: undefined, nowMs: () => Date.now() },
  );

test.each(["Basic", "Bearer"])("all of them take up what the first is asked for: %s", async (scheme) => {
  await using registry = await OciRegistry.listen();
  registry.push("vm", []);
  let tokens = 0;
  registry.hook = (request, response, url) => {
    if (url.pathname === "/token") response.end(JSON.stringify({ token: `T${++tokens}` }));
    else if (request.headers.authorization?.startsWith(scheme) !== true)
      response.writeHead(401, { "www-authenticate": `${scheme} realm="${registry.url}/token"` }).end();
    else return false;
    return true;
  };
  const credentials = { username: "me", password: "secret" };
  await using client = await clientOf(registry, credentials);
  const get = async () => {
    const { answer } = await client.get("manifests/latest", {}, signal);
    answer.body.destroy();
    return answer.statusCode;
  };
  expect(await Promise.all([get(), get(), get(), get()])).toEqual([200, 200, 200, 200]);
});

test.each([
  ["a number of seconds", () => "1"],
  ["a date", () => new Date(Date.now() + 2000).toUTCString()],
])("who is told to come later comes then: %s", async (_what, retryAfter) => {
  await using registry = await OciRegistry.listen();
  registry.push("vm", []);
  const askedAtMs: number[] = [];
  registry.hook = (_request, response) => {
    askedAtMs.push(performance.now());
    if (askedAtMs.length > 1) return false;
    response.writeHead(429, { "retry-after": retryAfter() }).end();
    return true;
  };
  await using client = await clientOf(registry);
  const { answer } = await client.get("manifests/latest", {}, signal);
  answer.body.destroy();
  const [first = 0, second = 0] = askedAtMs;
  expect(second - first).toBeGreaterThan(900);
  expect(second - first).toBeLessThan(5_000);
});

const bytes = randomBytes(1024 * 1024);

/** A blob that two hosts have, the first of which does with it what the hook wants. */
async function twoHosts(hook: Hook) {
  await using parts = new AsyncDisposableStack();
  const [first, second] = [parts.use(await OciRegistry.listen()), parts.use(await OciRegistry.listen())];
  const descriptor = {
    mediaType: "a/b",
    digest: first.blob(bytes).digest as ImageDigest,
    size: second.blob(bytes).size,
  };
  first.hook = hook;
  const clients = [parts.use(await clientOf(first)), parts.use(await clientOf(second))];
  const kept = parts.move();
  const body = blobBody(descriptor, 0, clients, signal);
  return { first, second, body, [Symbol.asyncDispose]: async () => kept.disposeAsync() };
}

const readAll = async (chunks: AsyncIterable<Uint8Array>) => Buffer.concat(await Array.fromAsync(chunks));

test("a host that does not have a blob is not asked for each part of it", async () => {
  await using fixture = await twoHosts((_request, response) => {
    response.writeHead(404).end();
    return true;
  });
  const { body, first, second } = fixture;
  expect((await readAll(body.chunks)).equals(bytes)).toBe(true);
  for (const from of [0, 1000, 2000]) {
    const part = await readAll(body.readRange?.(from, from + 1000, signal) ?? body.chunks);
    expect(part.equals(bytes.subarray(from, from + 1000))).toBe(true);
  }
  expect([first.requests.length, second.requests.length]).toEqual([1, 4]);
});

test("after a break the other host is asked for the rest", async () => {
  await using fixture = await twoHosts((_request, response) => {
    response.writeHead(200, { "content-length": bytes.length }).flushHeaders();
    setImmediate(() => response.destroy());
    return true;
  });
  expect((await readAll(fixture.body.chunks)).equals(bytes)).toBe(true);
  expect(fixture.first.requests).toHaveLength(1);
});
