// skips.txt: the specs of critest that a VM cannot pass, each with the reason. The list may only shrink.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

export interface Skip {
  /** The spec's whole name, as `critest -ginkgo.dry-run` has it. */
  readonly spec: string;
  readonly reason: string;
}

const PATH = join(import.meta.dirname, "skips.txt");

/** @throws naming the line that is not `<spec> :: <reason>`, or that names a spec twice */
export async function readSkips(path: string = PATH): Promise<readonly Skip[]> {
  const skips: Skip[] = [];
  for (const [index, line] of (await readFile(path, "utf8")).split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue;
    const [, spec = "", reason = ""] = /^(\[k8s\.io\] \S.*?) :: (\S.{9,})$/.exec(line) ?? [];
    if (spec === "") throw new Error(`${path}:${index + 1}: wants "<spec> :: <reason>"`);
    if (skips.some((skip) => skip.spec === spec)) throw new Error(`${path}:${index + 1}: is there twice`);
    skips.push({ spec, reason });
  }
  return skips;
}

/** What makes ginkgo leave out that spec and no other. */
export const skipPattern = ({ spec }: Pick<Skip, "spec">): string => `${spec.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}$`;
