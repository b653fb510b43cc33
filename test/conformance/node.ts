// A node for critest: small guests, and every image that critest asks for.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { type NodeLayout, REPO_PATH } from "../node/layout.ts";
import { startTestNode } from "../node/test-node.ts";
import { GUEST_NAME, MIRRORED, serveStandIns, writeMirrors } from "./images.ts";

export interface ConformanceNode extends AsyncDisposable {
  readonly layout: NodeLayout;
  /** Beginnings of the names that mean its images. */
  readonly imagePrefixes: readonly string[];
  /** Of critest's --test-images-file. */
  readonly imagesPath: string;
  /** For whatever is to be gone at the end. */
  readonly folderPath: string;
}

export async function startConformanceNode(signal: AbortSignal): Promise<ConformanceNode> {
  await using undo = new AsyncDisposableStack();
  const folderPath = await mkdtemp(join(tmpdir(), "vmlet-conformance-"));
  undo.defer(async () => rm(folderPath, { recursive: true, force: true }));
  const registry = undo.use(await serveStandIns(join(REPO_PATH, ".cache/guests/tiny.qcow2")));
  const hostsFolderPath = join(folderPath, "certs.d");
  await registry.writeHosts(hostsFolderPath);
  await writeMirrors(hostsFolderPath, registry);
  const prefixes = MIRRORED.map((host) => `${host}/`);
  const config = {
    images: { allowHttp: true, registry: { hostsFolderPath, prefixes, authPath: join(folderPath, "none.json") } },
    machine: { defaultMemoryBytes: "128Mi" },
  };
  const { layout } = undo.use(await startTestNode({ config }, signal));
  const imagesPath = join(folderPath, "images.yaml");
  await writeFile(imagesPath, stringify({ defaultTestContainerImage: registry.nameOf(GUEST_NAME) }));
  const parts = undo.move();
  return {
    layout,
    imagePrefixes: prefixes,
    imagesPath,
    folderPath,
    [Symbol.asyncDispose]: async () => parts.disposeAsync(),
  };
}
