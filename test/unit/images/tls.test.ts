// TLS and proxies: what a profile must be told, and what fails without it.

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { certify } from "../../fakes/certificate.ts";
import { ConnectProxy } from "../../fakes/connect-proxy.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { agreeingQemuImg, openDiskStore } from "../../fakes/disk-image-store.ts";
import { WebServer } from "../../fakes/web-server.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-tls-"));
  await certify(folder, "server", "subjectAltName=IP:127.0.0.1");
  await certify(folder, "other", "subjectAltName=DNS:other.example");
  await certify(folder, "client", "extendedKeyUsage=clientAuth");
});

afterAll(async () => rm(folder, { recursive: true, force: true }));

const file = (name: string) => join(folder, name);

async function serverWith(name: string, more: object = {}): Promise<WebServer> {
  const tls = { key: await readFile(file(`${name}.key`)), cert: await readFile(file(`${name}.crt`)), ...more };
  const server = await WebServer.listen(tls);
  server.serve("/image", qcow2());
  return server;
}

async function pullFrom(server: WebServer, profile: Readonly<Record<string, unknown>>): Promise<string> {
  const images = { profiles: { default: profile } };
  await using under = await openDiskStore({ server, run: agreeingQemuImg(64 * MIB), images });
  const before = await under.files();
  try {
    return (await under.store.pull(server.nameOf("/image"), signal)).digest;
  } catch (error) {
    expect(await under.files()).toEqual(before);
    throw error;
  }
}

const unavailable = (message: RegExp) => ({
  failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
  message: expect.stringMatching(message),
});

test("a certificate that the node does not trust fails, naming the URL and the setting", async () => {
  await using server = await serverWith("server");
  await expect(pullFrom(server, {})).rejects.toMatchObject(
    unavailable(/^https:\/\/127\.0\.0\.1:\d+\/image has a TLS certificate that the node does not trust.*caPath/),
  );
});

test("the profile's authority makes it trusted, and so does not looking at all", async () => {
  await using server = await serverWith("server");
  expect(await pullFrom(server, { caPath: file("server.crt") })).toMatch(/^sha256:/);
  expect(await pullFrom(server, { insecureSkipVerify: true })).toMatch(/^sha256:/);
});

test("a certificate for another name fails until the profile expects that name", async () => {
  await using server = await serverWith("other");
  const caPath = file("other.crt");
  await expect(pullFrom(server, { caPath })).rejects.toMatchObject(unavailable(/another name.*serverName/));
  expect(await pullFrom(server, { caPath, serverName: "other.example" })).toMatch(/^sha256:/);
});

test("a server that wants a client certificate gets the profile's", async () => {
  const ca = await readFile(file("client.crt"));
  await using server = await serverWith("server", { requestCert: true, rejectUnauthorized: true, ca });
  const caPath = file("server.crt");
  await expect(pullFrom(server, { caPath })).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } });
  const client = { clientCertPath: file("client.crt"), clientKeyPath: file("client.key") };
  expect(await pullFrom(server, { caPath, ...client })).toMatch(/^sha256:/);
});

test("a redirect from https to http is refused", async () => {
  await using plain = await WebServer.listen();
  await using server = await serverWith("server");
  plain.serve("/image", qcow2());
  server.on("/image", (_request, response) => {
    response.writeHead(302, { location: plain.urlOf("/image") });
    response.end();
  });
  await expect(pullFrom(server, { caPath: file("server.crt") })).rejects.toMatchObject({
    failure: { code: "IMAGE_SOURCE_REFUSED", status: 302 },
    message: expect.stringContaining("from https to http"),
  });
  expect(plain.requests).toEqual([]);
});

test("https against a server that speaks plain http fails as TLS", async () => {
  await using plain = await WebServer.listen();
  const name = plain.nameOf("/image").replace("/http/", "/https/");
  await using under = await openDiskStore({ server: plain, run: agreeingQemuImg(64 * MIB) });
  await expect(under.store.pull(name, signal)).rejects.toMatchObject(unavailable(/TLS handshake/));
});

test("a profile's file that cannot be read is a wrong setting", async () => {
  await using server = await serverWith("server");
  await expect(pullFrom(server, { caPath: file("none.crt") })).rejects.toMatchObject({
    failure: { code: "CONFIG_INVALID" },
    message: expect.stringContaining("none.crt"),
  });
});

test("a proxy is used for https, with its credentials, and its failure does not show them", async () => {
  await using server = await serverWith("server");
  await using proxy = await ConnectProxy.listen();
  const caPath = file("server.crt");
  expect(await pullFrom(server, { caPath, proxyUrl: proxy.url })).toMatch(/^sha256:/);
  expect(proxy.asked).toEqual([`127.0.0.1:${server.port}`]);
  expect(proxy.credentials).toEqual([`Basic ${Buffer.from("me:secret").toString("base64")}`]);
  await proxy[Symbol.asyncDispose]();
  const failing = pullFrom(server, { caPath, proxyUrl: proxy.url });
  await expect(failing).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } });
  await expect(failing).rejects.not.toThrow("secret");
});

test.each([
  [407, /cannot be reached: its proxy answers 407, which wants other credentials/],
  [403, /cannot be reached: its proxy answers 403$/],
])("a proxy that answers %i is told as the proxy", async (status, message) => {
  await using server = await serverWith("server");
  await using proxy = await ConnectProxy.listen();
  proxy.refusal = status;
  await expect(pullFrom(server, { proxyUrl: proxy.url })).rejects.toMatchObject(unavailable(message));
});
