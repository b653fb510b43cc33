// Two guests in one CNI network, one set up by its seed and one that knows nothing but DHCP: what CNI gave is theirs.

import { createHash, randomBytes, randomInt } from "node:crypto";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Protocol } from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { output } from "../../node/command.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { agentAnswers, guestSh, newSshKey, type SshKey, ssh } from "./guest-shell.ts";
import { whyNoIpv6, whyNoSsh } from "./machine-limits.ts";
import { BOOT_LIMIT_MS, httpGet, VmPod } from "./vm-pod.ts";

const LIMIT_MS = 2 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(1_200_000);
const MTU = 1400;
const CONTENT_BYTES = 64 << 20;
const subnet6 = `fd${randomInt(256).toString(16).padStart(2, "0")}:${randomInt(1, 0x10000).toString(16)}:77:1`;
const dns = { servers: ["10.96.0.10", "10.96.0.11"], searches: ["default.svc.local", "svc.local"] };

describe("two guests in one network", () => {
  let node: TestNode;
  let gateway = "";
  let hostPort = 0;
  let keys: { right: SshKey; wrong: SshKey } | undefined;
  /** Reads `vmlet/network` of its seed, has a host port, ssh keys and user-data. */
  let seeded: Guest;
  /** Looks at nothing of its seed. */
  let bare: Guest;

  beforeAll(async () => {
    node = await startTestNode({ mtu: MTU, ...(whyNoIpv6 === undefined ? { subnet6 } : {}) }, suite);
    gateway = `${node.subnet}.1`;
    hostPort = await freePort();
    const folderPath = node.layout.stateFolderPath;
    if (whyNoSsh === undefined)
      keys = { right: await newSshKey(folderPath, "right", suite), wrong: await newSshKey(folderPath, "wrong", suite) };
    [seeded, bare] = await Promise.all([
      Guest.boot(node, {
        name: "seeded",
        pod: {
          dnsConfig: { ...dns, options: ["ndots:5"] },
          portMappings: [{ protocol: Protocol.TCP, containerPort: 80, hostPort, hostIp: "" }],
          annotations: {
            "vmlet.dev/user-data": "#!/bin/sh\necho user-data ran on $(hostname)\n",
            ...(keys === undefined ? {} : { "vmlet.dev/ssh-keys": `# a comment\n${keys.right.publicKey}\n` }),
          },
        },
        container: { linux: { resources: { memoryLimitInBytes: 384n << 20n } } }, // it holds the content in memory
      }),
      Guest.boot(node, {
        name: "bare",
        pod: { dnsConfig: { ...dns, options: [] }, annotations: { "vmlet.dev/user-data": "#!/bin/sh\n#tiny: dhcp\n" } },
      }),
    ]);
  }, LIMIT_MS);
  afterAll(async () => await node[Symbol.asyncDispose](), LIMIT_MS);

  test("each has the address that its pod's status says, and answers the host on it", {
    timeout: LIMIT_MS,
  }, async () => {
    expect(seeded.ip).not.toBe(bare.ip);
    for (const guest of [seeded, bare]) {
      expect(guest.ip.startsWith(`${node.subnet}.`)).toBe(true);
      expect(await guest.sh("ip -o -4 addr show dev eth0")).toContain(`inet ${guest.ip}/24 `);
      expect(await httpGet(`http://${guest.ip}/`, suite)).toContain(`virtual machine, ${guest.name}, at ${guest.ip}`);
    }
  });

  test("MTU, MAC and routes are those of CNI", async () => {
    for (const guest of [seeded, bare]) {
      const inPod = await output(["/usr/sbin/ip", "-n", guest.netns, "-o", "link", "show", "eth0"], suite);
      const mac = /link\/ether (\S+)/.exec(inPod)?.[1];
      const link = await guest.sh("ip -o link show eth0");
      expect(link).toContain(`mtu ${MTU} `);
      expect(link).toContain(`link/ether ${mac} `);
      const routes = (await guest.sh("ip -4 route")).split("\n").map((line) => line.replace(/ (onlink)?\s*$/, ""));
      expect(routes.toSorted()).toEqual([
        `${node.subnet}.0/24 dev eth0 scope link  src ${guest.ip}`,
        `default via ${gateway} dev eth0`,
      ]);
    }
  });

  test("hostname and resolv.conf are those of the pod", async () => {
    const servers = dns.servers.map((server) => `nameserver ${server}\n`).join("");
    const searches = `search ${dns.searches.join(" ")}`;
    expect(await seeded.sh("hostname; cat /etc/resolv.conf")).toBe(`seeded\n${servers}${searches}\noptions ndots:5`);
    expect(await bare.sh("cat /etc/resolv.conf")).toBe(`${servers}${searches}`);
  });

  test("a guest that asks DHCP again is told the same, hostname included", async () => {
    const print = 'printf "%s\\n" "$1" "$ip/$mask" "$router" "$dns" "$search" "$mtu" "$hostname" "$staticroutes"';
    const asked = "-O mtu -O search -O hostname -O staticroutes";
    const script = [
      `printf '#!/bin/sh\\n[ "$1" = bound ] || exit 0\\n%s\\n' '${print}' >/run/lease && chmod 755 /run/lease`,
      `udhcpc -f -q -n -t 20 -T 1 -i eth0 ${asked} -s /run/lease 2>/dev/null`,
    ].join("\n");
    expect((await bare.sh(script)).split("\n")).toEqual([
      "bound",
      `${bare.ip}/24`,
      gateway,
      dns.servers.join(" "),
      dns.searches.join(" "),
      String(MTU),
      "bare",
    ]);
  });

  test("they reach each other and the host, with packets as long as the MTU", async () => {
    const inner = MTU - 28; // IPv4 and ICMP headers
    for (const [guest, peer] of [
      [seeded, bare],
      [bare, seeded],
    ] as const) {
      for (const target of [peer.ip, gateway]) await guest.sh(`ping -c 1 -W 30 -s ${inner} ${target}`);
      expect(await guest.sh(`wget -q -O - http://${peer.ip}/`)).toContain(
        `virtual machine, ${peer.name}, at ${peer.ip}`,
      );
    }
  });

  test(`${CONTENT_BYTES >> 20} MiB survive host to guest, guest to guest and guest to host`, {
    timeout: LIMIT_MS,
  }, async () => {
    // Checksums and segments are left to the other side (CSUM, HOST_TSO4): the tap and the redirect must carry that.
    const features = await seeded.sh("cat /sys/class/net/eth0/device/features");
    expect([features[0], features[11]]).toEqual(["1", "1"]);
    const content = randomBytes(CONTENT_BYTES);
    const digest = createHash("sha256").update(content).digest("hex");
    await using server = await serveContent(gateway, content);
    const download = `wget -q -O /www/big http://${gateway}:${server.port}/ && sha256sum </www/big`;
    expect(await seeded.sh(download)).toContain(digest);
    expect(await bare.sh(`wget -q -O - http://${seeded.ip}/big | sha256sum`)).toContain(digest);
    expect(await digestOf(`http://${seeded.ip}/big`)).toBe(digest);
    const ip6 = seeded.additionalIps[0];
    if (ip6 !== undefined) expect(await digestOf(`http://[${ip6}]/big`)).toBe(digest);
  });

  test.skipIf(whyNoIpv6 !== undefined)(
    `both families reach the guest by its seed, and it answers on both (${whyNoIpv6 ?? "IPv6 is here"})`,
    async () => {
      const [ip6 = "none"] = seeded.additionalIps;
      expect(ip6.startsWith(`${subnet6}::`)).toBe(true);
      expect(await seeded.sh("ip -o -6 addr show dev eth0 scope global")).toContain(`inet6 ${ip6}/64 `);
      expect(await seeded.sh("ip -6 route")).toMatch(new RegExp(`^default via ${subnet6}::1 dev eth0`, "m"));
      await seeded.sh(`ping -6 -c 1 -W 30 ${subnet6}::1`);
      expect(await httpGet(`http://[${ip6}]/`, suite)).toContain("virtual machine, seeded");
      // It asked DHCP only: the address is the pod's all the same, and nobody answers on it.
      expect(bare.additionalIps).toHaveLength(1);
      expect(await bare.sh("ip -o -6 addr show dev eth0 scope global")).toBe("");
    },
  );

  test("user-data runs in the guest, and what it prints is in the log", async () => {
    expect(await seeded.pod.says("user-data exited with", suite)).toContain("user-data ran on seeded\n");
  });

  test.skipIf(whyNoSsh !== undefined)(
    `the pod's ssh key lets in, another does not (${whyNoSsh ?? "by a real client"})`,
    async () => {
      if (keys === undefined) throw new Error("no keys were made");
      expect(await ssh(keys.right, seeded.ip, "hostname", suite)).toEqual({ exitCode: 0, text: "seeded" });
      const refused = await ssh(keys.wrong, seeded.ip, "hostname", suite);
      expect(refused).toMatchObject({ exitCode: 255, text: expect.stringContaining("Permission denied") });
      expect(await ssh(keys.right, bare.ip, "hostname", suite)).toMatchObject({ exitCode: 255 });
    },
  );

  test("the host port leads into the guest from each of the node's addresses", async () => {
    const six = whyNoIpv6 === undefined ? [`[${subnet6}::1]`] : [];
    for (const address of [gateway, "127.0.0.1", ...nodeAddresses(node.layout.bridgeName), ...six])
      expect(await httpGet(`http://${address}:${hostPort}/`, suite), address).toContain("virtual machine, seeded");
    expect(await natRules()).toContain(seeded.pod.podId);
  });

  test("stopping and removing them leaves nothing, the host port's rules included", async () => {
    for (const guest of [seeded, bare]) await guest.pod.remove(suite);
    const url = `http://${gateway}:${hostPort}/`;
    expect((await run("/usr/bin/curl", ["-sS", "-m", "10", url], {}, suite)).exitCode).toBe(7); // could not connect
    expect(await natRules()).not.toContain(node.layout.networkName);
    expect(await output(["/usr/sbin/ip", "netns", "list"], suite)).not.toMatch(
      new RegExp(`${seeded.netns}|${bare.netns}`),
    );
    expect(await node.leftovers(suite)).toEqual([]);
  });
});

/** A pod whose guest has said that it is ready and whose agent answers. */
class Guest {
  readonly name: string;
  readonly pod: VmPod;
  readonly ip: string;
  readonly additionalIps: readonly string[];
  readonly #domain: string;

  static async boot(node: TestNode, options: Parameters<typeof VmPod.start>[1] & { name: string }): Promise<Guest> {
    const pod = await VmPod.start(node, options, suite);
    await pod.says(/tiny: ready .*/, suite);
    const domain = await pod.domain(suite);
    await agentAnswers(pod, suite);
    const { network } = await pod.podStatus(suite);
    const additionalIps = (network?.additionalIps ?? []).map(({ ip }) => ip);
    return new Guest({ name: options.name, pod, ip: network?.ip ?? "", additionalIps }, domain);
  }

  private constructor(facts: Pick<Guest, "name" | "pod" | "ip" | "additionalIps">, domain: string) {
    this.name = facts.name;
    this.pod = facts.pod;
    this.ip = facts.ip;
    this.additionalIps = facts.additionalIps;
    this.#domain = domain;
  }

  get netns(): string {
    return `vmlet-${this.pod.podId.slice(0, 12)}`;
  }

  async sh(script: string): Promise<string> {
    return await guestSh(this.#domain, script, suite);
  }
}

async function serveContent(address: string, content: Buffer): Promise<AsyncDisposable & { port: number }> {
  const server = createServer((_, response) => response.end(content));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).listen(0, address, () => resolve());
  await promise;
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

async function digestOf(url: string): Promise<string> {
  const { body, status } = await fetch(url, { signal: suite });
  if (status !== 200 || body === null) throw new Error(`${url}: ${status}`);
  const hash = createHash("sha256");
  for await (const chunk of body) hash.update(chunk);
  return hash.digest("hex");
}

async function natRules(): Promise<string> {
  const tools = whyNoIpv6 === undefined ? ["iptables-save", "ip6tables-save"] : ["iptables-save"];
  return (await Promise.all(tools.map((tool) => output([join("/usr/sbin", tool), "-t", "nat"], suite)))).join("");
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((done) => server.listen(0, () => done()));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

/** One of the node's own, if it has any beside loopback and bridges of nodes like ours. */
function nodeAddresses(bridgeName: string): string[] {
  const others = Object.entries(networkInterfaces()).filter(([name]) => !name.startsWith(bridgeName.slice(0, 6)));
  const addresses = others
    .flatMap(([, list]) => list ?? [])
    .filter(({ family, internal }) => family === "IPv4" && !internal);
  return addresses.slice(0, 1).map(({ address }) => address);
}
