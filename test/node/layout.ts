// Where a node of ours keeps its things. The dev node and every test node are the same kind of thing under other names.

import { join, resolve } from "node:path";

export const REPO_PATH = resolve(import.meta.dirname, "../..");

export interface NodeOptions {
  /** At most 9 characters of a-z, 0-9 and -: folders, bridge and network are named by it. */
  readonly name: string;
  /** IPv4 /24 of the pods, as its first three bytes: `10.87.0`. */
  readonly subnet: string;
  /** A /64 for the pods beside it, as everything before `::`; absent: IPv4 only. */
  readonly subnet6?: string;
  readonly mtu?: number;
  /** TCP port of the image server on loopback; 0: any. */
  readonly imagePort: number;
  /** Laid over the daemon's configuration, section by section. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface NodeLayout {
  readonly runFolderPath: string;
  readonly stateFolderPath: string;
  readonly socketPath: string;
  readonly configPath: string;
  readonly crictlConfigPath: string;
  readonly cniFolderPath: string;
  /** What host-local has given out: a file named by each address in use. */
  readonly ipamFolderPath: string;
  /** What the image server serves. */
  readonly imageFolderPath: string;
  readonly podLogFolderPath: string;
  readonly daemonLogPath: string;
  readonly bridgeName: string;
  readonly networkName: string;
}

export function layoutOf({ name }: NodeOptions): NodeLayout {
  if (!/^[a-z0-9-]{1,9}$/.test(name)) throw new Error(`node name ${name}: wants 1 to 9 of a-z, 0-9 and -`);
  const runFolderPath = `/run/vmlet-${name}`;
  const stateFolderPath = `/var/lib/vmlet-${name}`;
  return {
    runFolderPath,
    stateFolderPath,
    socketPath: join(runFolderPath, "vmlet.sock"),
    configPath: join(runFolderPath, "config.yaml"),
    crictlConfigPath: join(runFolderPath, "crictl.yaml"),
    cniFolderPath: join(runFolderPath, "net.d"),
    ipamFolderPath: join(runFolderPath, "ipam", `vmlet-${name}`),
    imageFolderPath: join(stateFolderPath, "served"),
    podLogFolderPath: join(stateFolderPath, "pod-logs"),
    daemonLogPath: join(runFolderPath, "daemon.log"),
    bridgeName: `vmlet-${name}`,
    networkName: `vmlet-${name}`,
  };
}
