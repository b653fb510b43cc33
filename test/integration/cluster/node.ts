// The room's only node: containerd, the router and a kubelet, each where it is on every node.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { buildContainerImage, CONTAINER_IMAGE } from "../../node/containerd.ts";
import { kubeletConfiguration } from "../../node/kubelet.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import type { Room } from "./room.ts";

export const NODE_NAME = "vm-node";
const ROUTER = "/run/vmlet/router.sock";

export interface NodeOptions {
  readonly kubeletPath: string;
  readonly kubeconfigPath: string;
  readonly cgroupRoot: string;
  /** Archives of images that containerd has from the start. */
  readonly images: readonly string[];
}

type Daemon = "containerd" | "router" | "kubelet";

export interface Node {
  /** Killed, started, and there again. */
  restart(name: Daemon): Promise<void>;
}

/** Resolves when the kubelet answers, which is before its node is ready. */
export async function startNode(room: Room, options: NodeOptions, signal: AbortSignal): Promise<Node> {
  const at = (name: string): string => join(room.folderPath, name);
  await writeFile(at("network.conflist"), JSON.stringify(network));
  await room.output(["/bin/cp", at("network.conflist"), "/etc/cni/net.d/10-room.conflist"], signal);

  await writeFile(at("containerd.toml"), containerd);
  const { kubeletPath, kubeconfigPath, cgroupRoot } = options;
  const configuration = { ...kubeletConfiguration(ROUTER, cgroupRoot), clusterDNS: ["10.96.0.10"] };
  await writeFile(at("kubelet.yaml"), stringify(configuration));
  const kubeletFlags = {
    config: at("kubelet.yaml"),
    kubeconfig: kubeconfigPath,
    "hostname-override": NODE_NAME,
    "node-ip": room.address,
    v: 2,
  };
  const flags = Object.entries(kubeletFlags).map(([name, value]) => `--${name}=${value}`);
  const ctr = ["/usr/bin/ctr", "-n", "k8s.io"] as const;
  const curl = ["/usr/bin/curl", "-skf"] as const;
  const daemons: Record<Daemon, { argv: readonly [string, ...string[]]; answers: readonly [string, ...string[]] }> = {
    containerd: {
      argv: ["/usr/bin/containerd", "--config", at("containerd.toml")],
      answers: [...ctr, "version"],
    },
    router: {
      argv: [join(REPO_PATH, "bin/vmlet"), "router"],
      answers: [...curl, "http://127.0.0.1:10281/healthz"],
    },
    kubelet: { argv: [kubeletPath, ...flags], answers: [...curl, `https://${room.address}:10250/healthz`] },
  };
  async function start(name: Daemon): Promise<void> {
    const { argv, answers } = daemons[name];
    room.start(name, argv);
    const ask = async () => ({ said: await room.output(answers, signal) });
    try {
      await poll(ask, { what: name, limitMs: 60_000 }, signal);
    } catch (error) {
      throw new Error(await room.logOf(name), { cause: error });
    }
  }

  await start("containerd");
  await mkdir(at("busybox"));
  for (const archive of [await buildContainerImage(at("busybox"), signal), ...options.images])
    await room.output([...ctr, "images", "import", archive], signal);
  await start("router");
  await start("kubelet");
  return {
    restart: async (name) => {
      await room.kill(name, signal);
      await start(name);
    },
  };
}

/** Machines of tests may not lower an oom_score_adj. */
const containerd = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${CONTAINER_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`;

const network = {
  cniVersion: "1.0.0",
  name: "room",
  plugins: [
    {
      type: "bridge",
      bridge: "pods0",
      isGateway: true,
      isDefaultGateway: true,
      hairpinMode: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.78.0.0/24" }]] },
    },
    { type: "portmap", capabilities: { portMappings: true }, snat: true },
  ],
};
