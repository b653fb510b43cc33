// What a node's admin may set about images: names, sources, limits.

import { z } from "zod";

const GIB = 1024 ** 3;
const absolutePath = z.string().startsWith("/");

const tlsProfile = z
  .strictObject({
    caPath: absolutePath
      .optional()
      .describe("PEM file of certificate authorities to trust instead of the built-in ones"),
    clientCertPath: absolutePath.optional().describe("PEM file with the client certificate; needs clientKeyPath"),
    clientKeyPath: absolutePath.optional().describe("PEM file with the client certificate's private key"),
    serverName: z
      .string()
      .min(1)
      .optional()
      .describe("name that the server's certificate must carry; default: the URL's host"),
    insecureSkipVerify: z.boolean().default(false).describe("accept any certificate; for tests only"),
    proxyUrl: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe("HTTP proxy to reach the source through; its credentials, if any, are never logged"),
    connectTimeoutMs: z.int().positive().default(15_000).describe("milliseconds to reach the server, TLS included"),
    headersTimeoutMs: z.int().positive().default(60_000).describe("milliseconds until the server begins to answer"),
    idleTimeoutMs: z.int().positive().default(60_000).describe("milliseconds that a download may stand still"),
    maxRedirects: z.int().min(0).max(20).default(5).describe("redirects followed, never from https to http"),
  })
  .refine((profile) => (profile.clientCertPath === undefined) === (profile.clientKeyPath === undefined), {
    error: "clientCertPath and clientKeyPath go together",
  });

const sourceUrl = z.string().refine(isPlainSourceUrl, {
  error: "must begin with http:// or https:// and carry no user name or password",
});

const translation = z
  .strictObject({
    name: z.string().min(1).optional().describe("image name, with or without tag, exactly as a pod spells it"),
    regexp: z
      .string()
      .min(1)
      .refine(isRegexp, { error: "is not a regular expression" })
      .optional()
      .describe("regular expression for the whole normalised name, tried with the tag and without it"),
    url: sourceUrl.describe("where the image is; $1 and so on are the groups of regexp"),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .optional()
      .describe("what the downloaded bytes must hash to"),
    profile: z.string().default("default").describe("name of the profile in images.profiles"),
  })
  .refine((rule) => (rule.name === undefined) !== (rule.regexp === undefined), {
    error: "needs either name or regexp",
  });

/** `images:` in the config file. */
export const imageOptionsSchema = z
  .strictObject({
    rootPath: absolutePath.default("/var/lib/vmlet/images").describe("folder of the image store"),
    allowHttp: z
      .boolean()
      .default(false)
      .describe("take vmlet.dev/http/… names too: bytes that anyone on the way may change"),
    translations: z
      .array(translation)
      .default([])
      .describe("rules from image name to URL; the first that fits is used"),
    profiles: z
      .record(z.string().regex(/^[a-z0-9-]{1,63}$/), tlsProfile)
      .default({})
      .describe("TLS, proxy and time limits by name; `default` is used where no rule names one"),
    pinned: z.array(z.string()).default([]).describe("image names that the kubelet's garbage collection leaves alone"),
    maxImageBytes: z
      .int()
      .positive()
      .default(100 * GIB)
      .describe("bytes that one download may have"),
    maxVirtualSizeBytes: z
      .int()
      .positive()
      .default(2048 * GIB)
      .describe("bytes that the disk in an image may claim to have"),
    requireBootSignature: z
      .boolean()
      .default(true)
      .describe("take a raw image only with an MBR or GPT boot signature, so that a web page is not taken for a disk"),
  })
  .superRefine((options, context) => {
    for (const [index, rule] of options.translations.entries()) {
      if (rule.profile === "default" || rule.profile in options.profiles) continue;
      context.addIssue({ code: "custom", path: ["translations", index, "profile"], message: "names no profile" });
    }
  });

export type ImageOptions = z.output<typeof imageOptionsSchema>;
export type TransportProfile = z.output<typeof tlsProfile>;
export type TranslationRule = z.output<typeof translation>;

/** A profile in which nothing was set. */
export const defaultProfile = (): TransportProfile => tlsProfile.parse({});

function isPlainSourceUrl(text: string): boolean {
  return /^https?:\/\/[^/?#@\s]+(?:[/?#]|$)/.test(text) && URL.canParse(text.replaceAll(/\$[0-9&]/g, "0"));
}

function isRegexp(text: string): boolean {
  try {
    new RegExp(text);
    return true;
  } catch {
    return false;
  }
}
