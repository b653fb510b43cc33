// Keys and certificates by openssl, each signed by itself, so that it is its own authority.

import { join } from "node:path";
import { run } from "../../src/lib/spawn.ts";

export interface Certificate {
  readonly keyPath: string;
  readonly certPath: string;
}

/** @param extension `subjectAltName=IP:127.0.0.1` or the like. */
export async function certify(folderPath: string, name: string, extension: string): Promise<Certificate> {
  const [keyPath, certPath] = [join(folderPath, `${name}.key`), join(folderPath, `${name}.crt`)];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyPath];
  const subject = ["-days", "2", "-subj", `/CN=${name}`, "-addext", extension];
  const args = ["req", "-x509", ...key, "-out", certPath, ...subject];
  const done = await run("openssl", args, {}, AbortSignal.timeout(20_000));
  if (done.exitCode !== 0) throw new Error(`openssl: ${done.stderr}`);
  return { keyPath, certPath };
}
