import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createWiring } from "../../../src/kernel/wiring.ts";
import type { Run } from "../../../src/lib/spawn.ts";
import type { NetworkRequest } from "../../../src/ports/network.ts";
import type { WireRequest, Wiring } from "../../../src/ports/wiring.ts";
import { PrivateHost, sh, silent, soon } from "./private-host.ts";
import { StandInGuest } from "./stand-in-guest.ts";

const DNS = { servers: ["10.96.0.10"], searches: ["default.svc.cluster.local", "svc.cluster.local"], options: [] };

test("a guest gets by DHCP exactly what CNI gave", async () => {
  await using pod = await WiredPod.create();
  const lease = await pod.guest.askForLease();
  expect(lease).toMatchObject({
    ip: "10.77.0.2",
    mask: "24",
    router: "10.77.0.1",
    dns: "10.96.0.10",
    search: "default.svc.cluster.local svc.cluster.local",
    mtu: "1450",
    hostname: "web-0",
    serverid: "169.254.67.1",
  });
  expect(lease["staticroutes"]).toBeUndefined();
});

test("routes and a gateway outside the subnet reach the guest by DHCP", async () => {
  await using pod = await WiredPod.create();
  const addresses = [{ address: "10.77.0.2", prefixLength: 32, family: 4 }] as const;
  const routes = [
    { destination: "10.8.0.0/16", gateway: "10.77.0.9" },
    { destination: "0.0.0.0/0", gateway: "169.254.1.1" },
  ];
  await pod.wiring.wire({ ...pod.request, attachment: { ...pod.request.attachment, addresses, routes } }, soon());
  expect(await pod.guest.askForLease()).toMatchObject({
    ip: "10.77.0.2",
    mask: "32",
    staticroutes: "169.254.1.1/32 0.0.0.0 0.0.0.0/0 169.254.1.1 10.77.0.9/32 0.0.0.0 10.8.0.0/16 10.77.0.9",
  });
});

test.each(["ignore", "infinite", "12"])("a pod that is called %s is served as any other", async (hostname) => {
  await using pod = await WiredPod.create();
  await pod.wiring.wire({ ...pod.request, hostname }, soon());
  expect(await pod.guest.askForLease()).toMatchObject({ ip: "10.77.0.2", hostname });
});

test("two guests and the host reach each other by both families, with whole TCP streams", async () => {
  await using host = await PrivateHost.create();
  await using one = await WiredPod.create(host);
  await using two = await WiredPod.create(host);
  await one.guest.configure();
  await two.guest.configure();
  await one.guest.sh("busybox", "ping", "-c1", "-W5", addressOf(two));
  await one.guest.sh("busybox", "ping", "-c1", "-W5", "10.77.0.1");
  await one.guest.sh("busybox", "ping", "-c1", "-W5", "fd77::1");
  await one.guest.sh("busybox", "ping", "-c1", "-W5", "-s", "1422", addressOf(two)); // 1450 with its headers

  const content = "0123456789abcdef".repeat(1 << 16);
  await writeFile(join(host.folderPath, "big"), content);
  await two.guest.sh("busybox", "httpd", "-p", "80", "-h", host.folderPath);
  const url = `http://${addressOf(two)}/big`;
  expect((await sh(host.netnsPath, "busybox", "wget", "-q", "-O", "-", url)) === content).toBe(true);
  expect((await one.guest.sh("busybox", "wget", "-q", "-O", "-", url)) === content).toBe(true);
  await stopListeners(two.guest);
});

test("a host port leads into the guest", async () => {
  await using pod = await WiredPod.create(undefined, {
    portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 18080, hostIp: "" }],
  });
  await pod.guest.configure();
  await writeFile(join(pod.host.folderPath, "page"), "from the guest");
  await pod.guest.sh("busybox", "httpd", "-p", "80", "-h", pod.host.folderPath);
  const url = "http://10.77.0.1:18080/page";
  expect(await sh(pod.host.netnsPath, "busybox", "wget", "-q", "-O", "-", url)).toBe("from the guest");
  await stopListeners(pod.guest);
});

test("nothing but the guest answers on the pod's address", async () => {
  await using pod = await WiredPod.create();
  await pod.guest.sh("ip", "link", "set", "eth0", "down");
  await sh(pod.host.netnsPath, "ip", "neigh", "replace", "10.77.0.2", "lladdr", pod.mac, "dev", "cni-test");
  const ping = sh(pod.host.netnsPath, "busybox", "ping", "-c1", "-W1", "10.77.0.2");
  await expect(ping).rejects.toThrow(/100% packet loss/);
  const connect = sh(pod.host.netnsPath, "busybox", "nc", "-w", "1", "10.77.0.2", "80");
  await expect(connect).rejects.toThrow(/timed out/); // refused would be a reset by the netns
});

test("wiring what is wired is two looks and changes nothing, even for a new daemon", async () => {
  await using pod = await WiredPod.create();
  const before = await pod.sight();
  const asked: string[] = [];
  const run: Run = async (file, args, { stdin, ...options }, signal) => {
    asked.push(String(stdin));
    return await pod.host.run(file, args, { ...options, ...(stdin === undefined ? {} : { stdin }) }, signal);
  };
  await createWiring(pod.options, { run, log: silent }).wire(pod.request, soon());
  const { tapName } = pod.request;
  expect(asked).toEqual([
    "link show\naddress show\n",
    `filter show dev eth0 ingress\nfilter show dev ${tapName} ingress\n`,
  ]);
  expect(await pod.sight()).toEqual(before);
  expect((await pod.guest.askForLease())["ip"]).toBe("10.77.0.2");
});

test("wiring again brings back a filter and a DHCP server that were lost", async () => {
  await using pod = await WiredPod.create();
  const { filters, pid } = await pod.sight();
  await pod.sh("tc", "filter", "del", "dev", "eth0", "ingress");
  process.kill(pid, "SIGKILL");
  await expect.poll(() => existsSync(`/proc/${pid}/exe`)).toBe(false);
  await pod.wiring.wire(pod.request, soon());
  const after = await pod.sight();
  expect(after.filters).toEqual(filters);
  expect(after.pid).not.toBe(pid);
  expect((await pod.guest.askForLease())["ip"]).toBe("10.77.0.2");
});

test.each([
  ["a tap that is down", ["link", "set", "down", "dev"]],
  ["another MTU", ["link", "set", "mtu", "1300", "dev"]],
  ["a lost address", ["address", "flush", "dev"]],
  ["an IPv6 address to come", ["link", "set", "addrgenmode", "eui64", "dev"]],
])("wiring again mends %s", async (_what, damage) => {
  await using pod = await WiredPod.create();
  const { tapName } = pod.request;
  const sight = async (): Promise<string[]> => [
    await pod.sh("ip", "-d", "link", "show", tapName),
    await pod.sh("ip", "-4", "address", "show", tapName),
  ];
  const before = await sight();
  await pod.sh("ip", ...damage, tapName);
  expect(await sight()).not.toEqual(before);
  await pod.wiring.wire(pod.request, soon());
  expect(await sight()).toEqual(before);
  expect((await pod.guest.askForLease())["ip"]).toBe("10.77.0.2");
});

test("finds a DHCP server whose pid file is lost, and starts no second one", async () => {
  await using pod = await WiredPod.create();
  const { pid } = await pod.sight();
  await writeFile(join(pod.folderPath, "dnsmasq.pid"), "1\n");
  await pod.wiring.wire(pod.request, soon());
  await pod.wiring.unwire(pod.request, soon());
  expect(existsSync(`/proc/${pid}/exe`)).toBe(false);
});

test("the next machine of the pod, with a new tap of the same name, is wired in the first one's place", async () => {
  await using pod = await WiredPod.create();
  await pod.guest.unplug();
  await pod.guest.plug();
  await pod.wiring.wire(pod.request, soon());
  expect((await pod.guest.askForLease())["ip"]).toBe("10.77.0.2");
  await pod.guest.configure();
  await pod.guest.sh("busybox", "ping", "-c1", "-W5", "10.77.0.1");
});

test("unwire ends the server and the redirect, twice over, and with the netns gone", async () => {
  await using pod = await WiredPod.create();
  const { pid } = await pod.sight();
  await pod.wiring.unwire(pod.request, soon());
  expect(existsSync(`/proc/${pid}/exe`)).toBe(false);
  expect(existsSync(pod.folderPath)).toBe(false);
  expect(await pod.sh("tc", "qdisc", "show", "dev", "eth0", "ingress")).toBe("");
  await pod.wiring.unwire(pod.request, soon());
  await pod.host.loseNetns({ podId: pod.request.podId });
  await pod.wiring.unwire(pod.request, soon());
});

test("a real tap, as libvirt makes it, is wired too", async () => {
  await using pod = await WiredPod.create();
  const tapName = `${pod.request.tapName}t`;
  await sh(pod.host.netnsPath, "ip", "tuntap", "add", "dev", tapName, "mode", "tap", "vnet_hdr");
  await pod.wiring.wire({ ...pod.request, tapName }, soon());
  expect(await pod.sh("ip", "-o", "link", "show", tapName)).toMatch(/UP.* mtu 1450 /);
  expect(await pod.sh("ip", "-o", "address", "show", "dev", tapName)).toMatch(/169\.254\.67\.1\/32(?!.*fe80)/s);
  expect(await pod.sh("tc", "filter", "show", "dev", "eth0", "ingress")).toContain(tapName);
  expect(await readFile(join(pod.folderPath, "dnsmasq.conf"), "utf8")).toContain(`interface=${tapName}\n`);
});

test("a tap that is nowhere is an error that names it", async () => {
  await using pod = await WiredPod.create();
  const wire = pod.wiring.wire({ ...pod.request, tapName: "vmnowhere" }, soon());
  await expect(wire).rejects.toThrow(/vmnowhere/);
});

const addressOf = (pod: WiredPod): string => pod.request.attachment.addresses[0]?.address ?? "";

async function stopListeners(guest: StandInGuest): Promise<void> {
  const pids = await sh(undefined, "ip", "netns", "pids", guest.netnsPath.replace("/run/netns/", ""));
  for (const pid of pids.split("\n").filter(Boolean)) process.kill(Number(pid), "SIGKILL");
}

/** A pod on a private host, attached, with a stand-in guest, wired. */
class WiredPod implements AsyncDisposable {
  readonly host: PrivateHost;
  readonly request: WireRequest;
  readonly guest: StandInGuest;
  readonly wiring: Wiring;
  readonly options: { dhcpFolderPath: string; dnsmasqPath: string };
  readonly #ownsHost: boolean;

  static async create(shared?: PrivateHost, extra: Partial<NetworkRequest> = {}): Promise<WiredPod> {
    const host = shared ?? (await PrivateHost.create());
    const { podId, netnsPath, ...rest } = await host.newRequest({ dns: DNS, ...extra });
    const attachment = await host.network.attach({ podId, netnsPath, ...rest }, soon());
    const guest = await StandInGuest.boot(host, attachment);
    const request = { podId, netnsPath, tapName: guest.tapName, attachment, dns: DNS, hostname: "web-0" };
    const pod = new WiredPod(host, request, guest, shared === undefined);
    await pod.wiring.wire(request, soon());
    return pod;
  }

  private constructor(host: PrivateHost, request: WireRequest, guest: StandInGuest, ownsHost: boolean) {
    this.host = host;
    this.request = request;
    this.guest = guest;
    this.#ownsHost = ownsHost;
    this.options = { dhcpFolderPath: join(host.folderPath, "dhcp"), dnsmasqPath: "/usr/sbin/dnsmasq" };
    this.wiring = createWiring(this.options, { run: host.run, log: silent });
  }

  get folderPath(): string {
    return join(this.options.dhcpFolderPath, this.request.podId);
  }

  get mac(): string {
    return this.request.attachment.mac;
  }

  sh(file: string, ...args: string[]): Promise<string> {
    return sh(this.request.netnsPath, file, ...args);
  }

  async sight(): Promise<{ filters: string[]; pid: number }> {
    const show = (device: string) => this.sh("tc", "filter", "show", "dev", device, "ingress");
    const filters = [await show("eth0"), await show(this.request.tapName)];
    // Action numbers are the kernel's own, and new for each filter.
    const plain = filters.map((text) => text.replace(/index \d+/g, ""));
    return { filters: plain, pid: Number(await readFile(join(this.folderPath, "dnsmasq.pid"), "utf8")) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.wiring.unwire(this.request, soon());
    await this.guest[Symbol.asyncDispose]();
    if (this.#ownsHost) await this.host[Symbol.asyncDispose]();
  }
}
