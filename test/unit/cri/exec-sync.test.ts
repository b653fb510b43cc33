import { expect, test } from "vitest";
import { execSync } from "../../../src/cri/exec-sync.ts";
import { statusOf } from "../../../src/cri/grpc-status.ts";
import { untilAborted } from "../../../src/lib/keyed-lock.ts";
import type { MachineId } from "../../../src/model/ids.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "../engine/world.ts";

async function running(annotations: Record<string, string> = {}) {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod({ ...podSpec(), annotations }, soon());
  const machineId = await engine.createMachine(podId, machineSpec({ workingDir: "/srv" }), soon());
  await engine.startMachine(machineId, soon());
  const ask = async (cmd: string[], timeout = 0n, containerId: string = machineId) =>
    execSync(engine)({ containerId, cmd, timeout }, soon());
  const codeOf = async (asking: Promise<unknown>): Promise<number> =>
    await asking.then(
      () => 0,
      (error: unknown) => statusOf(error).code,
    );
  return { world, engine, podId, machineId, ask, codeOf };
}

test("a command's exit code is in the answer, and no failure", async () => {
  const at = await running();
  at.world.guests.answer = async () => 3;
  expect(await at.ask(["say", "it"])).toMatchObject({ exitCode: 3, stdout: Buffer.from("say it") });
});

test("a guest is got into as its pod says: way, user and the container's folder", async () => {
  const at = await running({ "vmlet.dev/exec-user": "app" });
  await at.ask(["true"]);
  const { sshSocketPath: socketPath, sshKeyFolderPath: keyFolderPath } = at.world.store.pathsOf(at.podId, at.machineId);
  expect(at.world.guests.captured[0]?.target).toEqual({
    machineId: at.machineId,
    way: "auto",
    user: "app",
    bootsUntilMs: expect.any(Number),
    workingDir: "/srv",
    ssh: { socketPath, keyFolderPath },
  });
  const other = await running({ "vmlet.dev/exec-way": "agent" });
  await other.ask(["true"]);
  expect(other.world.guests.captured[0]?.target).not.toHaveProperty("ssh");
});

test("a command that takes longer than it may is DEADLINE_EXCEEDED, and is aborted", async () => {
  const at = await running();
  let reason: unknown;
  at.world.guests.answer = async (_argv, signal) => {
    signal.addEventListener("abort", () => void (reason = signal.reason));
    return await untilAborted(new Promise<number>(() => {}), signal);
  };
  expect(await at.codeOf(at.ask(["sleep"], 1n))).toBe(4);
  expect(reason).toMatchObject({ name: "TimeoutError" });
});

test.each([0n, -1n, 2n ** 40n])("a timeout of %d s is no limit, and no timer fires at once", async (timeout) => {
  const at = await running();
  expect(await at.ask(["true"], timeout)).toMatchObject({ exitCode: 0 });
});

test("what cannot be run is said with the right code: nothing, in nothing, in what does not run", async () => {
  const at = await running();
  expect(await at.codeOf(at.ask([]))).toBe(3);
  expect(await at.codeOf(at.ask(["true"], 0n, "f".repeat(64) as MachineId))).toBe(5);
  at.world.hypervisor.end(at.machineId, "shutdown");
  await at.engine.pods.until(at.machineId, ({ at: is }) => is === "exited", soon());
  expect(await at.codeOf(at.ask(["true"]))).toBe(9);
  expect(at.world.guests.captured).toEqual([]);
});
