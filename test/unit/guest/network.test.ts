import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { type GuestNetwork, networkConfig, networkVariables } from "../../../src/guest/network.ts";
import type { Attachment } from "../../../src/model/attachment.ts";
import { dualStack, someSeedRequest } from "../../fakes/seed-requests.ts";

const network = (attachment: Attachment = dualStack): GuestNetwork => ({ ...someSeedRequest(), attachment });
const ethernet = (attachment: Attachment): unknown => networkConfig(network(attachment));

test("both families, MTU, DNS and the routes of CNI reach the network config, matched by MAC", () => {
  expect(ethernet(dualStack)).toEqual({
    version: 2,
    ethernets: {
      eth0: {
        match: { macaddress: "52:54:00:12:34:56" },
        "set-name": "eth0",
        mtu: 1450,
        dhcp4: false,
        dhcp6: false,
        "accept-ra": false,
        addresses: ["10.88.0.5/16", "fd00::5/64"],
        gateway4: "10.88.0.1",
        gateway6: "fd00::1",
        routes: [{ to: "10.1.0.0/16", via: "10.88.0.9" }],
        nameservers: { addresses: ["10.96.0.10"], search: ["default.svc.cluster.local", "cluster.local"] },
      },
    },
  });
});

test("a gateway outside every prefix is on the link, and a route without any gateway is, too", () => {
  const attachment: Attachment = {
    ...dualStack,
    addresses: [{ address: "192.168.7.9", prefixLength: 32, family: 4 }],
    routes: [{ destination: "0.0.0.0/0", gateway: "169.254.1.1" }, { destination: "169.254.1.1/32" }],
  };
  expect(ethernet(attachment)).toMatchObject({
    ethernets: {
      eth0: {
        routes: [
          { to: "0.0.0.0/0", via: "169.254.1.1", "on-link": true },
          { to: "169.254.1.1/32", scope: "link" },
        ],
      },
    },
  });
});

test("a default route on the link has no gateway, and the guest is told so", () => {
  const attachment: Attachment = { ...dualStack, routes: [{ destination: "0.0.0.0/0" }] };
  expect(ethernet(attachment)).toMatchObject({ ethernets: { eth0: { routes: [{ to: "0.0.0.0/0", scope: "link" }] } } });
  expect(networkVariables(network(attachment))).toContain("VMLET_GATEWAYS=''\nVMLET_ROUTES='0.0.0.0/0,'\n");
});

test("without a default route from CNI the guest has none", () => {
  const config = JSON.stringify(ethernet({ ...dualStack, routes: [] }));
  expect(config).not.toContain("gateway");
  expect(config).not.toContain("routes");
});

test("the variables say the same to a shell", () => {
  const script = `${networkVariables(network())}
    for each in $VMLET_ADDRESSES; do echo "address $each"; done
    for each in $VMLET_ROUTES; do echo "route \${each%,*} via \${each#*,}"; done
    echo "$VMLET_MAC $VMLET_MTU $VMLET_HOSTNAME $VMLET_GATEWAYS $VMLET_NAMESERVERS $VMLET_SEARCHES $VMLET_DNS_OPTIONS"`;
  const { stdout } = spawnSync("/bin/sh", ["-eu", "-c", script]);
  expect(stdout.toString().trim().split("\n")).toEqual([
    "address 10.88.0.5/16",
    "address fd00::5/64",
    "route 10.1.0.0/16 via 10.88.0.9",
    "52:54:00:12:34:56 1450 web-0 10.88.0.1 fd00::1 10.96.0.10 default.svc.cluster.local cluster.local ndots:5",
  ]);
});

test.each(["a b", "a\nb", "a\u0000", "é"])("a search domain that no resolver can have is refused: %j", (search) => {
  const dns = { servers: [], searches: [search], options: [] };
  expect(() => networkVariables({ ...network(), dns })).toThrow("dnsConfig.searches");
});
