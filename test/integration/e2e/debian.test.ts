// The Debian cloud guest, pulled as .qcow2.xz: all that cloud-init and systemd make of the seed. Two boots, a minute or
// more each.

import { randomInt } from "node:crypto";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ContainerConfig } from "../../../src/gen/runtime.ts";
import { type Certificate, certify } from "../../fakes/certificate.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { agentAnswers, guestSh, newSshKey, type SshKey, ssh } from "./guest-shell.ts";
import { forwardedPort, greeting, type Interactive, startCrictl, startCrictlOnTerminal } from "./interactive.ts";
import { whyNoCrictl, whyNoDebian, whyNoIpv6, whyNoSsh } from "./machine-limits.ts";
import { type PackedGuest, packedGuest } from "./packed-guest.ts";
import { BOOT_LIMIT_MS, containerConfigOf, VmPod } from "./vm-pod.ts";

/** For each step: what is a minute alone is ten among many. */
const LIMIT_MS = 5 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(3 * LIMIT_MS);
const MTU = 1400;
const ROOT_GIB = 9;
const subnet6 = `fd${randomInt(256).toString(16).padStart(2, "0")}:${randomInt(1, 0x10000).toString(16)}:78:1`;
const AWKWARD = 'it\'s "two"\nlines with $HOME and \\';
const USER_DATA = `#cloud-config
write_files:
  - path: /etc/from-user-data
    content: kept
`;

describe.skipIf(whyNoDebian !== undefined)(`a Debian guest (${whyNoDebian ?? "by cloud-init and systemd"})`, () => {
  let node: TestNode;
  let packed: PackedGuest;
  let pod: VmPod;
  let key: SshKey | undefined;
  let ip = "";
  let domain = "";
  let folder: { readonly path: string; remove(): Promise<void> };
  /** Of the streaming server; crictl takes it for its own, too, which the server does not ask for. */
  let tls: Certificate;
  const guest = (script: string): Promise<string> => guestSh(domain, script, suite);

  beforeAll(async () => {
    folder = await mkdtempDisposable(join(tmpdir(), "vmlet-debian-"));
    tls = await certify(folder.path, "streaming", "subjectAltName=IP:127.0.0.1,DNS:localhost");
    const streaming = { certificatePath: tls.certPath, keyPath: tls.keyPath };
    const options = { mtu: MTU, config: { streaming }, ...(whyNoIpv6 === undefined ? { subnet6 } : {}) };
    node = await startTestNode(options, suite);
    if (whyNoSsh === undefined) key = await newSshKey(node.layout.stateFolderPath, "key", suite);
    packed = await packedGuest(node, "debian.qcow2", suite);
    pod = await VmPod.start(
      node,
      {
        name: "debian",
        image: packed.image,
        bootLimitMs: LIMIT_MS,
        pod: {
          hostname: "deb-0",
          dnsConfig: { servers: ["10.96.0.10"], searches: ["default.svc.local", "svc.local"], options: ["ndots:5"] },
          annotations: {
            "vmlet.dev/user-data": USER_DATA,
            "vmlet.dev/root-size": `${ROOT_GIB}Gi`,
            ...(key === undefined ? {} : { "vmlet.dev/ssh-keys": key.publicKey }),
          },
        },
        container: {
          ...resources,
          command: ["/bin/sh", "-c"],
          args: ['echo "workload: $GREETING, $0"; until [ -e /run/finish ]; do sleep 0.2; done; exit 7', "first"],
          envs: [
            { key: "GREETING", value: Buffer.from("hello") },
            { key: "AWKWARD", value: Buffer.from(AWKWARD) },
          ],
        },
      },
      suite,
    );
    ip = await pod.ip(suite);
    domain = await pod.domain(suite);
    await agentAnswers(pod, suite);
  }, LIMIT_MS);
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    await folder.remove();
  }, LIMIT_MS);

  test("is the image that was in the packed file", async () => {
    expect(await pod.status(suite)).toMatchObject({ imageId: packed.digest, imageRef: packed.digest });
  });

  test("runs the pod's command with its env at the end of its boot", { timeout: LIMIT_MS }, async () => {
    expect(await pod.says("workload: ", suite)).toContain("workload: hello, first\n");
    expect(await guest("cloud-init status")).toBe("status: done");
  });

  test("has the address, MTU and routes of CNI by its network config", async () => {
    expect(await guest("ip -o -4 addr show dev eth0")).toContain(`inet ${ip}/24 `);
    expect(await guest("ip -o link show dev eth0")).toContain(` mtu ${MTU} `);
    expect(await guest("ip -4 route show default")).toMatch(new RegExp(`^default via ${node.subnet}.1 dev eth0`));
    await guest(`ping -c 1 -W 30 -M do -s ${MTU - 28} ${node.subnet}.1`);
  });

  test.skipIf(whyNoIpv6 !== undefined)(`has the pod's IPv6 address (${whyNoIpv6 ?? "IPv6 is here"})`, async () => {
    const ip6 = (await pod.podStatus(suite)).network?.additionalIps[0]?.ip ?? "none";
    expect(await guest("ip -o -6 addr show dev eth0 scope global")).toContain(`inet6 ${ip6}/64 `);
    expect(await guest("ip -6 route show default")).toMatch(new RegExp(`^default via ${subnet6}::1 dev eth0`));
    await guest(`ping -6 -c 1 -W 30 ${subnet6}::1`);
  });

  test("has the pod's hostname and name servers", async () => {
    expect(await guest("hostname")).toBe("deb-0");
    const lines = (await guest("cat /etc/resolv.conf")).split("\n");
    expect(lines).toContain("nameserver 10.96.0.10");
    expect(lines).toContain("search default.svc.local svc.local");
  });

  test("has the container's env in a file that a shell reads back byte for byte", async () => {
    expect(await guest(`. /etc/vmlet/environment; printf '%s|%s' "$GREETING" "$AWKWARD"`)).toBe(`hello|${AWKWARD}`);
    expect(await guest("stat -c %a /etc/vmlet/environment")).toBe("600");
  });

  test("has grown its root to the size that the pod asked for, and has heeded the user's user-data", async () => {
    expect(Number(await guest("df -B1 --output=size / | tail -n 1"))).toBeGreaterThan(0.9 * ROOT_GIB * 2 ** 30);
    expect(await guest("cat /etc/from-user-data")).toBe("kept");
  });

  test("tells how much of its memory and its file systems it uses, and the pod's metrics say so", async () => {
    const told = async (): Promise<ReadonlyMap<string, number> | undefined> => {
      const { podMetrics } = await node.cri.runtime.listPodSandboxMetrics({}, suite);
      const metrics = podMetrics.flatMap(({ containerMetrics }) => containerMetrics.flatMap((each) => each.metrics));
      const ofGuest = metrics.filter(({ name }) => name.startsWith("vmlet_guest_"));
      const figures = ofGuest.map(({ name, labelValues, value }): [string, number] => [
        [name, ...labelValues.slice(6, 7)].join(" "),
        Number(value?.value),
      ]);
      const found = new Map(figures);
      return found.has("vmlet_guest_memory_total_bytes") && found.has("vmlet_guest_filesystem_size_bytes /")
        ? found
        : undefined;
    };
    const found = await poll(told, { what: "the guest's own figures", limitMs: 60_000, everyMs: 500 }, suite);
    const [total, free] = [found.get("vmlet_guest_memory_total_bytes"), found.get("vmlet_guest_memory_free_bytes")];
    expect(free).toBeGreaterThan(0);
    expect(total).toBeGreaterThan(free ?? Number.NaN);
    expect(found.get("vmlet_guest_filesystem_size_bytes /")).toBeGreaterThan(0.9 * ROOT_GIB * 2 ** 30);
    expect(found.get("vmlet_guest_filesystem_used_bytes /")).toBeGreaterThan(100 << 20);
  });

  test.skipIf(whyNoSsh !== undefined)(`lets the pod's ssh key in (${whyNoSsh ?? "by a real client"})`, async () => {
    if (key === undefined) throw new Error("no key was made");
    expect(await ssh(key, ip, "hostname", suite)).toEqual({ exitCode: 0, text: "deb-0" });
  });

  test("runs commands by ssh, also on a terminal, while it has no network", { timeout: LIMIT_MS }, async () => {
    await guest("systemctl is-active vmlet-ssh.service");
    await guest("ip link set eth0 down");
    const asked = { containerId: pod.containerId, cmd: ["sh", "-c", 'printf "%s|" "$AWKWARD"; id -un'], timeout: 60n };
    const { stdout, exitCode } = await node.cri.runtime.execSync(asked, suite);
    expect([exitCode, Buffer.from(stdout).toString()]).toEqual([0, `${AWKWARD}|root\n`]);
    if (whyNoCrictl === undefined) await Promise.all(["spdy", "websocket"].map(execOnTerminal));
    await guest("ip link set eth0 up");
  });

  const streams = describe.skipIf(whyNoCrictl !== undefined);
  streams.each(["spdy", "websocket"])(
    `by crictl over %s, which trusts the node's certificate${whyNoCrictl ?? ""}`,
    (transport) => {
      test("exec has output, errors, exit code and input", async () => {
        await using plain = crictl("exec", transport, [], ["sh", "-c", "echo out; echo err >&2; exit 7"]);
        await using fed = crictl("exec", transport, ["-i"], ["sh"]);
        fed.type("echo $((6*7))-fed; exit\n");
        expect([await plain.ended(), await fed.ended()]).toEqual([1, 0]); // crictl tells 7 in words
        expect(plain.shown()).toMatch(/out\n[^]*exit code/);
        expect(plain.shown()).toContain("err\n");
        expect(fed.shown()).toContain("42-fed\n");
      });

      test("attach shows the console, and what is typed is read by the login there", async () => {
        await using terminal = crictl("attach", transport, ["-i"], []);
        await terminal.shows("workload: hello");
        terminal.type("\nnobody\n");
        await terminal.shows("Password:");
      });

      test("port-forward reaches the guest's sshd", async () => {
        await using forward = startCrictl(node, [
          "port-forward",
          "--transport",
          transport,
          ...trust(),
          pod.podId,
          "0:22",
        ]);
        expect(await greeting(await forwardedPort(forward), suite)).toMatch(/^SSH-2.0-OpenSSH/);
      });
    },
  );

  test.skipIf(whyNoCrictl !== undefined)("logs -f shows what is printed while it runs", async () => {
    await using logs = startCrictl(node, ["logs", "-f", pod.containerId]);
    await logs.shows("workload: hello");
    await guest("echo followed-$((6*7)) >/dev/ttyS0");
    await logs.shows("followed-42");
  });

  const trust = (): string[] => ["--tls-ca", tls.certPath, "--tls-cert", tls.certPath, "--tls-key", tls.keyPath];

  function crictl(verb: string, transport: string, flags: readonly string[], words: readonly string[]): Interactive {
    return startCrictl(node, [verb, "--transport", transport, ...trust(), ...flags, pod.containerId, ...words]);
  }

  async function execOnTerminal(transport: string): Promise<void> {
    const flags = ["exec", "-it", "--transport", transport, ...trust()];
    await using terminal = startCrictlOnTerminal(node, [...flags, pod.containerId, "bash", "--norc"]);
    await terminal.shows("# ");
    terminal.type("tty; echo $((6*7))-seen; exit\n");
    await terminal.shows("42-seen");
    expect(terminal.shown()).toContain("/dev/pts/");
    expect(await terminal.ended()).toBe(0);
  }

  test("ends with its command, whose exit status is the container's", { timeout: LIMIT_MS }, async () => {
    await guest("touch /run/finish");
    expect(await pod.exited(suite)).toMatchObject({ exitCode: 7, reason: "Error" });
  });

  test("powers itself off when it is asked to, within the grace period", { timeout: LIMIT_MS }, async () => {
    const config: ContainerConfig = containerConfigOf(packed.image, {
      ...resources,
      metadata: { name: "vm", attempt: 1 },
      logPath: "vm/1.log",
    });
    await pod.createContainer(config, suite);
    await pod.start(suite);
    await agentAnswers(pod, suite);
    await pod.stop(LIMIT_MS / 1000, suite);
    expect(await pod.status(suite)).toMatchObject({ exitCode: 0, reason: "Completed" });
  });

  test("leaves nothing", async () => {
    await pod.remove(suite);
    expect(await node.leftovers(suite)).toEqual([]);
  });
});

/** Two vCPUs: the boot is one long wait for the processor. */
const resources = {
  linux: { resources: { memoryLimitInBytes: 640n << 20n, cpuPeriod: 100_000n, cpuQuota: 200_000n } },
};
