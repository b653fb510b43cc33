// The two keys by which we get into one machine: it knows us by the client key, we know it by the host key.

import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomically } from "../../lib/atomic-file.ts";
import { errorCodeOf } from "../../lib/error-code.ts";
import { newOpensshKeyPair, type OpensshKeyPair } from "./openssh-key.ts";

export interface ExecKeys {
  readonly host: OpensshKeyPair;
  readonly client: OpensshKeyPair;
}

const NAMES = { host: "host_key", client: "client_key" } as const;

/** The machine's keys; those that are missing are made. They live as long as the machine's folder, which holds them. */
export async function ensureExecKeys(folderPath: string): Promise<ExecKeys> {
  await mkdir(folderPath, { recursive: true, mode: 0o700 });
  return {
    host: await ensurePair(join(folderPath, NAMES.host), "vmlet machine"),
    client: await ensurePair(join(folderPath, NAMES.client), "vmlet"),
  };
}

/** Undefined when the machine was made without. */
export async function readExecKeys(folderPath: string): Promise<ExecKeys | undefined> {
  const [host, client] = await Promise.all([
    readPair(join(folderPath, NAMES.host)),
    readPair(join(folderPath, NAMES.client)),
  ]);
  return host && client && { host, client };
}

/** The public half is written last: where it is, the private one is. */
async function ensurePair(path: string, comment: string): Promise<OpensshKeyPair> {
  const there = await readPair(path);
  if (there !== undefined) return there;
  const made = newOpensshKeyPair(comment);
  await writeFileAtomically(path, made.privateKey, { mode: 0o600 });
  await writeFileAtomically(`${path}.pub`, `${made.publicKey}\n`, { mode: 0o600 });
  return made;
}

async function readPair(path: string): Promise<OpensshKeyPair | undefined> {
  const [privateKey, publicKey] = await Promise.all([read(path), read(`${path}.pub`)]);
  return privateKey !== undefined && publicKey !== undefined
    ? { privateKey, publicKey: publicKey.trimEnd() }
    : undefined;
}

async function read(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
