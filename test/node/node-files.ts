// Writes what a node reads: the daemon's configuration, crictl's, and the CNI network.

import { mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import { type NodeLayout, type NodeOptions, REPO_PATH } from "./layout.ts";

/** The guests that `make guests` has built are served under their names; another file put there is served too. */
export async function writeNodeFiles(options: NodeOptions, layout: NodeLayout): Promise<void> {
  for (const path of [layout.runFolderPath, layout.stateFolderPath])
    await mkdir(path, { recursive: true, mode: 0o711 });
  for (const path of [
    layout.cniFolderPath,
    dirname(layout.ipamFolderPath),
    layout.imageFolderPath,
    layout.podLogFolderPath,
  ])
    await mkdir(path, { recursive: true });
  await writeFile(layout.configPath, stringify(daemonConfig(options, layout)));
  await writeFile(layout.crictlConfigPath, stringify(crictlConfig(layout)));
  await writeFile(join(layout.cniFolderPath, "10-vmlet.conflist"), JSON.stringify(network(options, layout), null, 2));
  for (const guest of ["tiny", "debian"]) {
    const from = join(REPO_PATH, ".cache/guests", `${guest}.qcow2`);
    await symlink(from, join(layout.imageFolderPath, `${guest}.qcow2`)).catch(ignoreExisting);
  }
}

function daemonConfig({ config = {} }: NodeOptions, layout: NodeLayout): Record<string, unknown> {
  const own: Record<string, Record<string, unknown> | string> = {
    socketPath: layout.socketPath,
    stateFolderPath: layout.stateFolderPath,
    runFolderPath: layout.runFolderPath,
    cni: { configFolderPath: layout.cniFolderPath },
    images: { allowHttp: true },
    metrics: { listen: "127.0.0.1:0" }, // many nodes on one machine
    libvirt: { tcgCacheMiB: 256 }, // twice as fast a boot of Debian as with the default, for memory that test machines have
  };
  const merged: Record<string, unknown> = { ...own };
  for (const [key, value] of Object.entries(config)) {
    const below = own[key];
    merged[key] = typeof below === "object" && typeof value === "object" ? { ...below, ...value } : value;
  }
  return merged;
}

function crictlConfig(layout: NodeLayout): Record<string, unknown> {
  const endpoint = `unix://${layout.socketPath}`;
  return { "runtime-endpoint": endpoint, "image-endpoint": endpoint, timeout: 120, debug: false };
}

function network({ subnet, subnet6, mtu }: NodeOptions, layout: NodeLayout): Record<string, unknown> {
  const ranges = [[{ subnet: `${subnet}.0/24` }], ...(subnet6 === undefined ? [] : [[{ subnet: `${subnet6}::/64` }]])];
  return {
    cniVersion: "1.0.0",
    name: layout.networkName,
    plugins: [
      {
        type: "bridge",
        bridge: layout.bridgeName,
        isGateway: true,
        isDefaultGateway: true,
        hairpinMode: true,
        ...(mtu === undefined ? {} : { mtu }),
        ipam: { type: "host-local", dataDir: dirname(layout.ipamFolderPath), ranges },
      },
      { type: "portmap", capabilities: { portMappings: true }, snat: true },
    ],
  };
}

function ignoreExisting(error: unknown): void {
  if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
}
