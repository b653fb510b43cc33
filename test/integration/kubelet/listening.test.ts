// A kubelet that hears events (EventedPLEG) and reads lists as streams (CRIListStreaming): what is off unless it is asked for. Behind it is
// an engine among fakes, and no VM: what becomes of those, kubelet.test.ts tells.

import { existsSync } from "node:fs";
import { mkdtempDisposable, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import type { MachineRecord } from "../../../src/ports/pod-store.ts";
import { startKubelet } from "../../node/kubelet.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import { serveWorld } from "../../unit/engine/served-world.ts";
import { IMAGE } from "../../unit/engine/world.ts";

const programPath = process.env["KUBELET"] ?? join(REPO_PATH, ".cache/bin/kubelet");
const LIMIT_MS = 120_000;

test.skipIf(!existsSync(programPath))(
  "a kubelet that hears events creates each attempt once, also after its restart, and leaves no pod",
  { timeout: 3 * LIMIT_MS },
  async () => {
    const signal = AbortSignal.timeout(3 * LIMIT_MS);
    await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-listening-"));
    await using served = await serveWorld();
    const { world, engine, socketPath } = served;
    using _clock = ticking(world.clock);
    const podLogFolderPath = join(folder.path, "pod-logs"); // its own: the kubelet removes what is no pod's in it
    const layout = { networkName: "vmlet-listen", podLogFolderPath, stateFolderPath: folder.path };
    const port = 30_000 + (process.pid % 10_000);
    const featureGates = { EventedPLEG: true, CRIListStreaming: true };
    await using kubelet = await startKubelet(
      layout,
      { programPath, port, runtimeSocketPath: socketPath, featureGates },
      signal,
    );
    const until = async (what: string, isSo: () => boolean): Promise<true> =>
      await poll(async () => isSo() || undefined, { what, limitMs: LIMIT_MS, everyMs: 100 }, signal);
    const runs =
      (attempt: number) =>
      ({ facts, state }: MachineRecord): boolean =>
        facts.spec.attempt === attempt && state.at === "running";
    const crash = (): void => {
      for (const { facts, state } of engine.pods.machines())
        if (state.at === "running") world.hypervisor.end(facts.machineId, "crashed");
    };

    const manifestPath = join(kubelet.manifestFolderPath, "web.yaml");
    const containers = [{ name: "vm", image: IMAGE, imagePullPolicy: "IfNotPresent" }];
    const metadata = { name: "web", namespace: "default" };
    await writeFile(manifestPath, stringify({ apiVersion: "v1", kind: "Pod", metadata, spec: { containers } }));
    await until("the first attempt", () => engine.pods.machines().some(runs(0)));
    crash();
    await until("the second attempt", () => engine.pods.machines().some(runs(1)));
    await kubelet.restart(signal);
    crash();
    await until("the third attempt", () => engine.pods.machines().some(runs(2)));
    await rm(manifestPath);
    await until("no pod", () => engine.pods.pods().length === 0);

    const log = await readFile(kubelet.logPath, "utf8");
    expect(
      log.split("\n").filter((line) => line.includes("CreateContainer in sandbox from runtime service failed")),
    ).toEqual([]);
    expect(await world.leftovers()).toEqual({});
  },
);

/** A kubelet compares our times with its own. */
function ticking(clock: { now: number }): Disposable {
  const tick = (): void => void (clock.now = Date.now());
  tick();
  const timer = setInterval(tick, 1);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
