// What a call that must be refused leaves behind: one status for the caller, and a node as it was before.

import { readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import type { ServiceError } from "@grpc/grpc-js";
import { expect } from "vitest";
import type { TestNode } from "../../node/test-node.ts";

export interface Refusal {
  /** gRPC status. */
  readonly code: number;
  readonly details: string;
}

/** How the call ended; fails when it succeeded. */
export async function refusalOf(call: Promise<unknown>): Promise<Refusal> {
  const outcome = await call.then(
    (answer: unknown) => ({ answer }),
    (error: unknown) => ({ error }),
  );
  if (!("error" in outcome)) throw new Error(`was not refused: ${JSON.stringify(outcome.answer)}`);
  const { code, details } = outcome.error as ServiceError;
  return { code, details };
}

/**
 * The call is refused with this status and words, and changes nothing on the node.
 * @param folderPaths Where to look beside the node's own folders.
 */
export async function expectRefused(
  node: TestNode,
  call: () => Promise<unknown>,
  expected: { readonly code: number; readonly details: RegExp },
  signal: AbortSignal,
): Promise<void> {
  const before = await traces(node, signal);
  const refusal = await refusalOf(call());
  expect(refusal).toEqual({ code: expected.code, details: expect.stringMatching(expected.details) });
  expect(await traces(node, signal)).toEqual(before);
}

/** Every domain, process, interface, address and file of the node, but for those that only ever grow. */
export async function traces(node: TestNode, signal: AbortSignal): Promise<string[]> {
  const { stateFolderPath, runFolderPath, imageFolderPath, ipamFolderPath, daemonLogPath } = node.layout;
  const ignored = [imageFolderPath, ipamFolderPath, daemonLogPath, join(runFolderPath, "ipam")];
  const roots = new Set([stateFolderPath, runFolderPath]);
  const files = await Promise.all([...roots].map(async (root) => await filesIn(root, ignored)));
  return [...(await node.leftovers(signal)), ...files.flat()].toSorted();
}

async function filesIn(root: string, ignored: readonly string[]): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !ignored.some((each) => path === each || !relative(each, path).startsWith("..")));
}
