import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { networkContract } from "../../contract/network.contract.ts";
import { PrivateHost, sh, soon } from "./private-host.ts";

networkContract("CNI with bridge, host-local and portmap", async () => {
  const host = await PrivateHost.create();
  return {
    network: host.network,
    newRequest: () => host.newRequest(),
    loseNetns: (request) => host.loseNetns(request),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  };
});

test("an attachment has what the plugins really made: both families, routes, MAC and MTU", async () => {
  await using host = await PrivateHost.create({ mtu: 1432 });
  const request = await host.newRequest();
  const attachment = await host.network.attach(request, soon());
  expect(attachment).toMatchObject({
    network: "test-net",
    mtu: 1432,
    addresses: [
      { address: "10.77.0.2", prefixLength: 24, gateway: "10.77.0.1", family: 4 },
      { address: "fd77::2", prefixLength: 64, gateway: "fd77::1", family: 6 },
    ],
    routes: [
      { destination: "0.0.0.0/0", gateway: "10.77.0.1" },
      { destination: "::/0", gateway: "fd77::1" },
    ],
  });
  expect(await sh(request.netnsPath, "ip", "link", "show", "eth0")).toContain(attachment.mac);
});

test("detach gives the address and the veth back, and forgets the record", async () => {
  await using host = await PrivateHost.create();
  const request = await host.newRequest();
  await host.network.attach(request, soon());
  await host.network.detach(request, soon());
  expect(await readdir(join(host.folderPath, "cache"))).toEqual([]);
  expect((await readdir(join(host.folderPath, "ipam/test-net"))).filter((name) => name.startsWith("10."))).toEqual([]);
  expect(await sh(host.netnsPath, "ip", "-o", "link", "show", "type", "veth")).toBe("");
});

test("a host port leads to the pod until it is detached", async () => {
  await using host = await PrivateHost.create();
  const request = await host.newRequest({
    portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 18080, hostIp: "" }],
  });
  await host.network.attach(request, soon());
  expect(await sh(host.netnsPath, "iptables-save")).toContain("--dport 18080");
  await host.network.detach(request, soon());
  expect(await sh(host.netnsPath, "iptables-save")).not.toContain("--dport 18080");
});

test("after a crash in the middle of ADD the next attach starts afresh, with no address lost", async () => {
  await using host = await PrivateHost.create();
  const request = await host.newRequest();
  await host.network.attach(request, soon());
  const recordPath = join(host.folderPath, "cache", `${request.podId}.json`);
  const { result: _result, attachment: _attachment, ...record } = JSON.parse(await readFile(recordPath, "utf8"));
  await writeFile(recordPath, JSON.stringify({ ...record, at: "intended" }));
  await host.network.attach(request, soon());
  const leases = (await readdir(join(host.folderPath, "ipam/test-net"))).filter((name) => name.startsWith("10."));
  expect(leases).toHaveLength(1);
});
