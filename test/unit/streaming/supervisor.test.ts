import { once } from "node:events";
import { mkdtempDisposable, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { failsWith } from "../../../src/model/failure.ts";
import type { DaemonCalls, StartOptions } from "../../../src/streaming/protocol.ts";
import { type SupervisedStreaming, superviseStreaming } from "../../../src/streaming/supervisor.ts";
import { keptLog } from "../../fakes/kept-log.ts";
import { LocalAgent } from "../../fakes/local-agent.ts";
import { SpdyClient } from "../../fakes/spdy-client.ts";
import { poll } from "../../node/poll.ts";
import { MACHINE_ID, POD_ID } from "./site.ts";

const OPTIONS: StartOptions = { host: "127.0.0.1", port: 0, idleMs: 60_000, creationMs: 5_000, logLevel: "error" };
const nodePath = resolve("node_modules/.bin/node");
let streaming: SupervisedStreaming;
/** Resolves when the daemon is told that the pod has stopped. */
let podStops = Promise.withResolvers<void>();

/** The agent of every guest. */
let agent: DaemonCalls["askAgent"];

beforeEach(() => {
  streaming = superviseStreaming(OPTIONS, { log: keptLog(), nodePath });
  podStops = Promise.withResolvers();
  streaming.answer({
    untilEnded: async () => await podStops.promise,
    askAgent: async (...asked) => await agent(...asked),
  });
});
afterEach(() => streaming[Symbol.asyncDispose]());

test("a URL is given out, good for one client, by a process that is not ours", async () => {
  const server = createServer((socket) => socket.end("from the pod")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const client = await SpdyClient.connect(await url(), "portforward.k8s.io");
  const headers = { port: `${port}`, requestID: "0" };
  client.open({ ...headers, streamType: "error" }).end();
  expect(await text(client.open({ ...headers, streamType: "data" }))).toBe("from the pod");
  expect(streaming.pid).not.toBe(process.pid);
  podStops.resolve(); // asked of the daemon over the channel
  await client.closed;
  server.close();
});

test("killed, it is started again; a call made meanwhile waits for that", async () => {
  const before = await url();
  const client = await SpdyClient.connect(before, "portforward.k8s.io");
  const { pid } = streaming;
  process.kill(pid ?? 0, "SIGKILL");
  await client.closed;
  await poll(
    async () => streaming.pid !== pid || undefined,
    { what: "another process", limitMs: 10_000, everyMs: 10 },
    soon(),
  );
  const after = await url();
  expect(new URL(after).port).not.toBe(new URL(before).port);
  (await SpdyClient.connect(after, "portforward.k8s.io")).transport.destroy();
});

test("ends with its daemon, its process with it", async () => {
  await url();
  const { pid } = streaming;
  await streaming[Symbol.asyncDispose]();
  expect(await isAlive(pid)).toBe(false);
  await expect(url()).rejects.toSatisfy((error) => failsWith(error, "STREAMING_GONE"));
});

test("an address that is taken is tried again until it is free, and calls fail soon meanwhile", async () => {
  await streaming[Symbol.asyncDispose]();
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  const log = keptLog();
  streaming = superviseStreaming({ ...OPTIONS, port }, { log, nodePath });
  await expect(url()).rejects.toSatisfy((error) => failsWith(error, "STREAMING_GONE"));
  expect(log.lines.map(({ fields }) => String(fields["error"])).join()).toContain("EADDRINUSE");
  other.close();
  await poll(
    async () => (await url().catch(() => undefined)) !== undefined || undefined,
    { what: "a URL", limitMs: 40_000 },
    AbortSignal.timeout(50_000),
  );
}, 60_000);

test("a Node that cannot be started is a failure of the calls, and of nothing else", async () => {
  await streaming[Symbol.asyncDispose]();
  streaming = superviseStreaming(OPTIONS, { log: keptLog(), nodePath: "/no/such/node" });
  await expect(url()).rejects.toSatisfy((error) => failsWith(error, "STREAMING_GONE"));
});

const soon = (): AbortSignal => AbortSignal.timeout(20_000);

const url = (): Promise<string> =>
  streaming.portForward({ podId: POD_ID, addresses: ["127.0.0.1"], ports: [] }, soon());

async function isAlive(pid: number | undefined): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat !== "" && !/\) [ZX]/.test(stat);
}

test("a command is run by that process, by the ways into guests that it has and the daemon's libvirt", async () => {
  await using local = new LocalAgent();
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  agent = async ({ machineId, command }) => await local.ask(machineId, command);
  const target = { machineId: MACHINE_ID, way: "agent", user: "root", workingDir: folder.path } as const;
  const { exitCode, stdout } = await streaming.capture(target, { argv: ["sh", "-c", "pwd; exit 3"] }, soon());
  expect([exitCode, Buffer.from(stdout).toString()]).toEqual([3, `${folder.path}\n`]);
  const noSsh = streaming.capture({ ...target, way: "ssh" }, { argv: ["true"] }, soon());
  await expect(noSsh).rejects.toMatchObject({ failure: { code: "WRONG_STATE", subject: "guest" } });
});
