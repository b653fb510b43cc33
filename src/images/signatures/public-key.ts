// The keys that a rule trusts, read from PEM files.

import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { crypto } from "@sigstore/core";
import { VmletError } from "../../model/failure.ts";

export interface TrustedKey {
  /** `sha256:` and the hex digest of its DER form: the same key is the same in any file. */
  readonly id: string;
  readonly key: KeyObject;
}

const MAX_FILE_CHARS = 64 * 1024;
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;

/**
 * One public key: ECDSA P-256, Ed25519 or RSA, which are the kinds whose hash nobody has to tell.
 * @param field The setting that names the file.
 * @throws CONFIG_INVALID
 */
export async function readPublicKey(path: string, field: string): Promise<TrustedKey> {
  const pem = await readPem(path, field);
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) {
    throw broken(path, field, "is a private key; the node needs the public one, and nobody else the private one");
  }
  if (pem.match(/-----BEGIN (?:RSA )?PUBLIC KEY-----/g)?.length !== 1 || pem.match(/-----BEGIN /g)?.length !== 1) {
    throw broken(path, field, "is not one public key in PEM");
  }
  const key = parsed(pem.trim(), path, field);
  const finding = findingOn(key);
  if (finding !== undefined) throw broken(path, field, `${finding}; ECDSA P-256, Ed25519 and RSA keys are taken`);
  const der = key.export({ type: "spki", format: "der" });
  return { id: `sha256:${crypto.digest("sha256", der).toString("hex")}`, key };
}

async function readPem(path: string, field: string): Promise<string> {
  try {
    const pem = await readFile(path, "utf8");
    if (pem.length <= MAX_FILE_CHARS) return pem;
  } catch (error) {
    throw broken(path, field, "cannot be read", error);
  }
  throw broken(path, field, "is too large for a key");
}

function parsed(pem: string, path: string, field: string): KeyObject {
  try {
    return crypto.createPublicKey(pem);
  } catch (error) {
    throw broken(path, field, "is not a public key that can be read", error);
  }
}

function findingOn({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  const { namedCurve, modulusLength = 0 } = asymmetricKeyDetails ?? {};
  switch (asymmetricKeyType) {
    case "ed25519":
      return undefined;
    case "ec":
      return namedCurve === "prime256v1" ? undefined : `is an ECDSA key of the curve ${namedCurve}`;
    case "rsa":
      return modulusLength >= MIN_RSA_BITS && modulusLength <= MAX_RSA_BITS
        ? undefined
        : `is an RSA key of ${modulusLength} bits`;
    default:
      return `is a key of the kind ${asymmetricKeyType}`;
  }
}

function broken(path: string, field: string, why: string, cause?: unknown): VmletError {
  return new VmletError(
    { code: "CONFIG_INVALID", path, field },
    `${path} (${field}) ${why}`,
    cause === undefined ? {} : { cause },
  );
}
