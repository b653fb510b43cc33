// Tokens that end while a pull goes on: renewed before they do, or when the registry no longer takes them.

import { expect, test } from "vitest";
import { type AskTokenServer, Authorization } from "../../../../src/images/oci/authorization.ts";
import { qcow2 } from "../../../fakes/disk-image.ts";
import { OCI_LAYER, send } from "../../../fakes/oci-registry.ts";
import { openOciStore } from "../../../fakes/oci-store.ts";
import { tar } from "../../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(60_000);
const registryUrl = new URL("https://registry.example/v2");
const CHALLENGE = 'Bearer realm="https://auth.example/token",service="s"';

/** A token server that numbers its tokens, and a clock that is moved by hand. */
async function authorized(answer: object) {
  const clock = { nowMs: 1_000_000 };
  let issued = 0;
  const ask: AskTokenServer = async () => ({
    status: 200,
    text: JSON.stringify({ token: `T${++issued}`, ...answer }),
  });
  const authorization = new Authorization("vm", undefined, ask, () => clock.nowMs);
  expect(await authorization.header(registryUrl, signal)).toBeUndefined();
  expect(await authorization.answer(CHALLENGE, undefined, registryUrl, signal)).toBe(true);
  const tokenAfter = async (seconds: number) => {
    clock.nowMs += seconds * 1000;
    return authorization.header(registryUrl, signal);
  };
  return { tokenAfter };
}

test.each([
  ["60 s, if nothing is said", {}, 60],
  ["60 s, if null is said", { expires_in: null, access_token: null }, 60],
  ["as long as the server says", { expires_in: 300 }, 300],
  ["60 s, if less is said", { expires_in: 1 }, 60],
  ["60 s, if nonsense is said", { expires_in: -5 }, 60],
])("a token is used for %s, and renewed before it ends", async (_what, answer, seconds) => {
  const { tokenAfter } = await authorized(answer);
  expect(await tokenAfter(0)).toBe("Bearer T1");
  expect(await tokenAfter(seconds - 20)).toBe("Bearer T1");
  expect(await tokenAfter(15)).toBe("Bearer T2");
  expect(await tokenAfter(0)).toBe("Bearer T2");
});

test("one that ended while a layer was read is fetched anew when the connection breaks", async () => {
  await using fixture = await openOciStore();
  const { registry, under } = fixture;
  const bytes = tar([{ path: "disk/d", bytes: qcow2({ virtualSizeBytes: 1n << 20n }) }]);
  registry.push("vm", [{ mediaType: OCI_LAYER, bytes }]);
  let issued = 0;
  const ranges: string[] = [];
  registry.hook = (request, response, url) => {
    const { authorization, range } = request.headers;
    if (url.pathname === "/token") response.end(JSON.stringify({ token: `T${++issued}` }));
    else if (authorization !== `Bearer T${issued}` || (range !== undefined && issued === 1)) {
      response.writeHead(401, { "www-authenticate": `Bearer realm="${registry.url}/token"` }).end();
    } else if (!url.pathname.includes("/blobs/")) return false;
    else if (range === undefined) {
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 100_000), () => response.destroy());
    } else {
      ranges.push(range);
      send(request, response, bytes);
    }
    return true;
  };
  await under.store.pull(registry.nameOf("vm"), signal);
  expect(issued).toBe(2);
  expect(ranges[0]).toMatch(/^bytes=[1-9]\d*-/);
});
