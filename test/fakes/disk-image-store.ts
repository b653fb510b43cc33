// The real image store in a temp folder, fed by a web server on loopback.

import { access, chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseConfig } from "../../src/config/load.ts";
import type { PullProgress } from "../../src/images/progress.ts";
import { openImageStore } from "../../src/images/store.ts";
import { type Run, run } from "../../src/lib/spawn.ts";
import type { ImageDigest } from "../../src/model/ids.ts";
import type { ImageStore } from "../../src/ports/image-store.ts";
import { type KeptLog, keptLog } from "./kept-log.ts";
import { WebServer } from "./web-server.ts";

export interface DiskStoreFixture extends AsyncDisposable {
  readonly rootPath: string;
  readonly server: WebServer;
  readonly log: KeptLog;
  readonly progress: readonly PullProgress[];
  /** Over the network, as the metric counts them. */
  readonly receivedBytes: number;
  readonly store: ImageStore & AsyncDisposable;
  /** Closes the store and opens it again on the same folder, with these settings beside those that it had at first. */
  reopen(images?: Readonly<Record<string, unknown>>): Promise<ImageStore>;
  hasBytes(digest: ImageDigest): Promise<boolean>;
  /** Every file under the root, sorted. */
  files(): Promise<readonly string[]>;
}

export interface FixtureOptions {
  /** Instead of a new temp folder; not removed. */
  readonly rootPath?: string;
  /** As under `images:` in the configuration. */
  readonly images?: Readonly<Record<string, unknown>>;
  readonly qemuGid?: number;
  readonly run?: Run;
  readonly server?: WebServer;
}

export async function openDiskStore(options: FixtureOptions = {}): Promise<DiskStoreFixture> {
  await using parts = new AsyncDisposableStack();
  const signal = AbortSignal.timeout(60_000);
  const server = options.server ?? parts.use(await WebServer.listen());
  const rootPath = options.rootPath ?? (await tempFolder(parts));
  const log = keptLog();
  const progress: PullProgress[] = [];
  const ofQemu = options.qemuGid === undefined ? {} : { qemuGid: options.qemuGid };
  let receivedBytes = 0;
  const open = async (more = {}) => {
    const settings = JSON.stringify({ images: { allowHttp: true, ...options.images, ...more } });
    return openImageStore(
      { ...parseConfig(settings, "test", []).images, rootPath, ...ofQemu },
      {
        run: options.run ?? run,
        clock: { nowMs: () => Date.now() },
        log,
        onProgress: (told) => void progress.push(told),
        observer: { bytesReceived: (bytes) => void (receivedBytes += bytes), pullEnded: () => {} },
      },
      signal,
    );
  };
  let store = await open();
  parts.defer(async () => store[Symbol.asyncDispose]());
  const kept = parts.move();
  return {
    rootPath,
    server,
    log,
    progress,
    get receivedBytes() {
      return receivedBytes;
    },
    get store() {
      return store;
    },
    reopen: async (images) => {
      await store[Symbol.asyncDispose]();
      store = await open(images);
      return store;
    },
    hasBytes: async (digest) => exists(join(rootPath, "blobs/sha256", digest.slice("sha256:".length))),
    files: async () => filesUnder(rootPath),
    [Symbol.asyncDispose]: async () => kept.disposeAsync(),
  };
}

/** A `run` for tests without QEMU: qemu-img agrees with whatever it is asked about. */
export const agreeingQemuImg =
  (virtualSizeBytes: number): Run =>
  async (_file, args) => {
    const format = args[args.indexOf("-f") + 1];
    const stdout = Buffer.from(JSON.stringify({ format, "virtual-size": virtualSizeBytes, "check-errors": 0 }));
    return { exitCode: 0, signalName: null, stdout, stderr: "", truncated: false };
  };

/** Open to all, because qemu-img reads in it as nobody. */
async function tempFolder(parts: AsyncDisposableStack): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "vmlet-images-"));
  parts.defer(async () => rm(path, { recursive: true, force: true }));
  await chmod(path, 0o711);
  return path;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function filesUnder(rootPath: string): Promise<readonly string[]> {
  const entries = await readdir(rootPath, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  return files.map((entry) => join(entry.parentPath, entry.name).slice(rootPath.length + 1)).toSorted();
}
