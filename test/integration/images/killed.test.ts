// kill -9 in the middle of a download: the next pull fetches what was missing, and at most one window more.

import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { OCI_LAYER, OciRegistry } from "../../fakes/oci-registry.ts";
import { RangeServer } from "../../fakes/range-server.ts";
import { tar } from "../../fakes/tar-archive.ts";
import { WebServer } from "../../fakes/web-server.ts";

const MIB = 1024 * 1024;
const WINDOW_BYTES = 32 * MIB;
const LENGTH = 160 * MIB;
const bytes = randomFillSync(Buffer.alloc(LENGTH));
bytes.set([0x55, 0xaa], 510);
const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

interface Source extends AsyncDisposable {
  readonly name: string;
  /** `<host>/hosts.toml` in it. */
  readonly hostsFolderPath?: string;
  readonly file: RangeServer;
}

async function webServer(speed: Speed): Promise<Source> {
  const server = await WebServer.listen();
  const file = RangeServer.on(server, "/disk", { bytes, headers: { etag: '"v1"' }, ...speed });
  return { name: server.nameOf("/disk"), file, [Symbol.asyncDispose]: async () => server[Symbol.asyncDispose]() };
}

/** With one blob, which is slow to come. */
async function registry(mediaType: string, blob: Buffer, speed: Speed): Promise<Source> {
  await using undo = new AsyncDisposableStack();
  const hostsFolderPath = await mkdtemp(join(tmpdir(), "vmlet-hosts-"));
  undo.defer(async () => rm(hostsFolderPath, { recursive: true, force: true }));
  const server = undo.use(await OciRegistry.listen());
  await server.writeHosts(hostsFolderPath);
  server.push("vm", [{ mediaType, bytes: blob }]);
  const { digest: blobDigest } = server.blob(blob);
  const file = new RangeServer({ bytes: blob, headers: {}, ...speed });
  server.hook = (request, response, url) => {
    if (url.pathname !== `/v2/vm/blobs/${blobDigest}`) return false;
    file.answer(request, response);
    return true;
  };
  const kept = undo.move();
  return { name: server.nameOf("vm"), hostsFolderPath, file, [Symbol.asyncDispose]: async () => kept.disposeAsync() };
}

const sources = {
  "a web server": webServer,
  "a registry": async (speed: Speed) => registry("application/vnd.lfedge.disk.layer.v1+raw", bytes, speed),
  "a registry, in an archive": async (speed: Speed) =>
    registry(OCI_LAYER, tar([{ path: "disk/vm.img", bytes }]), speed),
};

interface Speed {
  readonly bytesPerSecond?: number;
}

const fast: Speed = {};
const slow: Speed = { bytesPerSecond: 40 * MIB };
const points: readonly { from: keyof typeof sources; how: string; percent: number; speed: Speed }[] = [
  { from: "a web server", how: "fast", percent: 1, speed: fast },
  { from: "a web server", how: "fast", percent: 99, speed: fast },
  { from: "a web server", how: "slow on each connection", percent: 50, speed: slow },
  { from: "a registry", how: "slow on each connection", percent: 50, speed: slow },
  { from: "a registry, in an archive", how: "fast", percent: 99, speed: fast },
];
const more: typeof points = [
  { from: "a web server", how: "fast", percent: 50, speed: fast },
  { from: "a web server", how: "slow on each connection", percent: 99, speed: slow },
  { from: "a registry", how: "fast", percent: 1, speed: fast },
  { from: "a registry", how: "fast", percent: 99, speed: fast },
  { from: "a registry, in an archive", how: "fast", percent: 1, speed: fast },
  { from: "a registry, in an archive", how: "slow on each connection", percent: 50, speed: slow },
];
const tried = process.env["FULL"] === "1" ? [...points, ...more] : points;

test.each(tried)("killed when $from, $how, has sent $percent %", async ({ from, percent, speed }) => {
  await using undo = new AsyncDisposableStack();
  const rootPath = await mkdtemp(join(tmpdir(), "vmlet-killed-"));
  undo.defer(async () => rm(rootPath, { recursive: true, force: true }));
  await chmod(rootPath, 0o711);
  const source = undo.use(await sources[from](speed));
  const { file } = source;

  const killed = pullIn(rootPath, source);
  undo.defer(() => void killed.kill("SIGKILL"));
  // By the server: whoever looks now and then may find it at its end.
  file.onSent = (sentBytes) => void (sentBytes > (LENGTH * percent) / 100 && killed.kill("SIGKILL"));
  expect(await once(killed, "exit")).toEqual([null, "SIGKILL"]);
  file.onSent = undefined;
  const missingBytes = LENGTH - file.sentBytes;

  file.sentBytes = 0;
  const again = pullIn(rootPath, source);
  undo.defer(() => void again.kill("SIGKILL"));
  expect(await outputOf(again)).toBe(digest);
  expect(file.sentBytes).toBeLessThanOrEqual(Math.max(0, missingBytes) + WINDOW_BYTES);
  expect(await readdir(join(rootPath, "partial"))).toEqual([]);
});

function pullIn(rootPath: string, { name, hostsFolderPath }: Source): ChildProcess {
  const hosts = hostsFolderPath === undefined ? [] : [hostsFolderPath];
  const args = [join(import.meta.dirname, "puller.ts"), rootPath, name, ...hosts];
  return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
}

async function outputOf(child: ChildProcess): Promise<string> {
  const said: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => said.push(chunk));
  await once(child, "close");
  return Buffer.concat(said).toString();
}
