// The ways by which a disk is pulled, and what does the same by hand.

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../test/node/command.ts";
import { timed } from "../bench.ts";
import type { Disk, Sources } from "./sources.ts";

export interface Way {
  readonly name: string;
  readonly imageOf: (disk: Disk) => string;
  /** Each takes its turn. */
  readonly beside: readonly Side[];
}

interface Side {
  readonly baseline: string;
  /** What it leaves on disk is gone again when this resolves, and not counted. */
  readonly byHand: (disk: Disk, tookMs: number[], signal: AbortSignal) => Promise<void>;
  /** Of our time over its time. */
  readonly target: number;
}

/** @param folderPath For what is fetched by hand. */
export async function waysOf({ nginx, registry }: Sources, folderPath: string): Promise<readonly Way[]> {
  const copyPath = join(folderPath, "by-hand");
  const access = await registry.access("src-");
  const fileOf = ({ name }: Disk): string => `${name}.qcow2`;
  const overHttp =
    (how: "whole" | "throttled", script: string): Side["byHand"] =>
    async (disk, tookMs, signal) => {
      const argv = ["/bin/bash", "-euo", "pipefail", "-c", script, "bench", nginx.urlOf(how, fileOf(disk)), copyPath];
      await timed(tookMs, async () => output(["/usr/bin/env", ...argv], signal));
      await rm(copyPath, { force: true });
    };
  const fromRegistry = (layer: string): Way => {
    const repositoryOf = ({ name }: Disk): string => `${name}-${layer}`;
    return {
      name: `registry pull, ${layer} layer`,
      imageOf: (disk) => `${registry.nameOf(repositoryOf(disk))}:1`,
      beside: [
        {
          baseline: "skopeo copy to a dir:",
          target: 1,
          byHand: async (disk, tookMs, signal) => {
            const from = `docker://${registry.host}/${repositoryOf(disk)}:1`;
            const argv = ["--insecure-policy", "copy", "--quiet", ...access, from, `dir:${copyPath}`];
            await timed(tookMs, async () => output(["/usr/bin/skopeo", ...argv], signal));
            await rm(copyPath, { recursive: true });
          },
        },
      ],
    };
  };
  return [
    {
      name: "HTTP pull, one stream",
      imageOf: (disk) => nginx.nameOf("whole", fileOf(disk)),
      beside: [
        { baseline: "curl | sha256sum", target: 1 / 0.95, byHand: overHttp("whole", 'curl -sSf "$1" | sha256sum') },
        {
          baseline: "curl | tee file | sha256sum, sync file",
          target: 1,
          byHand: overHttp("whole", 'curl -sSf "$1" | tee "$2" | sha256sum && sync "$2"'),
        },
      ],
    },
    {
      name: "HTTP pull, throttled streams",
      imageOf: (disk) => nginx.nameOf("throttled", fileOf(disk)),
      beside: [
        { baseline: "curl | sha256sum", target: 1, byHand: overHttp("throttled", 'curl -sSf "$1" | sha256sum') },
      ],
    },
    fromRegistry("plain"),
    fromRegistry("gzip"),
  ];
}
