// Credentials for a registry, from where a person keeps them.

import { createReadStream } from "node:fs";
import type { Credentials } from "../gen/vmlet.ts";
import { printable } from "../lib/printable.ts";
import { CliFailure } from "./failure.ts";
import type { Io } from "./io.ts";

const MAX_FILE_BYTES = 65_536;

export interface CredentialOptions {
  /** `user:password`; everyone on the machine can read it in the process list. */
  readonly creds?: string;
  /** A file with that on its only line; `-`: stdin. */
  readonly credsFile?: string;
}

/** Undefined: none were given. @throws CliFailure without the secret in it. */
export async function readCredentials(
  { creds, credsFile }: CredentialOptions,
  { stdin }: Pick<Io, "stdin">,
): Promise<Credentials | undefined> {
  if (creds !== undefined && credsFile !== undefined)
    throw new CliFailure("--creds and --creds-file: give one of them");
  if (creds !== undefined) return parse(creds, "--creds");
  if (credsFile === undefined) return undefined;
  const where = credsFile === "-" ? "--creds-file -" : `--creds-file ${printable(credsFile)}`;
  const text = await readAll(credsFile === "-" ? stdin : createReadStream(credsFile), where);
  return parse(text.replace(/\r?\n$/, ""), where);
}

async function readAll(stream: NodeJS.ReadableStream, where: string): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of stream) {
      chunks.push(Buffer.from(chunk as Buffer));
      bytes += chunk.length;
      if (bytes > MAX_FILE_BYTES) throw new Error(`is larger than ${MAX_FILE_BYTES} bytes`);
    }
  } catch (error) {
    throw new CliFailure(`${where}: ${printable(error instanceof Error ? error.message : String(error))}`);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parse(text: string, where: string): Credentials {
  const colon = text.indexOf(":");
  if (colon > 0 && !/[\r\n\0]/.test(text)) return { username: text.slice(0, colon), password: text.slice(colon + 1) };
  throw new CliFailure(`${where}: wants user:password on one line`);
}
