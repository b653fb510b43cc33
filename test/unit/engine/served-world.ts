// A world whose engine is served on a socket, as a daemon serves its own.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveCri } from "../../../src/cri/serve.ts";
import type { Engine } from "../../../src/engine/engine.ts";
import { silentLog } from "../../fakes/small-ports.ts";
import { World } from "./world.ts";

type Services = Parameters<typeof serveCri>[2];

export interface ServedWorld extends AsyncDisposable {
  readonly world: World;
  readonly engine: Engine;
  readonly socketPath: string;
  /** Dispose it to stop serving before the rest goes. */
  readonly server: AsyncDisposable;
}

/** @param servicesOf What is served beside CRI. */
export async function serveWorld(servicesOf?: (engine: Engine) => Services): Promise<ServedWorld> {
  await using parts = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "vmlet-served-"));
  parts.defer(async () => await rm(folder, { recursive: true }));
  const socketPath = join(folder, "vmlet.sock");
  const world = new World();
  const { engine } = await world.start();
  const options = {
    socketPath,
    cgroupDriver: "cgroupfs",
    effectiveConfig: {},
    handlers: ["vmlet"],
    log: silentLog,
  } as const;
  const server = parts.use(await serveCri(options, engine, servicesOf?.(engine)));
  const kept = parts.move();
  return { world, engine, socketPath, server, [Symbol.asyncDispose]: async () => await kept.disposeAsync() };
}
