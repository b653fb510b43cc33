// Which cgroups there are, and how QEMU comes into its pod's.

import type { Config } from "../config/schema.ts";
import { cgroupDriverOf, MACHINED_PATH, SYSTEMD_PATH } from "../kernel/cgroups.ts";
import { type Finding, ok, warning } from "./finding.ts";
import type { Node } from "./node.ts";

const ROOT = "/sys/fs/cgroup";

export async function checkCgroups(node: Node, { cgroupDriver }: Pick<Config, "cgroupDriver">): Promise<Finding[]> {
  const has = async (path: string): Promise<boolean> => (await node.stat(path)) !== undefined;
  const hasV2 = await has(`${ROOT}/cgroup.controllers`);
  const hasSystemd = await has(SYSTEMD_PATH);
  const what = `version ${hasV2 ? 2 : 1}, driver ${cgroupDriverOf(cgroupDriver, { hasSystemd })}`;
  const pods = `${ROOT}${hasV2 ? "" : "/memory"}/kubepods`;
  if ((await has(pods)) && !(await has(`${pods}.slice`)))
    return [ok("cgroups", `${what}; the kubelet's own driver is cgroupfs: each QEMU is moved into its pod's group`)];
  if (hasSystemd && !(await has(MACHINED_PATH)))
    return [
      warning(
        "cgroups",
        `${what}; no systemd-machined: systemd does not know of the groups that libvirt makes for QEMU in those of pods`,
        "apt-get install systemd-container on the node, then restart libvirtd and vmlet",
      ),
    ];
  return [ok("cgroups", what)];
}
