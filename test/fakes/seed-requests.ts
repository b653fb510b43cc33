// Requests for seeds, for tests of what a guest finds.

import type { Attachment } from "../../src/model/attachment.ts";
import type { MachineId } from "../../src/model/ids.ts";
import type { EnvVar } from "../../src/model/machine.ts";
import type { SeedRequest } from "../../src/ports/seed.ts";

export const dualStack: Attachment = {
  network: "pods",
  interfaceName: "eth0",
  mac: "52:54:00:12:34:56",
  mtu: 1450,
  addresses: [
    { address: "10.88.0.5", prefixLength: 16, gateway: "10.88.0.1", family: 4 },
    { address: "fd00::5", prefixLength: 64, gateway: "fd00::1", family: 6 },
  ],
  routes: [
    { destination: "0.0.0.0/0", gateway: "10.88.0.1" },
    { destination: "::/0", gateway: "fd00::1" },
    { destination: "10.1.0.0/16", gateway: "10.88.0.9" },
  ],
};

export function someSeedRequest(changes: Partial<SeedRequest> = {}): SeedRequest {
  return {
    seedPath: "/nonexistent/seed.iso",
    machineId: "0123456789ab".padEnd(64, "7") as MachineId,
    hostname: "web-0",
    attachment: dualStack,
    dns: { servers: ["10.96.0.10"], searches: ["default.svc.cluster.local", "cluster.local"], options: ["ndots:5"] },
    sysctls: {},
    userData: "#cloud-config\nhostname: theirs\n",
    sshKeys: ["ssh-ed25519 AAAA one@host"],
    env: [envVar("GREETING", "hello")],
    argv: [],
    workingDir: "",
    files: [],
    ...changes,
  };
}

export function envVar(name: string, value: string | Uint8Array): EnvVar {
  return { name, valueBase64: Buffer.from(value).toString("base64") };
}
