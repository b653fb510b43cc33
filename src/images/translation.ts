// From an image's name to where its bytes are: the node's rules first, then names that are URLs themselves.

import { setFlagsFromString } from "node:v8";
import { VmletError } from "../model/failure.ts";
import { type ImageDigest, isImageDigest } from "../model/ids.ts";
import { formatReference, type ImageReference, parseReference, sourceUrlOf } from "../model/image-reference.ts";
import { type OciTarget, ociTargetOf } from "./oci/name.ts";
import type { TranslationRule } from "./options.ts";

export type ImageSource = HttpSource | OciSource;

export interface HttpSource {
  readonly kind: "http";
  readonly url: URL;
  /** What the bytes must hash to: pinned by the name or by a rule. */
  readonly pin?: ImageDigest;
  /** In `images.profiles`. */
  readonly profile: string;
}

interface OciSource {
  readonly kind: "oci";
  readonly target: OciTarget;
}

export interface SourceRules {
  readonly translations: readonly TranslationRule[];
  readonly allowHttp: boolean;
  readonly registry: { readonly prefixes: readonly string[] };
}

/**
 * Where the image is. A rule wins over the name's own meaning, so that an admin can redirect any name.
 * @throws IMAGE_REFERENCE_INVALID IMAGE_NOT_FOUND IMAGE_DIGEST_MISMATCH (name and rule pin different bytes)
 */
export function sourceOf(reference: ImageReference, rules: SourceRules): ImageSource {
  for (const rule of rules.translations) {
    const url = translate(reference, rule);
    if (url === undefined) continue;
    return { kind: "http", url, profile: rule.profile, ...pinOf(reference, rule) };
  }
  const url = sourceUrlOf(reference, rules);
  if (url !== undefined) return { kind: "http", url, profile: "default", ...pinOf(reference, undefined) };
  const target = ociTargetOf(reference, rules.registry.prefixes);
  if (target !== undefined) return { kind: "oci", target };
  const image = formatReference(reference);
  throw new VmletError(
    { code: "IMAGE_NOT_FOUND", image },
    `image ${image}: no rule in images.translations fits, no prefix in images.registry.prefixes does, and the name is ` +
      "neither vmlet.dev/https/<host>/<path> nor vmlet.dev/oci/<registry>/<repository>",
  );
}

/**
 * Lets V8 go on with its linear engine where a regular expression backtracks without end. An admin's rule may be such a
 * one, pods' authors choose the names, and all pods wait while one is matched.
 */
export function limitBacktracking(): void {
  setFlagsFromString("--enable-experimental-regexp-engine-on-excessive-backtracks");
}

/**
 * Reads what an admin wrote before the first pull meets it.
 * @throws CONFIG_INVALID naming the setting
 */
export function checkNames(settings: {
  readonly translations: readonly TranslationRule[];
  readonly pinned: readonly string[];
}): void {
  for (const [index, { name }] of settings.translations.entries()) {
    if (name !== undefined) checkName(name, `images.translations[${index}].name`);
  }
  for (const [index, name] of settings.pinned.entries()) checkName(name, `images.pinned[${index}]`);
}

function checkName(name: string, field: string): void {
  try {
    parseReference(name);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new VmletError({ code: "CONFIG_INVALID", path: "", field }, `${field}: ${why}`, { cause: error });
  }
}

/** The names that a rule may match: with the tag first, so that a rule can take the tag into the URL. */
function spellingsOf({ name, tag }: ImageReference): readonly string[] {
  return tag === undefined ? [name] : [`${name}:${tag}`, name];
}

function translate(reference: ImageReference, rule: TranslationRule): URL | undefined {
  if (rule.name !== undefined) return matchesName(reference, rule.name) ? parseUrl(rule.url, reference) : undefined;
  if (rule.regexp === undefined) return undefined;
  const anchored = new RegExp(`^(?:${rule.regexp})$`);
  const spelling = spellingsOf(reference).find((text) => anchored.test(text));
  return spelling === undefined ? undefined : parseUrl(spelling.replace(anchored, rule.url), reference);
}

/** A rule's name without a tag fits every tag. */
function matchesName(reference: ImageReference, ruleName: string): boolean {
  const hasTag = ruleName.lastIndexOf(":") > ruleName.lastIndexOf("/");
  const rule = parseReference(ruleName);
  return rule.name === reference.name && (!hasTag || rule.tag === reference.tag);
}

function parseUrl(text: string, reference: ImageReference): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "") return url;
  const image = formatReference(reference);
  throw new VmletError(
    { code: "IMAGE_REFERENCE_INVALID", image },
    `image ${image}: the rule in images.translations makes no usable http(s) URL of it`,
  );
}

function pinOf(reference: ImageReference, rule: TranslationRule | undefined): { readonly pin?: ImageDigest } {
  const fromRule = rule?.sha256 === undefined ? undefined : `sha256:${rule.sha256}`;
  const { digest } = reference;
  if (digest !== undefined && fromRule !== undefined && digest !== fromRule) {
    const image = formatReference(reference);
    throw new VmletError(
      { code: "IMAGE_DIGEST_MISMATCH", image, wanted: digest, found: fromRule },
      `image ${image}: the rule in images.translations pins ${fromRule}; pull by that digest or by name`,
    );
  }
  const pin = digest ?? fromRule;
  return pin !== undefined && isImageDigest(pin) ? { pin } : {};
}
