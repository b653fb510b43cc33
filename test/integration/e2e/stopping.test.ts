// Every way in which a machine can end, and what the kubelet is told of it.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ContainerState } from "../../../src/gen/runtime.ts";
import { output } from "../../node/command.ts";
import { poll } from "../../node/poll.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { untilAgentAnswers } from "./guest-agent.ts";
import { qemuPid } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, containerConfigOf, httpGet, VmPod, type VmPodOptions, virsh } from "./vm-pod.ts";

const TEST_LIMIT_MS = 2 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(25 * 60_000);

/** Makes the guest say who asked it to power off. */
const TELLTALE = `#!/bin/sh
cat >/sbin/shutdown <<'END'
#!/bin/sh
echo "asked to power off by $(cat /proc/$PPID/comm)" >/dev/console
exec poweroff
END
`;
/** A guest whose agent is not there, however often its init starts it. */
const WITHOUT_AGENT = `${TELLTALE}
printf '#!/bin/sh\\nexec sleep 1000\\n' >/run/no-agent && chmod 755 /run/no-agent && mv /run/no-agent /usr/sbin/qemu-ga
killall qemu-ga
`;
/** The root disk is all that a guest of this kind keeps over a reboot. */
const REBOOT_ONCE = `#!/bin/sh
mkdir -p /mnt && mount -t vfat "$(findfs LABEL=TINY)" /mnt
[ ! -e /mnt/rebooted ] || { umount /mnt; echo "tiny: this is the second boot"; exit 0; }
touch /mnt/rebooted && umount /mnt
echo "tiny: rebooting"
reboot
sleep 1000
`;

describe("the end of a machine", () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await startTestNode({}, suite);
  });
  afterAll(async () => await node[Symbol.asyncDispose]());
  beforeEach(async () => await node.revive(suite));

  const start = async (name: string, userData = "", options: VmPodOptions = {}): Promise<VmPod> => {
    const annotations = userData === "" ? {} : { "vmlet.dev/user-data": userData };
    return await VmPod.start(node, { ...options, name, pod: { annotations } }, suite);
  };
  const conditionOf = async (pod: VmPod): Promise<string | undefined> => {
    const { info } = await node.cri.runtime.containerStatus({ containerId: pod.containerId, verbose: true }, suite);
    return (JSON.parse(info["info"] ?? "{}") as { condition?: string }).condition;
  };

  test("a guest asked by its agent powers off within the grace period: 0, Completed", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    const pod = await start("agent", TELLTALE);
    await untilAgentAnswers(await pod.domain(suite), suite);
    await pod.says("tiny: ready", suite);
    await pod.stop(120, suite);
    const status = await pod.status(suite);
    expect(status).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 0, reason: "Completed" });
    expect(status.startedAt).toBeGreaterThan(status.createdAt);
    expect(status.finishedAt).toBeGreaterThan(status.startedAt);
    expect(await pod.log()).toContain("asked to power off by qemu-ga");
    await pod.remove(suite);
  });

  test("a guest without an agent hears the power button: 0, Completed", { timeout: TEST_LIMIT_MS }, async () => {
    const pod = await start("acpi", WITHOUT_AGENT);
    await pod.says("tiny: ready", suite);
    await pod.stop(120, suite);
    expect(await pod.status(suite)).toMatchObject({ exitCode: 0, reason: "Completed" });
    expect(await pod.log()).toContain("asked to power off by acpid");
    await pod.remove(suite);
  });

  test("a deaf guest is destroyed at the end of its grace period: 137, Error", { timeout: TEST_LIMIT_MS }, async () => {
    const pod = await start("deaf", "#!/bin/sh\ntouch /run/tiny/deaf\n");
    await pod.says("tiny: ready", suite);
    const stopping = pod.stop(BOOT_LIMIT_MS / 1_000, suite); // a guest on a busy machine takes its time to hear
    await pod.says("tiny: asked to power off, but deaf", suite);
    expect((await pod.status(suite)).state).toBe(ContainerState.CONTAINER_RUNNING);
    await pod.stop(3, suite); // a second call may shorten it
    await stopping;
    expect(await pod.status(suite)).toMatchObject({
      state: ContainerState.CONTAINER_EXITED,
      exitCode: 137,
      reason: "Error",
    });
    await pod.remove(suite);
  });

  test("a guest that powers itself off has exited with 0, and nobody called anything", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    const pod = await start("self", "#!/bin/sh\necho farewell\npoweroff\nsleep 1000\n");
    expect(await pod.exited(suite)).toMatchObject({ exitCode: 0, reason: "Completed" });
    expect(await pod.log()).toContain("farewell");
    await pod.remove(suite);
  });

  test("a QEMU that is killed: 255, Error", { timeout: TEST_LIMIT_MS }, async () => {
    const pod = await start("killed");
    process.kill(await qemuPid(pod.containerId), "SIGKILL");
    expect(await pod.exited(suite)).toMatchObject({ exitCode: 255, reason: "Error" });
    await pod.remove(suite);
  });

  test("a command that is still at work when its guest is asked to power off: 143, Error", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    const container = { command: ["sh", "-c", "echo at work; exec sleep 1000"] };
    const pod = await start("cut-short", "", { container });
    await pod.says("at work", suite);
    await pod.stop(120, suite);
    expect(await pod.status(suite)).toMatchObject({ exitCode: 143, reason: "Error" });
    await pod.remove(suite);
  });

  test("a command's output, environment, folder and exit status; then the pod's next container", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    const tricky = `first line\nsecond 'single' "double" \`echo no\` $HOME \\ end\n\n`;
    const script = 'printf %s "$TRICKY" | base64 -w 0; echo; echo "in $(pwd)"; echo "plain $PLAIN"; exit 3';
    const envs = [
      { key: "TRICKY", value: Buffer.from(tricky) },
      { key: "PLAIN", value: Buffer.from("words") },
    ];
    const container = { command: ["/bin/sh", "-c"], args: [script], workingDir: "/srv/work here", envs };
    const pod = await start("job", "", { container });

    const second = containerConfigOf(node.tinyImage, {
      metadata: { name: "second", attempt: 0 },
      logPath: "second/0.log",
      command: ["/bin/true"],
    });
    await expect(pod.createContainer(second, suite)).rejects.toMatchObject({
      code: 9, // FAILED_PRECONDITION
      details: expect.stringContaining("one container at a time"),
    });

    expect(await pod.exited(suite)).toMatchObject({ exitCode: 3, reason: "Error" });
    const log = await pod.log();
    expect(log).toContain(`${Buffer.from(tricky).toString("base64")}\nin /srv/work here\nplain words\n`);

    await pod.createContainer(second, suite);
    await pod.start(suite);
    expect(await pod.exited(suite)).toMatchObject({ exitCode: 0, reason: "Completed" });
    await pod.remove(suite);
  });

  describe("destroyed from outside, started by hand, tried again", () => {
    let pod: VmPod;
    let domain = "";
    let exitedId = "";

    test("virsh destroy: 137, Error", { timeout: TEST_LIMIT_MS }, async () => {
      await removePods(node.layout, suite); // of tests that failed: nothing is to be left at the end
      pod = await start("phoenix", REBOOT_ONCE);
      exitedId = pod.containerId;
      domain = await pod.domain(suite);
      await virsh(["destroy", domain], suite);
      expect(await pod.exited(suite)).toMatchObject({ exitCode: 137, reason: "Error" });
    });

    test("virsh start afterwards: still exited, with a warning and without a network", {
      timeout: TEST_LIMIT_MS,
    }, async () => {
      const before = await pod.status(suite);
      await virsh(["start", domain], suite);
      const warning = await poll(() => conditionOf(pod), { what: "a warning", limitMs: BOOT_LIMIT_MS }, suite);
      expect(warning).toContain("started by hand");
      expect(await pod.status(suite)).toEqual(before);
      expect(await linksOf(pod.podId)).not.toContain(`vm${exitedId.slice(0, 12)}`);
    });

    test("a restarted daemon says so, too", { timeout: TEST_LIMIT_MS }, async () => {
      await node.kill(suite);
      await node.start(suite);
      const warning = await poll(() => conditionOf(pod), { what: "a warning", limitMs: BOOT_LIMIT_MS }, suite);
      expect(warning).toContain("started by hand");
    });

    test("the next attempt powers it off and takes its place", { timeout: TEST_LIMIT_MS }, async () => {
      const config = containerConfigOf(node.tinyImage, { metadata: { name: "vm", attempt: 1 }, logPath: "vm/1.log" });
      await pod.createContainer(config, suite);
      expect(await virsh(["domstate", domain], suite)).toBe("running");
      await pod.start(suite);
      expect(await virsh(["domstate", domain], suite)).toBe("shut off");
    });

    test("a guest that reboots goes on running, with its network", { timeout: TEST_LIMIT_MS }, async () => {
      const before = await pod.status(suite);
      await pod.says("tiny: rebooting", suite);
      await pod.says("tiny: this is the second boot", suite);
      expect(await httpGet(`http://${await pod.ip(suite)}/`, suite)).toContain("phoenix");
      expect(await pod.status(suite)).toEqual(before);
    });

    test("removing the pod leaves nothing", { timeout: TEST_LIMIT_MS }, async () => {
      await pod.remove(suite);
      expect(await node.leftovers(suite)).toEqual([]);
    });
  });
});

async function linksOf(podId: string): Promise<string> {
  return await output(["/usr/sbin/ip", "-n", `vmlet-${podId.slice(0, 12)}`, "-o", "link"], suite);
}
