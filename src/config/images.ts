// Settings of the image store: where images may come from and how large they may be.

import { z } from "zod";
import { absolutePath, bytes, limitMs } from "./field.ts";

const DEFAULT_PROFILE = "default";

const sourceUrl = z
  .string()
  .max(4096)
  .regex(
    /^https?:\/\/[^/?#@\s]+(?:[/?#]\S*)?$/,
    "must begin with http:// or https:// and carry no user name or password",
  );

const translation = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(1024)
      .optional()
      .describe("Image name, with or without tag, exactly as a pod spells it"),
    regexp: z
      .string()
      .min(1)
      .max(1024)
      .refine(compiles, "is not a regular expression")
      .optional()
      .describe("Instead of `name`: an expression that the whole name must match, with the tag or without it"),
    url: sourceUrl.describe("Where the image is; with `regexp`, `$1` and so on stand for its groups"),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex characters")
      .optional()
      .describe("What the bytes must hash to"),
    profile: z.string().default(DEFAULT_PROFILE).describe("Which of `profiles` is used for the download"),
  })
  .refine((rule) => (rule.name === undefined) !== (rule.regexp === undefined), "needs either `name` or `regexp`");

const profile = z
  .strictObject({
    caPath: absolutePath().optional().describe("PEM file of the authorities to trust instead of the built-in ones"),
    clientCertPath: absolutePath().optional().describe("PEM file of the client certificate; needs `clientKeyPath`"),
    clientKeyPath: absolutePath().optional().describe("PEM file of the client certificate's private key"),
    serverName: z
      .string()
      .min(1)
      .max(253)
      .optional()
      .describe("Name that the server's certificate must carry; without it the URL's host"),
    insecureSkipVerify: z.boolean().default(false).describe("Whether any certificate is accepted; for tests only"),
    proxyUrl: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe("HTTP proxy to go through; its password, if any, is never logged"),
    connectTimeoutMs: limitMs().default(15_000).describe("Milliseconds to reach the server, TLS included"),
    headersTimeoutMs: limitMs().default(60_000).describe("Milliseconds until the server begins to answer"),
    idleTimeoutMs: limitMs().default(60_000).describe("Milliseconds that a download may stand still"),
    idleMinBytes: z
      .int()
      .min(0)
      .default(65_536)
      .describe("Bytes that a download must bring in `idleTimeoutMs`; with less it counts as standing still"),
    maxRedirects: z.int().min(0).max(20).default(5).describe("Redirects followed, never from https to http"),
    allowPrivateRedirects: z
      .boolean()
      .default(false)
      .describe("Whether a public server may redirect to a private address, and anyone to a link-local one"),
  })
  .refine(
    (own) => (own.clientCertPath === undefined) === (own.clientKeyPath === undefined),
    "needs both `clientCertPath` and `clientKeyPath`, or neither",
  );

const registry = z
  .strictObject({
    prefixes: z
      .array(
        z
          .string()
          .max(512)
          .regex(/^[^/]+\/(?:.*\/)?$/, "must begin with a registry's host and end with a slash"),
      )
      .max(100)
      .default(["quay.io/containerdisks/"])
      .describe(
        "Beginnings of names that are disks in an OCI registry as they stand; any other needs `vmlet.dev/oci/`",
      ),
    hostsFolderPath: absolutePath()
      .default("/etc/vmlet/certs.d")
      .describe("Folder of `<host>/hosts.toml` as containerd reads them: mirrors, authorities, plain HTTP"),
    authPath: absolutePath()
      .default("/etc/vmlet/registry-auth.json")
      .describe("The node's credentials for registries, in the format of docker's `config.json`; need not be there"),
  })
  .prefault({});

const signatureRule = z
  .strictObject({
    name: z.string().min(1).max(1024).optional().describe("Image name without tag and digest"),
    prefix: z
      .string()
      .max(512)
      .regex(/^(?:(?!vmlet\.dev\/oci\/)[^/A-Z]+\/(?:[^A-Z]*\/)?)?$/, {
        message:
          "must begin with a host in lower case and end with a slash, without vmlet.dev/oci/, or be empty, which fits every name",
      })
      .optional()
      .describe('Instead of `name`: how the name begins, up to a slash; `""` fits every name'),
    action: z
      .enum(["verify", "accept", "reject"])
      .default("verify")
      .describe("`verify` wants a signature by one of the keys; `accept` and `reject` do not look for one"),
    keyPaths: z
      .array(absolutePath())
      .max(16)
      .default([])
      .describe("PEM files of public keys, as `cosign generate-key-pair` makes them: ECDSA P-256, Ed25519 or RSA"),
  })
  .refine((rule) => (rule.name === undefined) !== (rule.prefix === undefined), "needs either `name` or `prefix`")
  .refine(
    (rule) => (rule.action === "verify") === rule.keyPaths.length > 0,
    "needs `keyPaths` for `verify`, and for nothing else",
  );

const signatures = z
  .strictObject({
    default: z
      .enum(["accept", "reject"])
      .default("accept")
      .describe("What becomes of images whose names no rule covers"),
    rules: z
      .array(signatureRule)
      .max(100)
      .default([])
      .describe("Which images must be signed, and by whom; the first rule that fits a name is used"),
  })
  .prefault({});

export const imagesSection = z
  .strictObject({
    allowHttp: z
      .boolean()
      .default(false)
      .describe("Whether names under `vmlet.dev/http/` are taken: bytes that anyone on the way may change"),
    maxParallelDownloads: z
      .int()
      .min(1)
      .max(64)
      .default(4)
      .describe("Images that are downloaded at the same time; further ones wait for their turn"),
    maxImageBytes: bytes().prefault("100Gi").describe("Bytes that one download may have"),
    maxVirtualSizeBytes: bytes().prefault("2Ti").describe("Bytes that the disk in an image may claim to have"),
    requireBootSignature: z
      .boolean()
      .default(true)
      .describe("Whether a raw image needs an MBR or GPT boot signature, so that a web page is not taken for a disk"),
    allowSnapshots: z
      .boolean()
      .default(false)
      .describe("Whether a qcow2 may have internal snapshots; machines run from its current state, without them"),
    registry,
    signatures,
    pinned: z
      .array(z.string().min(1).max(1024))
      .max(1000)
      .default([])
      .describe("Image names that the kubelet must not collect as garbage"),
    translations: z
      .array(translation)
      .max(1000)
      .default([])
      .describe("Rules from image name to URL, tried in this order; the first that fits is used"),
    profiles: z
      .record(z.string().regex(/^[a-z0-9-]{1,63}$/), profile)
      .default({})
      .describe("TLS, proxy and time limits by name; `default` is used where no rule names one"),
  })
  .superRefine((images, context) => {
    for (const [index, rule] of images.translations.entries()) {
      if (rule.profile === DEFAULT_PROFILE || Object.hasOwn(images.profiles, rule.profile)) continue;
      const message = `"${rule.profile}" is not in images.profiles`;
      context.addIssue({ code: "custom", path: ["translations", index, "profile"], message });
    }
  })
  .prefault({});

function compiles(source: string): boolean {
  try {
    return new RegExp(source) instanceof RegExp;
  } catch {
    return false;
  }
}
