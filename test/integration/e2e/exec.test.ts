// Commands in the tiny guest, as the kubelet and a person run them.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ExecSyncResponse } from "../../../src/gen/runtime.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { untilAgentAnswers } from "./guest-agent.ts";
import { BOOT_LIMIT_MS, VmPod } from "./vm-pod.ts";

const suite = AbortSignal.timeout(20 * 60_000);
const TEST_LIMIT_MS = 2 * BOOT_LIMIT_MS;

let node: TestNode;
beforeAll(async () => void (node = await startTestNode({}, suite)), BOOT_LIMIT_MS);
afterAll(async () => await node[Symbol.asyncDispose](), BOOT_LIMIT_MS);

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

/** Processes of the guest with this in their command line, the looking left out. */
async function countInGuest(pod: VmPod, marker: string): Promise<number> {
  const { stdout } = textOf(await execSync(pod, ["sh", "-c", `ps -o args | grep -c '^${marker}' || true`]));
  return Number(stdout);
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
    expect(await countInGuest(pod, "sleep 4711")).toBe(0);
  });

  test("a large output is whole, one that is too large is cut, and nothing of it stays in the guest", async () => {
    const large = await execSync(pod, ["sh", "-c", "seq 1 200000; seq 1 200000 >&2"]);
    expect([large.exitCode, large.stdout.length, Buffer.compare(large.stdout, large.stderr)]).toEqual([0, 1288895, 0]);
    const huge = await execSync(pod, ["head", "-c", "20000000", "/dev/zero"], 120);
    expect([huge.exitCode, huge.stdout.length]).toEqual([0, 16_000_000]);
    expect(textOf(await execSync(pod, ["sh", "-c", "ls /run/vmlet | wc -l"])).stdout).toBe("1\n"); // its own
  });
});
