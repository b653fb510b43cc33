// Debian's containerd, started for a test beside a node of ours: its own folders, the node's CNI network, one image.

import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { output, succeeds } from "./command.ts";
import { connectCri } from "./cri-client.ts";
import type { NodeLayout } from "./layout.ts";
import { poll } from "./poll.ts";
import { pidOf, startInBackground, stop } from "./process.ts";

/** A busybox: also what sandboxes are made of. */
export const CONTAINER_IMAGE = "docker.io/library/busybox:vmlet";

export interface Containerd extends AsyncDisposable {
  readonly socketPath: string;
  pid(): Promise<number>;
  start(signal: AbortSignal): Promise<void>;
  /** SIGTERM; its containers go on. */
  stop(signal: AbortSignal): Promise<void>;
}

/** The cheapest one works on every file system; the other is what nodes have. */
type Snapshotter = "native" | "overlayfs";

/**
 * Resolves when it answers and has its image. Disposing removes its containers, itself and its folders.
 * @param layout `snapshotter`: native when absent.
 */
export async function startContainerd(
  layout: NodeLayout & { readonly snapshotter?: Snapshotter },
  signal: AbortSignal,
): Promise<Containerd> {
  const folder = join(layout.stateFolderPath, "containerd");
  const runFolder = join(layout.runFolderPath, "containerd");
  const socketPath = join(runFolder, "containerd.sock");
  const configPath = join(runFolder, "config.toml");
  const background = { pidPath: join(runFolder, "pid"), logPath: join(runFolder, "log") };
  await mkdir(join(folder, "root"), { recursive: true });
  await mkdir(runFolder, { recursive: true });
  await writeFile(configPath, configOf(layout, folder, runFolder, socketPath));

  const own = {
    socketPath,
    pid: async (): Promise<number> => {
      const pid = await pidOf(background.pidPath, configPath);
      if (pid === undefined) throw new Error("containerd does not run");
      return pid;
    },
    start: async (starting: AbortSignal): Promise<void> => {
      await startInBackground(["/usr/bin/containerd", "--config", configPath], background);
      const what = `an answer of containerd (${background.logPath})`;
      await poll(
        async () => ((await answers(socketPath, starting)) ? true : undefined),
        { what, limitMs: 60_000 },
        starting,
      );
    },
    stop: async (stopping: AbortSignal): Promise<void> => await stop(await own.pid(), 20_000, stopping),
  };
  await using undo = new AsyncDisposableStack();
  undo.defer(async () => {
    const removing = AbortSignal.timeout(60_000);
    if ((await pidOf(background.pidPath, configPath)) === undefined) await own.start(removing);
    await removeEverything(socketPath, removing);
    await own.stop(removing);
    await unmountBelow(runFolder, removing);
    await rm(folder, { recursive: true, force: true });
    await rm(runFolder, { recursive: true, force: true });
  });
  await own.start(signal);
  await importImage(socketPath, layout.snapshotter ?? "native", signal);
  const parts = undo.move();
  return { ...own, [Symbol.asyncDispose]: async () => await parts.disposeAsync() };
}

/** Machines of tests may not lower an oom_score_adj. */
function configOf(
  layout: NodeLayout & { readonly snapshotter?: Snapshotter },
  folder: string,
  runFolder: string,
  socketPath: string,
): string {
  return `version = 2
root = "${folder}/root"
state = "${runFolder}/state"
[grpc]
  address = "${socketPath}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${CONTAINER_IMAGE}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${layout.snapshotter ?? "native"}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${layout.cniFolderPath}"
`;
}

async function answers(socketPath: string, signal: AbortSignal): Promise<boolean> {
  using client = connectCri(socketPath);
  const soon = AbortSignal.any([signal, AbortSignal.timeout(2_000)]);
  return await client.image.listImages({ filter: undefined }, soon).then(
    () => true,
    () => false,
  );
}

async function importImage(socketPath: string, snapshotter: Snapshotter, signal: AbortSignal): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "vmlet-busybox-"));
  try {
    const archive = await buildContainerImage(work, signal);
    await output(
      ["/usr/bin/ctr", "-a", socketPath, "-n", "k8s.io", "images", "import", "--snapshotter", snapshotter, archive],
      signal,
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * `CONTAINER_IMAGE`: Debian's busybox in a layer of its own, as `docker save` writes it.
 * @param work an empty folder. Resolves with the path of the archive in it.
 */
export async function buildContainerImage(work: string, signal: AbortSignal): Promise<string> {
  const rootFolder = join(work, "rootfs");
  for (const name of ["bin", "etc", "proc", "sys", "dev", "tmp"])
    await mkdir(join(rootFolder, name), { recursive: true });
  await cp("/bin/busybox", join(rootFolder, "bin/busybox"));
  for (const name of ["sh", "sleep", "echo", "cat", "httpd", "true", "wget", "ls"])
    await symlink("busybox", join(rootFolder, "bin", name));
  await output(["/bin/tar", "-C", rootFolder, "-cf", join(work, "layer.tar"), "."], signal);
  const digest = (await output(["/usr/bin/sha256sum", join(work, "layer.tar")], signal)).slice(0, 64);
  const config = {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Cmd: ["/bin/sleep", "2147483647"], Env: ["PATH=/bin"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  await writeFile(join(work, "config.json"), JSON.stringify(config));
  const manifest = [{ Config: "config.json", RepoTags: [CONTAINER_IMAGE], Layers: ["layer.tar"] }];
  await writeFile(join(work, "manifest.json"), JSON.stringify(manifest));
  const archive = join(work, "image.tar");
  await output(["/bin/tar", "-C", work, "-cf", archive, "manifest.json", "config.json", "layer.tar"], signal);
  return archive;
}

async function removeEverything(socketPath: string, signal: AbortSignal): Promise<void> {
  using cri = connectCri(socketPath);
  const { items } = await cri.runtime.listPodSandbox({ filter: undefined }, signal);
  for (const { id: podSandboxId } of items) {
    await cri.runtime.stopPodSandbox({ podSandboxId }, signal);
    await cri.runtime.removePodSandbox({ podSandboxId }, signal);
  }
}

/** What a shim that was killed may have left. */
async function unmountBelow(folder: string, signal: AbortSignal): Promise<void> {
  const shims = await readdir(join(folder, "state/io.containerd.grpc.v1.cri/sandboxes")).catch((): string[] => []);
  for (const name of shims)
    await succeeds(["/usr/bin/umount", join(folder, "state/io.containerd.grpc.v1.cri/sandboxes", name, "shm")], signal);
}
