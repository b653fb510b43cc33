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

export interface Node {
  /** What was killed is started again by these. */
  readonly start: Readonly<Record<"containerd" | "router" | "kubelet", () => void>>;
}

/** Resolves when the kubelet is started, which is before its node is ready. */
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
  const start = {
    containerd: () => room.start("containerd", ["/usr/bin/containerd", "--config", at("containerd.toml")]),
    router: () => room.start("router", [join(REPO_PATH, "bin/vmlet"), "router"]),
    kubelet: () => room.start("kubelet", [kubeletPath, ...flags]),
  };

  start.containerd();
  const ctr = ["/usr/bin/ctr", "-n", "k8s.io"] as const;
  await poll(() => room.output([...ctr, "version"], signal), { what: "containerd", limitMs: 30_000 }, signal);
  await mkdir(at("busybox"));
  for (const archive of [await buildContainerImage(at("busybox"), signal), ...options.images])
    await room.output([...ctr, "images", "import", archive], signal);
  start.router();
  const hasSocket = async () => await room.output(["/usr/bin/test", "-S", ROUTER], signal);
  await poll(hasSocket, { what: "the router", limitMs: 30_000 }, signal); // systemd would start the kubelet again
  start.kubelet();
  return { start };
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
