// Which cgroups there are, and whether QEMU can be born in its pod's.

import type { Config } from "../config/schema.ts";
import { cgroupDriverOf, SYSTEMD_PATH } from "../kernel/cgroups.ts";
import { type Finding, ok, warning } from "./finding.ts";
import type { Node } from "./node.ts";

const ROOT = "/sys/fs/cgroup";

export async function checkCgroups(node: Node, { cgroupDriver }: Pick<Config, "cgroupDriver">): Promise<Finding[]> {
  const hasV2 = (await node.stat(`${ROOT}/cgroup.controllers`)) !== undefined;
  const hasSystemd = (await node.stat(SYSTEMD_PATH)) !== undefined;
  const what = `version ${hasV2 ? 2 : 1}, driver ${cgroupDriverOf(cgroupDriver, { hasSystemd })}`;
  if (hasSystemd && (await node.stat("/run/systemd/machine")) === undefined)
    return [
      warning(
        "cgroups",
        `${what}; no systemd-machined, without which QEMU is not in its pod's cgroup`,
        "apt-get install systemd-container && systemctl start systemd-machined, then restart libvirtd",
      ),
    ];
  return [ok("cgroups", what)];
}
