// What hosts.toml says of an endpoint goes for that endpoint, and its secrets go nowhere else.

import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Certificate, certify } from "../../../fakes/certificate.ts";
import { ConnectProxy } from "../../../fakes/connect-proxy.ts";
import { qcow2 } from "../../../fakes/disk-image.ts";
import { OCI_LAYER, OciRegistry } from "../../../fakes/oci-registry.ts";
import { openOciStore } from "../../../fakes/oci-store.ts";
import { tar } from "../../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(60_000);
const layers = [
  { mediaType: OCI_LAYER, bytes: tar([{ path: "disk/d", bytes: qcow2({ virtualSizeBytes: 1n << 20n }) }]) },
];
let folder = "";
let server: Certificate;
let client: Certificate;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-hosts-"));
  server = await certify(folder, "server", "subjectAltName=IP:127.0.0.1");
  client = await certify(folder, "client", "extendedKeyUsage=clientAuth");
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

/** Asks for a client's certificate and goes on without. */
async function tlsRegistry(): Promise<{ readonly registry: OciRegistry; readonly shown: (string | undefined)[] }> {
  const [key, cert, ca] = await Promise.all(
    [server.keyPath, server.certPath, client.certPath].map((path) => readFile(path)),
  );
  const registry = await OciRegistry.listen({ key, cert, ca, requestCert: true, rejectUnauthorized: false });
  const shown: (string | undefined)[] = [];
  registry.hook = (request) => {
    shown.push((request.socket as TLSSocket).getPeerCertificate().subject?.CN?.toString());
    return false;
  };
  return { registry, shown };
}

test("a client certificate, headers and credentials are the endpoint's alone, also where it redirects to", async () => {
  await using fixture = await openOciStore();
  const { registry, shown } = await tlsRegistry();
  const { registry: storage, shown: shownToStorage } = await tlsRegistry();
  await using _one = registry;
  await using _other = storage;
  registry.push("vm", layers);
  storage.push("vm", layers);
  const note = registry.hook;
  registry.hook = (request, response, url) => {
    note(request, response, url);
    if (url.pathname.includes("/blobs/")) response.writeHead(307, { location: `${storage.url}${url.pathname}` }).end();
    else if (request.headers.authorization === undefined)
      response.writeHead(401, { "www-authenticate": "Basic" }).end();
    else return false;
    return true;
  };
  await registry.writeHosts(
    fixture.hostsFolderPath,
    `ca = "${server.certPath}"\nclient = [["${client.certPath}", "${client.keyPath}"]]\n[header]\nx-secret = "node's"\n`,
  );
  await fixture.under.store.pull(registry.nameOf("vm"), signal, { username: "me", password: "secret" });
  expect(new Set(shown)).toEqual(new Set(["client"]));
  expect(registry.requests.map(({ headers }) => headers["x-secret"])).toEqual(registry.requests.map(() => "node's"));
  expect(shownToStorage).toEqual([undefined]);
  expect(storage.requests.map(({ headers }) => [headers["x-secret"], headers.authorization])).toEqual([
    [undefined, undefined],
  ]);
});

test("headers are sent to a token server at the endpoint, and to no other", async () => {
  await using fixture = await openOciStore();
  await using elsewhere = await OciRegistry.listen();
  const { registry, under } = fixture;
  await registry.writeHosts(fixture.hostsFolderPath, `server = "${registry.url}"\n[header]\nx-gate = "open"\n`);
  registry.push("vm", layers);
  elsewhere.hook = (_request, response) => {
    response.end(JSON.stringify({ token: "T" }));
    return true;
  };
  for (const realm of [registry.url, elsewhere.url]) {
    registry.hook = (request, response, url) => {
      if (request.headers["x-gate"] !== "open") response.writeHead(403).end();
      else if (url.pathname === "/token") response.end(JSON.stringify({ token: "T" }));
      else if (request.headers.authorization !== undefined) return false;
      else response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}/token"` }).end();
      return true;
    };
    await under.store.pull(registry.nameOf("vm"), signal);
  }
  expect(elsewhere.requests.map(({ headers }) => headers["x-gate"])).toEqual([undefined]);
});

test("a client's certificate and key may be in one file", async () => {
  await using fixture = await openOciStore();
  const { registry, shown } = await tlsRegistry();
  await using _registry = registry;
  registry.push("vm", layers);
  const pemPath = join(folder, "client-both.pem");
  await writeFile(pemPath, Buffer.concat([await readFile(client.certPath), await readFile(client.keyPath)]));
  for (const value of [`"${pemPath}"`, `["${pemPath}"]`, `[["${pemPath}", ""]]`]) {
    const toml = `server = "${registry.url}"\nca = "${server.certPath}"\nclient = ${value}\n`;
    await registry.writeHosts(fixture.hostsFolderPath, toml);
    shown.length = 0;
    await fixture.under.store.pull(registry.nameOf("vm"), signal);
    expect(new Set(shown)).toEqual(new Set(["client"]));
  }
});

test("a server of another name than the registry is told of whom, as mirrors are; no capabilities are all of them", async () => {
  await using fixture = await openOciStore();
  const { registry, under, hostsFolderPath } = fixture;
  await mkdir(join(hostsFolderPath, "else.example"), { recursive: true });
  const toml = `server = "${registry.url}"\ncapabilities = []\n`;
  await writeFile(join(hostsFolderPath, "else.example", "hosts.toml"), toml);
  registry.push("vm", layers);
  await under.store.pull("vmlet.dev/oci/else.example/vm", signal);
  const namespaces = registry.requests.map(({ path }) => new URL(path, registry.url).searchParams.get("ns"));
  expect(new Set(namespaces)).toEqual(new Set(["else.example"]));
});

test("without a hosts.toml a host's folder may have docker's certificates: *.crt, and *.cert with *.key", async () => {
  await using fixture = await openOciStore();
  const { registry, shown } = await tlsRegistry();
  await using _registry = registry;
  registry.push("vm", layers);
  const hostPath = join(fixture.hostsFolderPath, registry.host);
  await mkdir(hostPath, { recursive: true });
  await copyFile(server.certPath, join(hostPath, "ca.crt"));
  await fixture.under.store.pull(registry.nameOf("vm"), signal);
  expect(new Set(shown)).toEqual(new Set([undefined]));
  await copyFile(client.certPath, join(hostPath, "node.cert"));
  await copyFile(client.keyPath, join(hostPath, "node.key"));
  shown.length = 0;
  await fixture.under.store.pull(registry.nameOf("vm"), signal);
  expect(new Set(shown)).toEqual(new Set(["client"]));
});

test("an authority that is named for one registry is not trusted for another", async () => {
  await using fixture = await openOciStore();
  const { registry } = await tlsRegistry();
  await using _registry = registry;
  registry.push("vm", layers);
  await registry.writeHosts(fixture.hostsFolderPath, `server = "${registry.url}"\n`);
  await expect(fixture.under.store.pull(registry.nameOf("vm"), signal)).rejects.toThrow("does not trust");
  await registry.writeHosts(fixture.hostsFolderPath, `server = "${registry.url}"\nskip_verify = true\n`);
  await fixture.under.store.pull(registry.nameOf("vm"), signal);
});

test.each(["http", "https"])("a proxy is used for an endpoint of %s, with its credentials", async (scheme) => {
  await using fixture = await openOciStore();
  await using proxy = await ConnectProxy.listen();
  await using registry = scheme === "https" ? (await tlsRegistry()).registry : await OciRegistry.listen();
  registry.push("vm", layers);
  const toml = `server = "${registry.url}"\nca = "${server.certPath}"\nproxy = "${proxy.url}"\n`;
  await registry.writeHosts(fixture.hostsFolderPath, toml);
  await fixture.under.store.pull(registry.nameOf("vm"), signal);
  expect(new Set(proxy.asked)).toEqual(new Set([registry.host]));
  expect(proxy.credentials[0]).toBe(`Basic ${Buffer.from("me:secret").toString("base64")}`);
  await proxy[Symbol.asyncDispose]();
  const failing = fixture.under.store.pull(registry.nameOf("vm"), signal);
  await expect(failing).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } });
  await expect(failing).rejects.not.toThrow("secret");
});

test("the default profile's proxy is used, but not for a host that is to be reached without", async () => {
  await using proxy = await ConnectProxy.listen();
  await using fixture = await openOciStore({ profiles: { default: { proxyUrl: proxy.url } } });
  const { registry, under, hostsFolderPath } = fixture;
  registry.push("vm", layers);
  await under.store.pull(registry.nameOf("vm"), signal);
  expect(new Set(proxy.asked)).toEqual(new Set([registry.host]));
  proxy.asked.length = 0;
  await registry.writeHosts(hostsFolderPath, `server = "${registry.url}"\nproxy = ""\n`);
  await under.store.pull(registry.nameOf("vm"), signal);
  expect(proxy.asked).toEqual([]);
});
