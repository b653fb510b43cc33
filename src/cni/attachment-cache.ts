// One file per pod that has, or may have, something of the network's: the intent before ADD, the result after it.

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { syncFolder, writeFileAtomically } from "../lib/atomic-file.ts";
import type { Attachment } from "../model/attachment.ts";
import { VmletError } from "../model/failure.ts";
import type { PodId } from "../model/ids.ts";
import type { NetworkRequest } from "../ports/network.ts";
import { isSystemError } from "./errors.ts";
import { type NetworkConfig, networkConfigSchema, readCapped, reasonOf } from "./network-config.ts";
import type { CniResult } from "./result.ts";

/**
 * `config` and `request` are those of ADD time: DEL gets the same, whatever the folder says by then.
 * `intended`: ADD may have begun and may have done anything.
 */
export type CachedAttachment = {
  readonly config: NetworkConfig;
  readonly request: NetworkRequest;
} & (
  | { readonly at: "intended" }
  | { readonly at: "attached"; readonly result: CniResult; readonly attachment: Attachment }
);

const recordSchema = z.object({
  v: z.literal(1),
  at: z.enum(["intended", "attached"]),
  config: networkConfigSchema,
  request: z.object({
    podId: z.string(),
    netnsPath: z.string(),
    pod: z.object({ name: z.string(), namespace: z.string(), uid: z.string() }),
    portMappings: z.array(
      z.object({
        protocol: z.enum(["tcp", "udp", "sctp"]),
        containerPort: z.number(),
        hostPort: z.number(),
        hostIp: z.string(),
      }),
    ),
    dns: z.object({ servers: z.array(z.string()), searches: z.array(z.string()), options: z.array(z.string()) }),
  }),
  result: z.looseObject({}).optional(),
  attachment: z.looseObject({ network: z.string() }).optional(),
});

/** A configuration and a result of a MiB each, and a pod's ports and name servers, which may be as large as its record. */
const MAX_RECORD_BYTES = 8 << 20;

export class AttachmentCache {
  readonly #folderPath: string;

  constructor(folderPath: string) {
    this.#folderPath = folderPath;
  }

  /** @throws RECORD_BROKEN when the file is not what `write` wrote. */
  async read(podId: PodId): Promise<CachedAttachment | undefined> {
    const path = this.#pathOf(podId);
    try {
      const record = recordSchema.parse(JSON.parse(await readCapped(path, MAX_RECORD_BYTES)));
      if (record.at === "attached" && (record.result === undefined || record.attachment === undefined)) {
        throw new Error("attached without a result");
      }
      // Ours: what parsed at the door of `write` is not parsed in depth again.
      return record as unknown as CachedAttachment;
    } catch (error) {
      if (isSystemError(error, "ENOENT")) return undefined;
      throw new VmletError(
        { code: "RECORD_BROKEN", path },
        `network record ${path}: ${reasonOf(error)}; without it the pod's address cannot be given back`,
        { cause: error },
      );
    }
  }

  /** Durable when it resolves. */
  async write(podId: PodId, record: CachedAttachment): Promise<void> {
    await mkdir(this.#folderPath, { recursive: true, mode: 0o700 });
    await writeFileAtomically(this.#pathOf(podId), JSON.stringify({ v: 1, ...record }));
  }

  async remove(podId: PodId): Promise<void> {
    await rm(this.#pathOf(podId), { force: true });
    await syncFolder(this.#folderPath);
  }

  #pathOf(podId: PodId): string {
    return join(this.#folderPath, `${podId}.json`);
  }
}
