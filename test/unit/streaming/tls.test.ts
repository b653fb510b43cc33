// The streaming process behind TLS: clients that trust its certificate are served, all others learn nothing.

import { once } from "node:events";
import { copyFile, mkdtempDisposable, readFile } from "node:fs/promises";
import { request } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";
import { streamingSection } from "../../../src/config/streaming.ts";
import type { StartOptions } from "../../../src/streaming/protocol.ts";
import { type SupervisedStreaming, superviseStreaming } from "../../../src/streaming/supervisor.ts";
import { certify } from "../../fakes/certificate.ts";
import { type KeptLog, keptLog } from "../../fakes/kept-log.ts";
import { LocalAgent } from "../../fakes/local-agent.ts";
import { SpdyClient, upgrade } from "../../fakes/spdy-client.ts";
import { connectTunnel } from "../../fakes/websocket-tunnel.ts";
import { poll } from "../../node/poll.ts";
import { MACHINE_ID, nothingWanted, POD_ID } from "./site.ts";

const NAMES = "subjectAltName=IP:127.0.0.1";
const SPDY_COMMAND = { "X-Stream-Protocol-Version": "v4.channel.k8s.io" };
const UNTRUSTED = { code: "DEPTH_ZERO_SELF_SIGNED_CERT" };
/** A client's limit for TLS, then for its request. */
const CREATION_MS = 500;
let folder: { readonly path: string; remove(): Promise<void> };
let agent: LocalAgent;
let log: KeptLog;
let streaming: SupervisedStreaming;

beforeAll(async () => {
  folder = await mkdtempDisposable(join(tmpdir(), "vmlet-tls-"));
  agent = new LocalAgent();
  for (const name of ["first", "second"]) await certify(folder.path, name, NAMES);
  await install("first");
  start(at("server.crt"), at("server.key"));
});
afterAll(async () => {
  await streaming[Symbol.asyncDispose]();
  await agent[Symbol.asyncDispose]();
  await folder.remove();
});

test("a command is run for who trusts the certificate, over SPDY and over WebSocket", async () => {
  const url = await execUrl(["sh", "-c", "echo by SPDY"]);
  expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+\/exec\//);
  const client = new SpdyClient(await upgrade(url, SPDY_COMMAND, await trust("first")));
  const streams = ["error", "stdout"].map((streamType) => client.open({ streamType }));
  expect(await Promise.all(streams.map(async (stream) => await text(stream)))).toEqual([
    '{"metadata":{},"status":"Success"}',
    "by SPDY\n",
  ]);
  const socket = await webSocket(await execUrl(["sh", "-c", "echo by WebSocket"]), await trust("first"));
  const heard: Buffer[] = [];
  socket.on("message", (message: Buffer) => heard.push(message));
  await once(socket, "close");
  expect(Buffer.concat(heard).toString("latin1")).toContain("by WebSocket\n");
});

test("a port is forwarded for who trusts the certificate, over SPDY and through WebSocket", async () => {
  const pod = createServer((socket) => socket.end("from the pod")).listen(0, "127.0.0.1");
  await once(pod, "listening");
  const { port } = pod.address() as { port: number };
  const ca = await trust("first");
  for (const transport of [
    await upgrade(await forwardUrl(), { "X-Stream-Protocol-Version": "portforward.k8s.io" }, ca),
    await connectTunnel(await forwardUrl(), "SPDY/3.1+portforward.k8s.io", ca),
  ]) {
    const client = new SpdyClient(transport);
    const headers = { port: `${port}`, requestID: "0" };
    client.open({ ...headers, streamType: "error" }).end();
    expect(await text(client.open({ ...headers, streamType: "data" }))).toBe("from the pod");
    transport.destroy();
  }
  pod.close();
});

test("who does not trust the certificate, speaks plain HTTP or an old TLS is not served, and no token is used up", async () => {
  const url = await execUrl(["true"]);
  const { port } = new URL(url);
  await expect(upgrade(url, SPDY_COMMAND, await trust("second"))).rejects.toMatchObject(UNTRUSTED);
  await expect(upgrade(url, SPDY_COMMAND)).rejects.toMatchObject(UNTRUSTED);
  await expect(webSocket(url, await trust("second"))).rejects.toMatchObject(UNTRUSTED);
  await expect(upgrade(url.replace("https:", "http:"), SPDY_COMMAND)).rejects.toMatchObject({ code: "ECONNRESET" });
  await expect(plainGet(url.replace("https:", "http:"))).rejects.toMatchObject({ code: "ECONNRESET" });
  const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;
  const socket = connectTls({ host: "127.0.0.1", port: Number(port), rejectUnauthorized: false, ...old });
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  expect(error.code).toBe("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
  (await upgrade(url, SPDY_COMMAND, await trust("first"))).destroy();
});

test("a client that connects and says nothing, before TLS or behind it, is given up in time", async () => {
  const port = Number(new URL(await forwardUrl()).port);
  const silent = connect(port, "127.0.0.1").on("error", () => {});
  const secured = connectTls({ host: "127.0.0.1", port, ...(await trust("first")) }).on("error", () => {});
  await once(secured, "secureConnect");
  const startedAtMs = performance.now();
  await Promise.all([silent, secured].map(async (socket) => await once(socket.resume(), "close")));
  expect(performance.now() - startedAtMs).toBeLessThan(CREATION_MS + 5_000);
});

test("a certificate that was replaced is served by the next process, not by this one", async () => {
  const url = await execUrl(["true"]);
  await install("second");
  (await upgrade(url, SPDY_COMMAND, await trust("first"))).destroy();
  const { pid } = streaming;
  process.kill(pid ?? 0, "SIGKILL");
  const isAnother = async (): Promise<true | undefined> => streaming.pid !== pid || undefined;
  await poll(isAnother, { what: "another process", limitMs: 10_000, everyMs: 10 }, soon());
  await expect(upgrade(await execUrl(["true"]), SPDY_COMMAND, await trust("first"))).rejects.toMatchObject(UNTRUSTED);
  (await upgrade(await execUrl(["true"]), SPDY_COMMAND, await trust("second"))).destroy();
});

test.for([
  ["is not there", "none.key", "none.key"],
  ["is another's", "first.key", "key values mismatch"],
] as const)("a key that %s is told in the log, and nothing is served", async ([, key, why]) => {
  await streaming[Symbol.asyncDispose]();
  start(at("server.crt"), at(key));
  const told = async (): Promise<true | undefined> =>
    log.lines.some(({ fields }) => String(fields["error"]).includes(why)) || undefined;
  await poll(told, { what: `${why} in the log`, limitMs: 10_000, everyMs: 10 }, soon());
});

const soon = (): AbortSignal => AbortSignal.timeout(20_000);
const at = (name: string): string => join(folder.path, name);

/** With the settings that a configuration of only these has. */
function start(certificatePath: string, keyPath: string): void {
  const section = streamingSection.parse({ certificatePath, keyPath, creationMs: CREATION_MS });
  const { listen, idleMs, creationMs } = section;
  const options: StartOptions = { ...listen, idleMs, creationMs, tls: { certificatePath, keyPath }, logLevel: "error" };
  log = keptLog();
  streaming = superviseStreaming(options, { log, nodePath: resolve("node_modules/.bin/node") });
  streaming.answer({
    askAgent: async ({ machineId, command }) => await agent.ask(machineId, command),
    untilEnded: async (_subject, signal) => void (await once(signal, "abort")),
  });
}

async function install(name: string): Promise<void> {
  for (const kind of ["crt", "key"]) await copyFile(at(`${name}.${kind}`), at(`server.${kind}`));
}

async function trust(name: string): Promise<{ readonly ca: string }> {
  return { ca: await readFile(at(`${name}.crt`), "utf8") };
}

async function execUrl(argv: readonly string[]): Promise<string> {
  const target = { machineId: MACHINE_ID, way: "agent", user: "root" } as const;
  return await streaming.exec({ target, argv, wanted: { ...nothingWanted, stdout: true } }, soon());
}

async function forwardUrl(): Promise<string> {
  return await streaming.portForward({ podId: POD_ID, addresses: ["127.0.0.1"], ports: [] }, soon());
}

async function webSocket(url: string, { ca }: { readonly ca: string }): Promise<WebSocket> {
  const socket = new WebSocket(url.replace("https:", "wss:"), ["v5.channel.k8s.io"], { ca });
  await once(socket, "open");
  return socket;
}

async function plainGet(url: string): Promise<void> {
  const asked = request(url).end();
  await once(asked, "response");
}
