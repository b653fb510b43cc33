// Whether bytes are signed by a key and say what they should: the signatures that cosign makes, both kinds.
//   a message    signed JSON in a layer, its signature in the layer's annotation (cosign 1 and 2, skopeo)
//   a bundle     a DSSE envelope around an in-toto statement, in one JSON file (cosign 3)
// The cryptography is @sigstore/verify's. A log entry, a timestamp or a certificate in a bundle adds nothing to trust in
// a key that the node was given, and checking one would need roots from the network: they are not read.

import { BUNDLE_V03_MEDIA_TYPE, bundleFromJSON, toMessageSignatureBundle } from "@sigstore/bundle";
import { crypto } from "@sigstore/core";
import { type SignedEntity, toSignedEntity, VerificationError, Verifier } from "@sigstore/verify";
import { z } from "zod";
import type { ImageDigest } from "../../model/ids.ts";
import type { TrustedKey } from "./public-key.ts";

export type Verdict =
  /** Whose signature it is. */
  | { readonly signedBy: TrustedKey }
  /** What is wrong: completes "a signature …". */
  | { readonly finding: string };

const NO_LOGS = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
const MAX_SUBJECTS = 1000;

const base64 = z
  .string()
  .min(1)
  .regex(/^[A-Za-z0-9+/_-]+={0,2}$/);
const simpleSigning = z.object({
  critical: z.object({
    type: z.literal("cosign container image signature"),
    // `identity` is not looked at, as cosign does not: a copy in a mirror is the image that was signed.
    image: z.object({ "docker-manifest-digest": z.string() }),
  }),
});
const bundleFile = z.object({
  mediaType: z.literal(BUNDLE_V03_MEDIA_TYPE),
  verificationMaterial: z.object({ publicKey: z.object({ hint: z.string().optional() }) }),
  dsseEnvelope: z.object({
    payload: base64,
    payloadType: z.literal("application/vnd.in-toto+json"),
    signatures: z
      .array(z.unknown())
      .length(1)
      .pipe(z.tuple([z.object({ sig: base64 })])),
  }),
});
const statement = z.object({
  _type: z.enum(["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"]),
  subject: z.array(z.object({ digest: z.record(z.string(), z.string()) })).max(MAX_SUBJECTS),
  // Whoever attests something else, be it that the image is bad, signs with the same key.
  predicateType: z.literal("https://sigstore.dev/cosign/sign/v1"),
});

/** @param signature As in the annotation `dev.cosignproject.cosign/signature`. */
export function judgeMessage(
  payload: Buffer,
  signature: string,
  digest: ImageDigest,
  keys: readonly TrustedKey[],
): Verdict {
  if (!base64.safeParse(signature).success) return { finding: "is not base64" };
  const signedBy = signerOf(messageOf(payload, Buffer.from(signature, "base64")), keys);
  if (signedBy === undefined) return { finding: "is not of a key that is trusted for it" };
  const claim = simpleSigning.safeParse(jsonOf(payload));
  if (!claim.success) return { finding: "is of something else than a container image" };
  return claim.data.critical.image["docker-manifest-digest"] === digest
    ? { signedBy }
    : { finding: "is of another image" };
}

export function judgeBundle(file: Buffer, digest: ImageDigest, keys: readonly TrustedKey[]): Verdict {
  const outer = bundleFile.safeParse(jsonOf(file));
  if (!outer.success) return { finding: `is no bundle of a key's signature (${fieldOf(outer.error)})` };
  const payload = Buffer.from(outer.data.dsseEnvelope.payload, "base64");
  const signedBy = signerOf(toSignedEntity(bundleFromJSON(outer.data)), keys);
  if (signedBy === undefined) return { finding: "is not of a key that is trusted for it" };
  const claim = statement.safeParse(jsonOf(payload));
  if (!claim.success) return { finding: "is of something else than a container image" };
  return claim.data.subject.some((subject) => `sha256:${subject.digest["sha256"]}` === digest)
    ? { signedBy }
    : { finding: "is of another image" };
}

function messageOf(payload: Buffer, signature: Buffer): SignedEntity {
  const digest = crypto.digest("sha256", payload);
  const entity = toSignedEntity(toMessageSignatureBundle({ digest, signature, keyHint: "" }), payload);
  // The library's own names SHA-256, which Ed25519 keys cannot be told; unnamed, it is SHA-256 for the other kinds.
  entity.signature.verifySignature = (key) => crypto.verify(payload, key, signature);
  return entity;
}

function signerOf(entity: SignedEntity, keys: readonly TrustedKey[]): TrustedKey | undefined {
  return keys.find(({ key }) => {
    const publicKey = () => ({ publicKey: key, validFor: () => true }); // whatever key the entity hints at
    const nothing = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
    try {
      return new Verifier({ ...nothing, publicKey }, NO_LOGS).verify(entity).key === key;
    } catch (error) {
      if (error instanceof VerificationError) return false;
      throw error;
    }
  });
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

const fieldOf = ({ issues }: z.ZodError): string => issues[0]?.path.join(".") || "JSON";
