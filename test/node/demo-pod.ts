// The pod of the demo, as the kubelet or a person with crictl would write it.

import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { DemoPod } from "./demo-driver.ts";
import { imageNameOf } from "./image-server.ts";
import type { NodeLayout } from "./layout.ts";

export const DEMO_LABEL = "vmlet.dev/demo";

// The tiny guest has a web page of its own; this gives the Debian guest one, the way its owner would: by cloud-init.
const DEBIAN_USER_DATA = `#cloud-config
runcmd:
  - mkdir -p /srv/demo
  - echo "debian, a virtual machine, $(hostname), kernel $(uname -r)" > /srv/demo/index.html
  - systemd-run --unit=demo-page python3 -m http.server --directory /srv/demo 80
`;

/** Its label carries a value of its own, so that a demo removes its own pod and not another's. */
export function demoPod(guest: "tiny" | "debian", layout: NodeLayout, imagePort: number): DemoPod {
  const image = imageNameOf(imagePort, `${guest}.qcow2`);
  const uid = randomUUID();
  const memoryMiB = guest === "tiny" ? 256 : 1024;
  return {
    image,
    label: uid,
    pod: {
      metadata: { name: `demo-${guest}`, namespace: "default", uid, attempt: 0 },
      hostname: `demo-${guest}`,
      log_directory: join(layout.podLogFolderPath, `default_demo-${guest}_${uid}`),
      labels: { [DEMO_LABEL]: uid },
      annotations: guest === "debian" ? { "vmlet.dev/user-data": DEBIAN_USER_DATA } : {},
      linux: {},
    },
    container: {
      metadata: { name: guest, attempt: 0 },
      image: { image },
      log_path: `${guest}_0.log`,
      linux: {
        resources: {
          memory_limit_in_bytes: memoryMiB * 1048576,
          cpu_period: 100000,
          cpu_quota: guest === "tiny" ? 100000 : 200000,
        },
      },
    },
  };
}
