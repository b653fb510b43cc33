// Signs images as cosign does, in both of its ways, without the library that checks them; and whatever else a test wants.

import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { OCI_INDEX, OCI_MANIFEST, type OciRegistry } from "./oci-registry.ts";

export const MESSAGE_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json";
export const BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO = "application/vnd.in-toto+json";
const SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1";

export type KeyKind = "ecdsa" | "ed25519" | "rsa";

export interface SignedMessage {
  readonly payload: Buffer;
  /** base64 */
  readonly signature: string;
}

export class ImageSigner {
  readonly publicKey: KeyObject;
  readonly #privateKey: KeyObject;

  constructor(kind: KeyKind = "ecdsa") {
    const pair = pairOf(kind);
    this.publicKey = pair.publicKey;
    this.#privateKey = pair.privateKey;
  }

  /** @returns its path. */
  async writeKey(folderPath: string, name = "signer.pub"): Promise<string> {
    const path = join(folderPath, name);
    await writeFile(path, this.publicKey.export({ type: "spki", format: "pem" }));
    return path;
  }

  /** cosign 1 and 2. */
  message(digest: string, type = "cosign container image signature"): SignedMessage {
    const image = { "docker-manifest-digest": digest };
    const critical = { identity: { "docker-reference": "registry.example.org/elsewhere" }, image, type };
    const payload = Buffer.from(JSON.stringify({ critical, optional: null }));
    return { payload, signature: this.#sign(payload).toString("base64") };
  }

  /** cosign 3. */
  bundle(digest: string, { predicateType = SIGN_PREDICATE, payloadType = IN_TOTO, more = {} } = {}): object {
    const subject = [{ digest: { sha256: digest.slice("sha256:".length) } }];
    const statement = { _type: "https://in-toto.io/Statement/v1", subject, predicateType, predicate: {} };
    const payload = Buffer.from(JSON.stringify(statement));
    const signed = Buffer.concat([
      Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `),
      payload,
    ]);
    const signatures = [{ sig: this.#sign(signed).toString("base64") }];
    return {
      mediaType: BUNDLE,
      // No more than the key's own signature is looked at.
      verificationMaterial: {
        publicKey: { hint: "of another key" },
        tlogEntries: [{ logIndex: "1", integratedTime: "1700000000" }],
        timestampVerificationData: { rfc3161Timestamps: [{ signedTimestamp: "AAAA" }] },
      },
      dsseEnvelope: { payload: payload.toString("base64"), payloadType, signatures },
      ...more,
    };
  }

  #sign(bytes: Buffer): Buffer {
    return sign(this.#privateKey.asymmetricKeyType === "ed25519" ? null : "sha256", bytes, this.#privateKey);
  }
}

/** Under the tag that cosign 1 and 2 use. */
export function attachMessages(
  registry: OciRegistry,
  repository: string,
  digest: string,
  messages: readonly SignedMessage[],
): void {
  const layers = messages.map(({ payload, signature }) => ({
    mediaType: MESSAGE_LAYER,
    ...registry.blob(payload),
    annotations: { "dev.cosignproject.cosign/signature": signature },
  }));
  registry.manifest(repository, `sha256-${hexOf(digest)}.sig`, OCI_MANIFEST, { config: configOf(registry), layers });
}

/** The list of referrers, as a registry keeps it. */
export function referrersTo(registry: OciRegistry, repository: string, bundles: readonly (object | Buffer)[]): object {
  const manifests = bundles.map((bundle) => {
    const bytes = Buffer.isBuffer(bundle) ? bundle : Buffer.from(JSON.stringify(bundle));
    const layers = [{ mediaType: BUNDLE, ...registry.blob(bytes) }];
    const content = { artifactType: BUNDLE, config: configOf(registry), layers };
    const tag = `of-${createHash("sha256").update(bytes).digest("hex")}`;
    const digest = registry.manifest(repository, tag, OCI_MANIFEST, content);
    return { mediaType: OCI_MANIFEST, digest, size: 1, artifactType: BUNDLE };
  });
  return { schemaVersion: 2, mediaType: OCI_INDEX, manifests };
}

/** Where the registry keeps no lists of referrers, cosign 3 keeps this one. */
export function attachBundles(
  registry: OciRegistry,
  repository: string,
  digest: string,
  bundles: readonly (object | Buffer)[],
): void {
  registry.manifest(repository, `sha256-${hexOf(digest)}`, OCI_INDEX, referrersTo(registry, repository, bundles));
}

const hexOf = (digest: string): string => digest.slice("sha256:".length);

const configOf = (registry: OciRegistry): object => ({
  mediaType: "application/vnd.oci.empty.v1+json",
  ...registry.blob(Buffer.from("{}")),
});

function pairOf(kind: KeyKind): { readonly publicKey: KeyObject; readonly privateKey: KeyObject } {
  switch (kind) {
    case "ecdsa":
      return generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    case "ed25519":
      return generateKeyPairSync("ed25519");
    case "rsa":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
  }
}
