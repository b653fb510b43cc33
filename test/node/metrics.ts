// What a node's daemon serves over HTTP: its port is any that was free, and its log says which.

import { readFile } from "node:fs/promises";
import type { NodeLayout } from "./layout.ts";

interface NodeWithLog {
  readonly layout: Pick<NodeLayout, "daemonLogPath">;
}

export async function getFrom(
  { layout }: NodeWithLog,
  path: string,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly text: string }> {
  const lines = (await readFile(layout.daemonLogPath, "utf8")).split("\n");
  const said = lines.findLast((line) => line.includes('"metrics served"'));
  if (said === undefined) throw new Error(`${layout.daemonLogPath}: metrics are not served`);
  const response = await fetch(new URL(path, (JSON.parse(said) as { url: string }).url), { signal });
  return { status: response.status, text: await response.text() };
}

/** Value of each line, by name and labels as they stand there. */
export async function scrape(node: NodeWithLog, signal: AbortSignal): Promise<ReadonlyMap<string, number>> {
  const { status, text } = await getFrom(node, "/metrics", signal);
  if (status !== 200) throw new Error(`/metrics answers ${status}`);
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.split(" ").at(-1))]));
}
