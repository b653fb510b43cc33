// Settings of the image store: where images may come from and how large they may be.

import { z } from "zod";
import { absolutePath, bytes, httpUrl, limitMs } from "./field.ts";

const translation = z
  .strictObject({
    name: z.string().min(1).max(1024).optional().describe("The whole image name that this rule is for"),
    regexp: z
      .string()
      .min(1)
      .max(1024)
      .refine(compiles, "is not a regular expression")
      .optional()
      .describe("Instead of `name`: an expression that the whole image name must match"),
    url: httpUrl().describe("Where the image is; with `regexp`, `$1` to `$9` stand for its groups"),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex characters")
      .optional()
      .describe("What the bytes must hash to"),
    profile: z.string().min(1).max(253).optional().describe("Which of `profiles` is used for the download"),
  })
  .refine((rule) => (rule.name === undefined) !== (rule.regexp === undefined), "needs either `name` or `regexp`");

const profile = z
  .strictObject({
    caFilePath: absolutePath().optional().describe("PEM file of the authorities to trust instead of the system's"),
    certFilePath: absolutePath().optional().describe("PEM file of the client certificate"),
    keyFilePath: absolutePath().optional().describe("PEM file of the client certificate's key"),
    proxyUrl: httpUrl().optional().describe("HTTP proxy to go through"),
  })
  .refine((own) => (own.certFilePath === undefined) === (own.keyFilePath === undefined), {
    message: "needs both `certFilePath` and `keyFilePath`, or neither",
  });

export const imagesSection = z
  .strictObject({
    allowHttp: z.boolean().default(false).describe("Whether images may be fetched without TLS"),
    maxImageBytes: bytes().prefault("64Gi").describe("Bytes that one download may have"),
    maxVirtualSizeBytes: bytes().prefault("2Ti").describe("Bytes that the disk in an image may claim to have"),
    stallLimitMs: limitMs().default(60_000).describe("Milliseconds without a byte after which a download is given up"),
    pinned: z
      .array(z.string().min(1).max(1024))
      .max(1000)
      .default([])
      .describe("Image names that the kubelet must not collect as garbage"),
    translations: z
      .array(translation)
      .max(1000)
      .default([])
      .describe("Rules that give image names an address, tried in this order"),
    profiles: z
      .record(z.string().min(1).max(253), profile)
      .default({})
      .describe("TLS and proxy settings by name, for use by `translations`"),
  })
  .superRefine((images, context) => {
    images.translations.forEach((rule, index) => {
      if (rule.profile !== undefined && !Object.hasOwn(images.profiles, rule.profile)) {
        context.addIssue({
          code: "custom",
          path: ["translations", index, "profile"],
          message: `"${rule.profile}" is not in images.profiles`,
        });
      }
      if (!images.allowHttp && rule.url.startsWith("http://")) {
        context.addIssue({
          code: "custom",
          path: ["translations", index, "url"],
          message: "has no TLS; use https:// or set images.allowHttp",
        });
      }
    });
  })
  .prefault({});

export type ImagesConfig = z.output<typeof imagesSection>;
export type TranslationRule = ImagesConfig["translations"][number];
export type TransportProfile = ImagesConfig["profiles"][string];

function compiles(source: string): boolean {
  try {
    return new RegExp(`^(?:${source})$`) instanceof RegExp;
  } catch {
    return false;
  }
}
