// A node of its own for a test: daemon, state, CNI network, bridge and image server, beside every other node of this
// machine; only libvirtd is shared. `await using node = await startTestNode({}, signal)` removes all of it at the end.

import { randomInt } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../src/lib/spawn.ts";
import { succeeds } from "./command.ts";
import { type CriClient, connectCri } from "./cri-client.ts";
import { daemonPid, killDaemon, startDaemon, stopDaemon } from "./daemon.ts";
import { type ImageServer, serveImages } from "./image-server.ts";
import { layoutOf, type NodeLayout, type NodeOptions, REPO_PATH } from "./layout.ts";
import { ensureLibvirtd } from "./libvirtd.ts";
import { writeNodeFiles } from "./node-files.ts";
import { poll } from "./poll.ts";
import { destroyDomains, findLeftovers, removePods } from "./teardown.ts";

export type TestNodeOptions = Partial<Pick<NodeOptions, "subnet6" | "mtu" | "config">>;

export interface TestNode extends AsyncDisposable {
  readonly layout: NodeLayout;
  /** IPv4 /24 of the pods, as its first three bytes. */
  readonly subnet: string;
  readonly cri: CriClient;
  readonly images: ImageServer;
  /** `tiny.qcow2` or `debian.qcow2` as an image name of this node. */
  readonly tinyImage: string;
  readonly debianImage: string;
  daemonPid(): Promise<number>;
  /** kill -9. */
  kill(signal: AbortSignal): Promise<void>;
  /** SIGTERM, waits for the end. */
  stop(signal: AbortSignal): Promise<void>;
  start(signal: AbortSignal): Promise<void>;
  /** Starts it if it does not run: a test that failed may have left it killed for the next one, and for its own retry. */
  revive(signal: AbortSignal): Promise<void>;
  /** As `start`, of the daemon in another checkout. */
  startFrom(checkoutPath: string, signal: AbortSignal): Promise<void>;
  /** crictl against this node. @throws when it is not built, see `make setup`. */
  crictl(
    args: readonly string[],
    signal: AbortSignal,
  ): Promise<{ exitCode: number | null; stdout: string; stderr: string }>;
  /** What pods of this node left on the machine, a line each. */
  leftovers(signal: AbortSignal): Promise<string[]>;
}

/** Rejects, with nothing left, if the daemon does not come up. */
export async function startTestNode(options: TestNodeOptions, signal: AbortSignal): Promise<TestNode> {
  const name = `t${randomInt(0x1000000).toString(16).padStart(6, "0")}`;
  const subnet = `10.${randomInt(100, 250)}.${randomInt(1, 250)}`;
  const full: NodeOptions = { ...options, name, subnet, imagePort: 0 };
  const layout = layoutOf(full);

  await using undo = new AsyncDisposableStack();
  await ensureLibvirtd(signal);
  undo.defer(() => removeFolders(layout));
  await writeNodeFiles(full, layout);
  const images = undo.use(await serveImages(layout.imageFolderPath, 0));
  await startDaemon(layout, signal); // when it fails it has left no process
  undo.defer(() => tearDown(layout));
  const cri = undo.use(connectCri(layout.socketPath));
  const parts = undo.move();
  const startFrom = async (checkoutPath: string, own: AbortSignal): Promise<void> => {
    await startDaemon({ ...layout, checkoutPath }, own);
    // The client's own connection comes back a moment later.
    const ask = async (): Promise<unknown> => await cri.runtime.version({ version: "v1" }, own);
    await poll(ask, { what: "an answer of the restarted daemon", limitMs: 60_000 }, own);
  };

  return {
    layout,
    subnet,
    cri,
    images,
    tinyImage: images.nameOf("tiny.qcow2"),
    debianImage: images.nameOf("debian.qcow2"),
    daemonPid: async () => {
      const pid = await daemonPid(layout);
      if (pid === undefined) throw new Error("the daemon does not run");
      return pid;
    },
    kill: (own) => killDaemon(layout, own),
    stop: (own) => stopDaemon(layout, own),
    start: async (own) => await startFrom(REPO_PATH, own),
    revive: async (own) => {
      if ((await daemonPid(layout)) === undefined) await startFrom(REPO_PATH, own);
    },
    startFrom,
    crictl: async (args, own) => {
      const file = join(REPO_PATH, ".cache/bin/crictl");
      const done = await run(file, ["--config", layout.crictlConfigPath, ...args], { env: { HOME: "/root" } }, own);
      return { exitCode: done.exitCode, stdout: done.stdout.toString("utf8"), stderr: done.stderr };
    },
    leftovers: (own) => findLeftovers(layout, own),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

/** Pods first, by the daemon (started again if a test killed it); then whatever is still there, by force. */
async function tearDown(layout: NodeLayout): Promise<void> {
  const signal = AbortSignal.timeout(90_000);
  try {
    if ((await daemonPid(layout)) === undefined) await startDaemon(layout, signal);
    await removePods(layout, signal);
  } finally {
    await stopDaemon(layout, signal);
    const left = await findLeftovers(layout, signal);
    if (left.length > 0) console.error(`${layout.bridgeName}: left behind:\n  ${left.join("\n  ")}`);
    await destroyDomains(layout, signal);
    await succeeds(["/usr/sbin/ip", "link", "delete", layout.bridgeName], signal);
  }
}

async function removeFolders(layout: NodeLayout): Promise<void> {
  await rm(layout.runFolderPath, { recursive: true, force: true });
  await rm(layout.stateFolderPath, { recursive: true, force: true });
}
