// OpenSSH's own client through a machine's port: what the guest's side is measured with, without any client of ours.

import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Finished, run } from "../../../src/lib/spawn.ts";

export interface PlainSsh {
  readonly socketPath: string;
  readonly keyFolderPath: string;
  readonly user: string;
}

/** The guest's key must be the pinned one. A host that left a moment ago may still be talked to: try again then. */
export async function plainSsh(
  { socketPath, keyFolderPath, user }: PlainSsh,
  command: string,
  signal: AbortSignal,
): Promise<Finished> {
  const knownHostsPath = join(keyFolderPath, "known_hosts");
  await writeFile(knownHostsPath, `vm ${await readFile(join(keyFolderPath, "host_key.pub"), "utf8")}`);
  const pipe = `'${process.execPath}' '${resolve("test/integration/guest/unix-pipe.ts")}' '${socketPath}'`;
  const options = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=yes",
    `UserKnownHostsFile=${knownHostsPath}`,
    "LogLevel=ERROR",
    `ProxyCommand=${pipe}`,
  ].flatMap((option) => ["-o", option]);
  const argv = ["-F", "none", ...options, "-i", join(keyFolderPath, "client_key"), `${user}@vm`, command];
  return await run("/usr/bin/ssh", argv, {}, signal);
}
