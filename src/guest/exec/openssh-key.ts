// ed25519 keys as OpenSSH writes them: sshd reads such a key of any age, of PKCS #8 only since 9.6.

import { generateKeyPairSync, randomBytes } from "node:crypto";

export interface OpensshKeyPair {
  /** Content of a private key file. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA… comment`, without a line end. */
  readonly publicKey: string;
}

const TYPE = "ssh-ed25519";
const MAGIC = "openssh-key-v1\0";
/** "none" has blocks of 8 bytes. */
const BLOCK_BYTES = 8;
const LINE_CHARS = 70;

/** @see OpenSSH's PROTOCOL.key */
export function newOpensshKeyPair(comment: string): OpensshKeyPair {
  const { d = "", x = "" } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const [seed, point] = [d, x].map((part) => Buffer.from(part, "base64url")) as [Buffer, Buffer];
  const publicBlob = Buffer.concat([sized(TYPE), sized(point)]);
  const check = randomBytes(4); // twice the same, so that a reader sees whether it decrypted
  const secret = [check, check, sized(TYPE), sized(point), sized(Buffer.concat([seed, point])), sized(comment)];
  const file = Buffer.concat([
    Buffer.from(MAGIC),
    sized("none"), // cipher
    sized("none"), // key derivation
    sized(""), // its options
    uint32(1), // keys
    sized(publicBlob),
    sized(padded(Buffer.concat(secret))),
  ]);
  const lines = file.toString("base64").match(new RegExp(`.{1,${LINE_CHARS}}`, "g")) ?? [];
  return {
    privateKey: ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----", ""].join("\n"),
    publicKey: `${TYPE} ${publicBlob.toString("base64")} ${comment}`,
  };
}

function sized(content: string | Buffer): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** 1, 2, 3 … up to a whole block. */
function padded(content: Buffer): Buffer {
  const missing = (BLOCK_BYTES - (content.length % BLOCK_BYTES)) % BLOCK_BYTES;
  return Buffer.concat([content, Buffer.from(Array.from({ length: missing }, (_, index) => index + 1))]);
}
