// vmlet.v1 over a real socket, with an engine among fakes behind it.

import { credentials } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { vmletService } from "../../../src/api/service.ts";
import { connectDaemon } from "../../../src/cli/daemon-client.ts";
import { PullPhase, type PullProgress, type PullResponse, VmletClient, VmletService } from "../../../src/gen/vmlet.ts";
import { silentLog } from "../../fakes/small-ports.ts";
import { serveWorld } from "../engine/served-world.ts";
import { IMAGE, machineSpec, podSpec, soon, type World } from "../engine/world.ts";

async function served() {
  await using parts = new AsyncDisposableStack();
  const { world, engine, socketPath } = parts.use(
    await serveWorld((own) => [{ definition: VmletService, implementation: vmletService(own, { log: silentLog }) }]),
  );
  const daemon = parts.use(await connectDaemon(socketPath, soon()));
  const raw = new VmletClient(`unix://${socketPath}`, credentials.createInsecure());
  parts.defer(() => raw.close());
  const kept = parts.move();
  return { world, engine, daemon, raw, [Symbol.asyncDispose]: async () => await kept.disposeAsync() };
}

/** Holds pulls back until it is called. */
function holdBack({ images }: World): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  images.gate = promise;
  return resolve;
}

async function all(responses: AsyncIterable<PullResponse>): Promise<PullResponse[]> {
  const told: PullResponse[] = [];
  for await (const response of responses) told.push(response);
  return told;
}

test("a pull tells progress until its image is there, and the image is then listed", async () => {
  await using under = await served();
  const letGo = holdBack(under.world);
  const told: PullResponse[] = [];
  for await (const response of under.daemon.pull({ image: IMAGE, credentials: undefined }, soon())) {
    told.push(response);
    if (told.length === 2) letGo();
  }
  const half = { image: IMAGE, phase: PullPhase.PULL_PHASE_RECEIVING, receivedBytes: 524_288n, totalBytes: 1_048_576n };
  expect(told.slice(0, 2)).toMatchObject([{ progress: half }, { progress: { ...half, waiters: ["vmlet"] } }]);
  const image = told.at(-1)?.image;
  expect(image).toMatchObject({ repoTags: [IMAGE], format: "qcow2", sizeBytes: 1_048_576n, pinned: false });
  expect(await under.daemon.listImages(soon())).toEqual([image]);
});

test("a kubelet's pull is listed, can be looked at and can be joined; looking at it keeps it from nothing", async () => {
  await using under = await served();
  const letGo = holdBack(under.world);
  const kubelet = under.engine.images.pull(IMAGE, soon(), undefined, { name: "cri" });
  const [listed] = await under.daemon.listPulls(soon());
  expect(listed).toMatchObject({ image: IMAGE, waiters: ["cri"] } satisfies Partial<PullProgress>);
  const watched = all(under.raw.watchPull({ pullId: listed?.pullId ?? "" }));
  const joined = all(under.daemon.pull({ image: IMAGE, credentials: undefined }, soon()));
  await expect.poll(async () => (await under.daemon.listPulls(soon()))[0]?.waiters).toEqual(["cri", "vmlet"]);
  letGo();
  const { digest } = await kubelet;
  expect((await watched).at(-1)?.image?.digest).toBe(digest);
  expect((await joined).at(-1)?.image?.digest).toBe(digest);
  expect(await under.daemon.listPulls(soon())).toEqual([]);
});

test("whoever goes away no longer waits, and the last one ends the pull", async () => {
  await using under = await served();
  holdBack(under.world);
  const stop = new AbortController();
  const pulling = all(under.daemon.pull({ image: IMAGE, credentials: undefined }, stop.signal));
  await expect.poll(async () => (await under.daemon.listPulls(soon())).length).toBe(1);
  stop.abort(new Error("went away"));
  await expect(pulling).rejects.toThrow("went away");
  await expect.poll(async () => await under.daemon.listPulls(soon())).toEqual([]);
});

test("what cannot be pulled, watched or named fails with its status and reason", async () => {
  await using under = await served();
  const pull = async (image: string) => await all(under.daemon.pull({ image, credentials: undefined }, soon()));
  await expect(pull("vmlet.dev/https/example.org/absent")).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(pull("Not A Name")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(pull("")).rejects.toMatchObject({ message: "image: must be set (INVALID_ARGUMENT)" });
  await expect(all(under.raw.watchPull({ pullId: "0123456789ab" }))).rejects.toMatchObject({
    details: "pull 0123456789ab is not under way; it may have ended",
  });
});

test("machines are listed with their pods, addresses and how they ended", async () => {
  await using under = await served();
  const { world, engine, daemon } = under;
  await world.images.pull(IMAGE, soon());
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  const known = { machineId, podId, podNamespace: "default", podName: "web", name: "vm", image: IMAGE };
  const address = [...world.network.attached.values()][0]?.addresses[0]?.address;
  expect(await daemon.listMachines(soon())).toEqual([
    expect.objectContaining({ ...known, state: "created", ips: [address], condition: "" }),
  ]);
  await engine.startMachine(machineId, soon());
  await engine.stopMachine(machineId, 0, soon());
  expect(await daemon.listMachines(soon())).toEqual([
    expect.objectContaining({ ...known, state: "exited", exitCode: 137, finishedAtMs: BigInt(world.clock.now) }),
  ]);
});
