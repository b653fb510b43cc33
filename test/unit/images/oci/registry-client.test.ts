// Several requests of one pull at the same time.

import { expect, test } from "vitest";
import { openClient } from "../../../../src/images/oci/registry-client.ts";
import { OciRegistry } from "../../../fakes/oci-registry.ts";

const signal = AbortSignal.timeout(60_000);

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
  const endpoint = {
    baseUrl: new URL(`${registry.url}/v2`),
    isMirror: false,
    canResolve: true,
    canPull: true,
    caPaths: [],
    clients: [],
    skipVerify: false,
    headers: {},
  };
  const credentials = { username: "me", password: "secret" };
  const parts = { image: "vm", registry: registry.host, repository: "vm", credentials, profile: undefined };
  await using client = await openClient(endpoint, { ...parts, nowMs: () => Date.now() });
  const get = async () => {
    const { answer } = await client.get("manifests/latest", {}, signal);
    answer.body.destroy();
    return answer.statusCode;
  };
  expect(await Promise.all([get(), get(), get(), get()])).toEqual([200, 200, 200, 200]);
});
