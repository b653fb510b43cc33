// What critest is run for, and against which socket.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { CONTAINER_IMAGE } from "../node/containerd.ts";
import type { CritestOptions, SpecResult } from "./critest.ts";
import type { SpecRun } from "./report.ts";
import { type Skip, skipPattern } from "./skips.ts";

export type Critest = (
  options: Pick<CritestOptions, "socketPath" | "skip" | "flags" | "focus">,
) => Promise<readonly SpecResult[]>;

interface Machines {
  readonly title: string;
  readonly socketPath: string;
  readonly flags: readonly string[];
  readonly skips: readonly Skip[];
  /** Specs of streams are among those asked for. */
  readonly hasStreams: boolean;
}

const WEBSOCKET = ["exec", "attach", "portforward"].map((what) => `-websocket-${what}=true`);

/** Everything that is not named, and the streams once more by WebSocket. */
export async function runMachines(critest: Critest, options: Machines): Promise<SpecRun[]> {
  const { title, socketPath, flags, skips, hasStreams } = options;
  const skip = skips.map(skipPattern);
  const runs: SpecRun[] = [{ title, results: await critest({ socketPath, skip, flags }) }];
  if (hasStreams) {
    const results = await critest({ socketPath, skip, focus: ["Streaming"], flags: [...flags, ...WEBSOCKET] });
    runs.push({ title: `${title}, streams by WebSocket`, results });
  }
  return runs;
}

/**
 * What containerd passes by itself on this machine, which has one image for it and no internet, is run again through the
 * router: it must pass there, too.
 */
export async function runContainers(
  critest: Critest,
  sockets: { readonly containersSocketPath: string; readonly routerSocketPath: string },
  folderPath: string,
): Promise<SpecRun> {
  const imagesPath = join(folderPath, "container-images.yaml");
  await writeFile(imagesPath, stringify({ defaultTestContainerImage: CONTAINER_IMAGE }));
  const flags = [`-test-images-file=${imagesPath}`];
  const alone = await critest({ socketPath: sockets.containersSocketPath, flags });
  const passed = alone.filter(({ outcome }) => outcome === "passed");
  const others = alone.filter(({ outcome }) => outcome !== "passed");
  console.log(`conformance: containerd alone passes ${passed.length} specs; so many must pass by the router`);
  const skip = others.map(({ name: spec }) => skipPattern({ spec }));
  const results = await critest({ socketPath: sockets.routerSocketPath, flags, skip });
  return { title: "critest, containers by the router", results };
}
