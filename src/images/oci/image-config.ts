// The configuration blob of a container image, as far as it says something of a disk: whom its author means to run in it.

import { z } from "zod";
import { refusedContent } from "./errors.ts";
import { type Descriptor, IMAGE_CONFIGS } from "./manifest.ts";

const MAX_CONFIG_BYTES = 1024 * 1024;
/** Of `{}`, which OCI's "empty descriptor" made well known: need not be asked for. */
const EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

const configSchema = z.object({
  config: z
    .object({
      User: z
        .string()
        .regex(/^[\x21-\x7e]{0,256}$/, "is no user name")
        .nullish(),
    })
    .nullish(),
});

/**
 * `User` as it stands there, `1001`, `www-data` or `1001:100`; empty: not said.
 * @param readBlob The blob's bytes, verified.
 * @throws IMAGE_REFUSED and what reading throws
 */
export async function userOf(
  image: string,
  config: Descriptor,
  readBlob: (blob: Descriptor) => AsyncIterable<Uint8Array>,
): Promise<string> {
  // Another may be anything: that of an artifact is not ours to read.
  if (!IMAGE_CONFIGS.includes(config.mediaType) || config.digest === EMPTY_DIGEST) return "";
  if (config.size > MAX_CONFIG_BYTES) throw refusedContent(image, `its configuration has ${config.size} bytes`);
  const bytes = Buffer.concat(await Array.fromAsync(readBlob(config)));
  try {
    return configSchema.parse(JSON.parse(bytes.toString("utf8"))).config?.User ?? "";
  } catch (error) {
    const why = error instanceof z.ZodError ? (error.issues[0]?.message ?? "?") : "is no JSON";
    throw refusedContent(image, `its configuration cannot be used: ${why}`);
  }
}
