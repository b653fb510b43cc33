// What becomes of a hosts.toml: where each host's API begins, and in which order they are asked.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { endpointsOf } from "../../../../src/images/oci/hosts.ts";
import { openClient } from "../../../../src/images/oci/registry-client.ts";
import { OciRegistry } from "../../../fakes/oci-registry.ts";

const signal = AbortSignal.timeout(60_000);

async function endpoints(toml: string, registry = "r.example") {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-hosts-"));
  try {
    await mkdir(join(folder, registry));
    await writeFile(join(folder, registry, "hosts.toml"), toml);
    return await endpointsOf(registry, folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("hosts are asked in the file's order, the registry last", async () => {
  const found = await endpoints('[host."https://b.example"]\n[host."a.example"]\n[host."http://c.example:80"]\n');
  expect(found.map(({ baseUrl }) => baseUrl.origin)).toEqual([
    "https://b.example",
    "https://a.example",
    "http://c.example",
    "https://r.example",
  ]);
});

test("Docker Hub is itself under both of its names", async () => {
  const toml = 'server = "https://docker.io"\n[host."https://registry-1.docker.io"]\n[host."https://m.example"]\n';
  const found = await endpoints(toml, "docker.io");
  expect(found.map(({ isOtherHost }) => isOtherHost)).toEqual([false, true, false]);
});

test.each([
  ["https://m.example", "", "/v2/vm/manifests/latest"],
  ["https://m.example/", "", "/v2/vm/manifests/latest"],
  ["https://m.example/cache", "", "/cache/v2/vm/manifests/latest"],
  ["https://m.example/cache/v2/", "", "/cache/v2/vm/manifests/latest"],
  ["https://m.example/cache", "override_path = true", "/cache/vm/manifests/latest"],
  ["https://m.example", "override_path = true", "/vm/manifests/latest"],
])("the API of %s with %j begins before %s", async (url, setting, path) => {
  await using registry = await OciRegistry.listen();
  const toml = `[host."${url.replace("https://m.example", registry.url)}"]\n${setting}\n`;
  const [endpoint] = await endpoints(toml);
  if (endpoint === undefined) throw new Error("no endpoint");
  const parts = { image: "vm", registry: "r.example", repository: "vm", credentials: undefined, profile: undefined };
  await using client = await openClient(endpoint, { ...parts, nowMs: () => Date.now() });
  await expect(client.get("manifests/latest", {}, signal)).rejects.toMatchObject({
    failure: { code: "IMAGE_NOT_FOUND" },
  });
  expect(registry.paths()).toEqual([path]);
});
