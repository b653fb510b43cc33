// The daemon dies, at every bad moment there is: VMs go on, nothing printed is lost, and interrupted calls converge.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ContainerState } from "../../../src/gen/runtime.ts";
import { answers } from "../../node/daemon.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import { pidOf } from "../../node/process.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { startInGuest, untilAgentAnswers } from "./guest-agent.ts";
import { qemuPid, qemuPids } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, containerConfigOf, httpGet, VmPod, virsh } from "./vm-pod.ts";

const TEST_LIMIT_MS = 2 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(30 * 60_000);
/** For how long a guest floods its console while no daemon runs. */
const DOWNTIME_MS = process.env["FULL"] === "1" ? 60_000 : 10_000;
const VIRTLOGD_PID_PATH = "/run/virtlogd.pid";

/** Counts on its console for ever: slowly, but as fast as it can while /run/flood is there. */
const COUNTER = 'i=0; while :; do echo "count $i"; i=$((i + 1)); [ -e /run/flood ] || sleep 0.05; done';

let node: TestNode;
beforeAll(async () => {
  node = await startTestNode({}, suite);
});
afterAll(async () => await node[Symbol.asyncDispose]());
beforeEach(async () => await node.revive(suite));

describe("a guest that counts on its console", () => {
  let pod: VmPod;
  let domain = "";
  let qemu = 0;
  const identity = async (): Promise<unknown> => ({
    status: await pod.status(suite),
    ip: await pod.ip(suite),
    qemu: await qemuPid(pod.containerId),
  });
  /** Waits until the log has counted on by that much. */
  const countsOn = async (by: number): Promise<void> => {
    const from = lastCount(await pod.log());
    const isThere = async (): Promise<true | undefined> => (lastCount(await pod.log()) >= from + by ? true : undefined);
    await poll(isThere, { what: `${by} more lines in the log`, limitMs: BOOT_LIMIT_MS, everyMs: 500 }, suite);
  };
  const flood = async (): Promise<void> => await startInGuest(domain, "touch /run/flood", suite);
  const calm = async (): Promise<void> => await startInGuest(domain, "rm /run/flood", suite);

  test("killed while the VM boots: the same VM with the same facts after the restart", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    const container = { command: ["/bin/sh", "-c", COUNTER] };
    pod = await VmPod.start(node, { name: "counter", container }, suite);
    const before = await identity();
    qemu = await qemuPid(pod.containerId);
    domain = await pod.domain(suite);
    await node.kill(suite);
    expect(await qemuPid(pod.containerId)).toBe(qemu);
    await node.start(suite);
    expect(await identity()).toEqual(before);
    await pod.says("count 20\n", suite);
    expect(await identity()).toEqual(before);
  });

  test(`killed, and the guest floods its console for ${DOWNTIME_MS / 1000} s`, { timeout: TEST_LIMIT_MS }, async () => {
    await untilAgentAnswers(domain, suite);
    await node.kill(suite);
    const before = lastCount(await pod.log());
    await flood();
    await after(DOWNTIME_MS, undefined, { signal: suite });
    await poll(
      async () => (await lastPrinted()) > before + 500 || undefined, // by then, unless the guest has no processor
      { what: "a flood", limitMs: BOOT_LIMIT_MS },
      suite,
    );
    await calm();
    expect(lastCount(await pod.log())).toBe(before);
    await node.start(suite);
    await untilLogHasAll();
    expect(lastCount(await pod.log())).toBeGreaterThan(before + 500);
  });

  test("told to stop: exit status 0, VMs stay, and the next start takes them up", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    const before = await identity();
    await node.stop(suite);
    const child = spawn(join(REPO_PATH, "bin/vmlet"), ["serve", "--config", node.layout.configPath], {
      stdio: "ignore",
    });
    const ended = exitOf(child);
    try {
      await poll(
        async () => (await answers(node.layout, suite)) || undefined,
        { what: "the daemon", limitMs: 60_000 },
        suite,
      );
      child.kill("SIGTERM");
      expect(await ended).toBe(0);
    } finally {
      child.kill("SIGKILL");
    }
    expect(await qemuPid(pod.containerId)).toBe(qemu);
    await node.start(suite);
    expect(await identity()).toEqual(before);
    await countsOn(5);
  });

  const hasVirtlogd = existsSync(VIRTLOGD_PID_PATH);
  const virtlogd = hasVirtlogd ? "virtlogd" : `virtlogd (skipped: no ${VIRTLOGD_PID_PATH})`;
  test.skipIf(!hasVirtlogd)(
    `${virtlogd} stopped, then killed: guest and log go on`,
    { timeout: TEST_LIMIT_MS },
    async () => {
      const pid = await pidOf(VIRTLOGD_PID_PATH, "virtlogd");
      if (pid === undefined) throw new Error(`${VIRTLOGD_PID_PATH} names no virtlogd`);
      await flood();
      process.kill(pid, "SIGSTOP");
      try {
        await countsOn(2000);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      process.kill(pid, "SIGKILL");
      try {
        await countsOn(2000);
      } finally {
        await exitOf(spawn("/usr/sbin/virtlogd", ["-d"], { stdio: "ignore" }));
      }
      await calm();
    },
  );

  test("a person's virsh console that is stopped: guest and log go on", { timeout: TEST_LIMIT_MS }, async () => {
    const line = `virsh -c qemu:///system console ${domain} ua-vmlet-hvc`;
    const terminal = spawn("/usr/bin/script", ["-qfec", `exec ${line}`, "/dev/null"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    const ended = exitOf(terminal);
    try {
      await startInGuest(domain, "yes 'on the other console' >/dev/hvc0", suite);
      await untilPrinted(terminal, "on the other console");
      const children = await readFile(`/proc/${terminal.pid}/task/${terminal.pid}/children`, "utf8");
      const pid = Number(children.trim());
      expect(await readFile(`/proc/${pid}/cmdline`, "utf8")).toContain("virsh\0");
      process.kill(pid, "SIGSTOP");
      await countsOn(100);
      process.kill(pid, "SIGKILL");
    } finally {
      terminal.kill("SIGKILL");
      await ended;
    }
    await startInGuest(domain, "killall yes", suite);
  });

  test("its log has every line, once and in order", { timeout: TEST_LIMIT_MS }, async () => {
    await pod.stop(0, suite);
    expect(await pod.status(suite)).toMatchObject({ exitCode: 137 });
    await untilLogHasAll();
    const numbers = countsOf(await pod.log());
    expect(numbers.length).toBeGreaterThan(2000);
    const wrongAt = numbers.findIndex((number, index) => number !== index);
    expect(wrongAt < 0 ? "complete" : numbers.slice(Math.max(0, wrongAt - 3), wrongAt + 3)).toBe("complete");
    await pod.remove(suite);
  });

  async function lastPrinted(): Promise<number> {
    const { podId, containerId } = pod;
    const path = join(node.layout.stateFolderPath, "pods", podId, "machines", containerId, "console.log");
    return lastCount((await readFile(path)).subarray(-4096).toString("latin1"));
  }

  /** The console file's last line is the log's last line. */
  async function untilLogHasAll(): Promise<void> {
    const printed = await lastPrinted();
    expect(printed).toBeGreaterThan(0);
    await poll(
      async () => (lastCount(await pod.log()) >= printed ? true : undefined),
      { what: `line ${printed} of the console in the log`, limitMs: BOOT_LIMIT_MS },
      suite,
    );
  }
});

test("a guest that ends while no daemon runs: its status and last words are there after the restart", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  const script = "echo going; while [ ! -e /run/go ]; do sleep 0.1; done; echo the last words; exit 7";
  const pod = await VmPod.start(node, { name: "unseen", container: { command: ["/bin/sh", "-c", script] } }, suite);
  const domain = await pod.domain(suite);
  await pod.says("going\n", suite);
  await untilAgentAnswers(domain, suite);
  await node.kill(suite);
  await startInGuest(domain, "touch /run/go", suite);
  await poll(
    async () => ((await virsh(["domstate", domain], suite)) === "shut off" ? true : undefined),
    { what: "the end of the guest", limitMs: BOOT_LIMIT_MS },
    suite,
  );
  await node.start(suite);
  expect(await pod.status(suite)).toMatchObject({
    state: ContainerState.CONTAINER_EXITED,
    exitCode: 7,
    reason: "Error",
  });
  expect(await pod.log()).toContain("going\nthe last words\n");
  await pod.remove(suite);
});

describe("killed in the middle of a call, which the kubelet then repeats", () => {
  beforeEach(async () => void (await removePods(node.layout, suite))); // of tests that failed
  test.each([5, 40, 120, 300])("CreateContainer, after %i ms", { timeout: TEST_LIMIT_MS }, async (delayMs) => {
    const pod = await VmPod.run(node, { name: `create-${delayMs}` }, suite);
    await killedDuring(pod.createContainer(pod.containerConfig, suite), delayMs);
    await runAsKubelet(pod);
    expect(await qemusOf(pod)).toHaveLength(1);
    await pod.remove(suite);
  });

  test.each([5, 100, 250, 400, 700])("StartContainer, after %i ms", { timeout: TEST_LIMIT_MS }, async (delayMs) => {
    const pod = await VmPod.create(node, { name: `start-${delayMs}` }, suite);
    await killedDuring(pod.start(suite), delayMs);
    await runAsKubelet(pod);
    expect(await qemusOf(pod)).toHaveLength(1);
    if (delayMs === 250) expect(await httpGet(`http://${await pod.ip(suite)}/`, suite)).toContain(`start-${delayMs}`);
    await pod.remove(suite);
  });

  test("and nothing is left", async () => {
    expect(await node.leftovers(suite)).toEqual([]);
  });

  async function killedDuring(call: Promise<unknown>, delayMs: number): Promise<void> {
    const settled = call.catch(() => {});
    await after(delayMs, undefined, { signal: suite });
    await node.kill(suite);
    await settled;
    await node.start(suite);
  }

  /** What a kubelet makes of what it finds listed: a container that does not run is followed by its next attempt. */
  async function runAsKubelet(pod: VmPod): Promise<void> {
    const known = await containersOf(pod);
    const running = known.find(({ state }) => state === ContainerState.CONTAINER_RUNNING);
    if (running) {
      pod.containerId = running.id;
      return;
    }
    const attempt = Math.max(-1, ...known.map(({ metadata }) => metadata?.attempt ?? 0)) + 1;
    const config = containerConfigOf(node.tinyImage, {
      metadata: { name: "vm", attempt },
      logPath: `vm/${attempt}.log`,
    });
    await pod.createContainer(config, suite);
    await pod.start(suite);
    expect((await pod.status(suite)).state).toBe(ContainerState.CONTAINER_RUNNING);
  }

  async function qemusOf(pod: VmPod): Promise<number[]> {
    return (await Promise.all((await containersOf(pod)).map(async ({ id }) => await qemuPids(id)))).flat();
  }

  async function containersOf({ podId: podSandboxId }: VmPod) {
    const filter = { id: "", state: undefined, podSandboxId, labelSelector: {} };
    return (await node.cri.runtime.listContainers({ filter }, suite)).containers;
  }
});

const countsOf = (text: string): number[] => [...text.matchAll(/^count (\d+)\r?$/gm)].map((match) => Number(match[1]));
const lastCount = (text: string): number => countsOf(text).at(-1) ?? -1;

async function exitOf(child: ChildProcess): Promise<number | null> {
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once("error", reject).once("exit", resolve);
  return await promise;
}

async function untilPrinted(child: ChildProcess, text: string): Promise<void> {
  let printed = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    printed = (printed + chunk.toString("latin1")).slice(-4096);
  });
  const isThere = (): true | undefined => (printed.includes(text) ? true : undefined);
  await poll(isThere, { what: `"${text}" on the terminal`, limitMs: BOOT_LIMIT_MS }, suite);
}
