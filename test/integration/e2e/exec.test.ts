// Commands in the tiny guest, as the kubelet and a person run them.

import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ExecSyncResponse } from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { TRANSPORTS, type Transport } from "../../fakes/command-client.ts";
import { raw } from "../../fakes/disk-image.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { untilAgentAnswers } from "./guest-agent.ts";
import { startCrictl, startCrictlOnTerminal } from "./interactive.ts";
import { whyNoCrictl } from "./machine-limits.ts";
import { BOOT_LIMIT_MS, VmPod } from "./vm-pod.ts";

const suite = AbortSignal.timeout(20 * 60_000);
const TEST_LIMIT_MS = 2 * BOOT_LIMIT_MS;
const TAR_MIB = process.env["FULL"] === "1" ? 1024 : 64;
const WAIT = (what: string) => ({ what, limitMs: BOOT_LIMIT_MS });

let node: TestNode;
beforeAll(async () => void (node = await startTestNode({}, suite)), BOOT_LIMIT_MS);
afterAll(async () => await node[Symbol.asyncDispose](), BOOT_LIMIT_MS);
beforeEach(async () => await node.revive(suite));

async function execSync(pod: VmPod, cmd: string[], timeoutSeconds = 60): Promise<ExecSyncResponse> {
  return await node.cri.runtime.execSync(
    { containerId: pod.containerId, cmd, timeout: BigInt(timeoutSeconds) },
    AbortSignal.any([suite, AbortSignal.timeout(BOOT_LIMIT_MS)]),
  );
}

const textOf = ({ exitCode, stdout, stderr }: ExecSyncResponse) => ({
  exitCode,
  stdout: Buffer.from(stdout).toString(),
  stderr: Buffer.from(stderr).toString(),
});

async function shell(line: string): Promise<string> {
  const { exitCode, stdout, stderr } = await run("/bin/sh", ["-ec", line], { cwd: process.cwd() }, suite);
  if (exitCode !== 0) throw new Error(`${line}: ${exitCode}: ${stderr}`);
  return stdout.toString("utf8");
}

/** Until no process of the guest has this in its command line, the looking left out: a slow guest ends them slowly. */
async function noneInGuest(pod: VmPod, marker: string): Promise<void> {
  const count = async (): Promise<string> =>
    textOf(await execSync(pod, ["sh", "-c", `ps -o args | grep -c '^${marker}' || true`])).stdout;
  await poll(async () => (await count()) === "0\n" || undefined, WAIT(`the end of ${marker}`), suite);
}

describe("by the guest's agent, where the pod wants that", () => {
  let pod: VmPod;
  beforeAll(async () => {
    pod = await VmPod.start(
      node,
      {
        name: "agent",
        pod: { annotations: { "vmlet.dev/exec-way": "agent" } },
        container: {
          workingDir: "/usr/share",
          envs: [{ key: "GREETING", value: Buffer.from('it\'s "hi"\nand $HOME') }],
        },
      },
      suite,
    );
    await pod.says("tiny: ready", suite);
    await untilAgentAnswers(await pod.domain(suite), suite);
  }, TEST_LIMIT_MS);

  test("ExecSync gives output, errors and the exit code of a command, in the container's folder and environment", async () => {
    const argv = ["sh", "-c", 'pwd; printf "%s|" "$GREETING" "$@"; echo err >&2; exit 7', "me", "a b", "$x"];
    expect(textOf(await execSync(pod, argv))).toEqual({
      exitCode: 7,
      stdout: `/usr/share\nit's "hi"\nand $HOME|a b|$x|`,
      stderr: "err\n",
    });
    expect((await execSync(pod, ["/no/such"])).exitCode).toBe(127);
  });

  test("ExecSync's timeout is DEADLINE_EXCEEDED, and the command and what it started are killed in the guest", async () => {
    const asking = execSync(pod, ["sh", "-c", "sleep 4711 & sleep 4711"], 2);
    await expect(asking).rejects.toMatchObject({ code: 4 });
    await noneInGuest(pod, "sleep 4711");
  });

  test("a large output is whole, one that is too large is cut, and nothing of it stays in the guest", async () => {
    const large = await execSync(pod, ["sh", "-c", "seq 1 200000; seq 1 200000 >&2"]);
    expect([large.exitCode, large.stdout.length, Buffer.compare(large.stdout, large.stderr)]).toEqual([0, 1288895, 0]);
    const huge = await execSync(pod, ["head", "-c", "20000000", "/dev/zero"], 120);
    expect([huge.exitCode, huge.stdout.length]).toEqual([0, 16_000_000]);
    expect(textOf(await execSync(pod, ["sh", "-c", "ls /run/vmlet | wc -l"])).stdout).toBe("1\n"); // its own
  });
});

test("as the user whom the pod names, with the container's environment", { timeout: TEST_LIMIT_MS }, async () => {
  const pod = await VmPod.start(
    node,
    {
      name: "user",
      pod: { annotations: { "vmlet.dev/exec-user": "app", "vmlet.dev/exec-way": "ssh" } },
      container: { envs: [{ key: "GREETING", value: Buffer.from("hi") }] },
    },
    suite,
  );
  await pod.says("tiny: ready", suite);
  expect(textOf(await execSync(pod, ["sh", "-c", "id -un; echo $GREETING"])).stdout).toBe("app\nhi\n");
  await pod.remove(suite);
});

test("a command that comes before the guest has booted waits for it", { timeout: TEST_LIMIT_MS }, async () => {
  const pod = await VmPod.start(node, { name: "early" }, suite);
  expect(textOf(await execSync(pod, ["echo", "up"], 5)).stdout).toBe("up\n");
  await pod.remove(suite);
});

test("a guest with no way in: what to install is said", { timeout: TEST_LIMIT_MS }, async () => {
  await using impatient = await startTestNode({ config: { machine: { bootMs: 1 } } }, suite);
  await writeFile(join(impatient.layout.imageFolderPath, "blank.img"), raw(2048, "nothing that boots"));
  const pod = await VmPod.start(impatient, { name: "blank", image: impatient.images.nameOf("blank.img") }, suite);
  const asking = impatient.cri.runtime.execSync({ containerId: pod.containerId, cmd: ["true"], timeout: 60n }, suite);
  const details = expect.stringMatching(/openssh-server.*qemu-guest-agent/);
  await expect(asking).rejects.toMatchObject({ code: 9, details });
});

test("a command that reads its input is attached to as in a container", { timeout: TEST_LIMIT_MS }, async () => {
  const container = { command: ["/bin/sh"], stdin: true, stdinOnce: true };
  const pod = await VmPod.start(node, { name: "input", container }, suite);
  const wanted = { stdin: true, stdout: true, stderr: false, tty: false };
  const { url } = await node.cri.runtime.attach({ ...wanted, containerId: pod.containerId }, suite);
  const client = await (TRANSPORTS[0] as Transport).connect(url, wanted); // while the guest boots
  client.stdin.end("tty; echo seen; exit 3\n");
  expect(await text(client.stdout)).toMatch(/^not a tty\nseen\n/);
  expect(await pod.exited(suite)).toMatchObject({ exitCode: 3 });
  await pod.remove(suite);
});

test("as the user and groups of the security context, workload and exec alike", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  const securityContext = { runAsUser: { value: 1000n }, runAsGroup: { value: 7n }, supplementalGroups: [8n] };
  const container = {
    command: ["sh", "-c", "echo workload $(id -u):$(id -G); sleep 1000"],
    linux: { resources: { memoryLimitInBytes: 256n << 20n }, securityContext },
  };
  const pod = await VmPod.start(node, { name: "groups", container }, suite);
  await pod.says("workload 1000:7 8\n", suite);
  expect(textOf(await execSync(pod, ["sh", "-c", "id -un; id -G"])).stdout).toBe("app\n7 8\n");
  await pod.remove(suite);
});

describe("by ssh, which the guest serves past its network", () => {
  const resources = { linux: { resources: { memoryLimitInBytes: BigInt(448 + 2 * TAR_MIB) << 20n } } };
  let pod: VmPod;
  beforeAll(async () => {
    const container = {
      ...resources,
      workingDir: "/usr/share",
      envs: [{ key: "GREETING", value: Buffer.from('it\'s "hi"\nand $HOME') }],
    };
    pod = await VmPod.start(node, { name: "ssh", container }, suite);
    await pod.says("tiny: ready", suite);
  }, TEST_LIMIT_MS);

  const crictlExec = (transport: string, flags: string[], cmd: string[]) =>
    startCrictl(node, ["exec", "--transport", transport, ...flags, pod.containerId, ...cmd]);

  test("ExecSync gives output, errors and the exit code, in the container's folder and environment", async () => {
    const argv = ["sh", "-c", 'pwd; printf "%s|" "$GREETING" "$@"; echo err >&2; exit 7', "me", "a b", "$x"];
    expect(textOf(await execSync(pod, argv))).toEqual({
      exitCode: 7,
      stdout: `/usr/share\nit's "hi"\nand $HOME|a b|$x|`,
      stderr: "err\n",
    });
    expect((await execSync(pod, ["/no/such"])).exitCode).toBe(127);
    expect((await execSync(pod, ["sh", "-c", "kill -9 $$"])).exitCode).toBe(137);
  });

  test("ExecSync's timeout is DEADLINE_EXCEEDED, and the command and what it started are killed in the guest", async () => {
    const asking = execSync(pod, ["sh", "-c", "sleep 4712 & sleep 4712"], 2);
    await expect(asking).rejects.toMatchObject({ code: 4 });
    await noneInGuest(pod, "sleep 4712");
  });

  describe.skipIf(whyNoCrictl !== undefined)(`by crictl (${whyNoCrictl ?? "over SPDY and WebSocket"})`, () => {
    test.each(["spdy", "websocket"])(
      "crictl exec over %s: output and errors apart, and a command that fails fails",
      async (transport) => {
        await using good = crictlExec(transport, [], ["sh", "-c", "echo out; echo err >&2"]);
        expect(await good.ended()).toBe(0);
        expect(good.shown()).toContain("out\n");
        expect(good.shown()).toContain("err\n");
        await using bad = crictlExec(transport, [], ["sh", "-c", "exit 7"]);
        expect(await bad.ended()).not.toBe(0);
        expect(bad.shown()).toContain("exit code");
      },
    );

    test.each(["spdy", "websocket"])("crictl exec -i over %s: input is read to its end", async (transport) => {
      await using terminal = crictlExec(transport, ["-i"], ["sh"]);
      terminal.type("echo $((6*7))-seen; tty; exit 0\n");
      expect(await terminal.ended()).toBe(0);
      expect(terminal.shown()).toContain("42-seen\nnot a tty\n");
    });

    test.each(["spdy", "websocket"])("crictl exec -it over %s has a terminal in the guest", async (transport) => {
      const flags = ["exec", "-it", "--transport", transport];
      await using terminal = startCrictlOnTerminal(node, [...flags, pod.containerId, "sh"]);
      await terminal.shows("# ");
      terminal.type("tty; echo $((6*7))-seen $TERM\n");
      await terminal.shows("42-seen xterm");
      expect(terminal.shown()).toContain("/dev/pts/");
      terminal.type("exit\n");
      expect(await terminal.ended()).toBe(0);
    });

    test("a tar, as kubectl cp sends it, arrives whole, and comes back whole", {
      timeout: 10 * BOOT_LIMIT_MS,
    }, async () => {
      await using folder = await mkdtempDisposable("/var/tmp/vmlet-exec-");
      const at = (name: string): string => join(folder.path, name);
      await shell(`cd ${folder.path}; head -c ${TAR_MIB << 20} /dev/urandom >there; tar -cf there.tar there`);
      const exec = `.cache/bin/crictl --config ${node.layout.crictlConfigPath} exec -i ${pod.containerId}`;
      await shell(`${exec} tar -C /tmp -xf - <${at("there.tar")}`);
      await shell(`${exec} tar -C /tmp -cf - there >${at("back.tar")}`);
      await shell(`cd ${folder.path}; mkdir back; tar -C back -xf back.tar`);
      const sums = await shell(`sha256sum <${at("there")}; sha256sum <${at("back/there")}`);
      const inGuest = textOf(await execSync(pod, ["sh", "-c", "sha256sum </tmp/there; rm /tmp/there"], 120)).stdout;
      expect(new Set([...sums.trim().split("\n"), inGuest.trim()]).size).toBe(1);
    });
  });

  test("many commands at once each get their own, and nothing is left", { timeout: TEST_LIMIT_MS }, async () => {
    const count = process.env["FULL"] === "1" ? 200 : 50;
    const said = await Promise.all(Array.from({ length: count }, (_, n) => execSync(pod, ["echo", `${n}`], 170)));
    expect(said.map(textOf)).toEqual(said.map((_, n) => ({ exitCode: 0, stdout: `${n}\n`, stderr: "" })));
    await noneInGuest(pod, "echo");
  });

  test("after the daemon was killed, and after the guest rebooted, it works again", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    await node.kill(suite);
    await node.start(suite);
    expect(textOf(await execSync(pod, ["echo", "daemon"])).stdout).toBe("daemon\n");
    const boots = (await pod.log()).split("tiny: ready").length;
    await execSync(pod, ["sh", "-c", "reboot >/dev/null 2>&1 &"]).catch(() => {}); // it may go before it answers
    await poll(async () => (await pod.log()).split("tiny: ready").length > boots || undefined, WAIT("a reboot"), suite);
    expect(textOf(await execSync(pod, ["echo", "rebooted"])).stdout).toBe("rebooted\n");
  });
});
