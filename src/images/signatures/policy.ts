// Which images must be signed, and by whom: the rules of `images.signatures`, applied to names.
//
// INVARIANTS: all spellings of one repository have one answer; what a rule covers and cannot be checked is refused.

import { VmletError } from "../../model/failure.ts";
import { formatReference, type ImageReference, parseReference } from "../../model/image-reference.ts";
import { ociTargetOf, registryHostOf } from "../oci/name.ts";
import type { SignatureOptions, SignatureRule } from "../options.ts";
import { untrusted } from "./errors.ts";
import type { TrustedKey } from "./public-key.ts";

/** What a name's image must have. */
export interface SignatureDemand {
  /** The setting that demands it. */
  readonly field: string;
  /** A signature by one of them is enough. */
  readonly keys: readonly TrustedKey[];
}

interface Rule {
  readonly field: string;
  readonly action: SignatureRule["action"];
  readonly keys: readonly TrustedKey[];
  readonly fits: (name: string) => boolean;
}

/** Reads the keys: one that is changed in place is taken up at the next start. @throws CONFIG_INVALID */
export async function readSignaturePolicy(options: SignatureOptions): Promise<SignaturePolicy> {
  const rules: Rule[] = [];
  for (const [index, rule] of options.rules.entries()) {
    const field = `images.signatures.rules[${index}]`;
    const keys: TrustedKey[] = [];
    for (const [at, path] of rule.keyPaths.entries()) {
      const { readPublicKey } = await import("./public-key.ts"); // as with signatures themselves: not without a rule
      keys.push(await readPublicKey(path, `${field}.keyPaths[${at}]`));
    }
    rules.push({ field, action: rule.action, keys, fits: matcherOf(rule, field) });
  }
  return new SignaturePolicy(rules, options.default);
}

export class SignaturePolicy {
  readonly #rules: readonly Rule[];
  readonly #default: SignatureOptions["default"];

  constructor(rules: readonly Rule[], fallback: SignatureOptions["default"]) {
    this.#rules = rules;
    this.#default = fallback;
  }

  /**
   * What the image behind the name must have; undefined: nothing.
   * @throws IMAGE_UNTRUSTED when it is not taken at all
   */
  demandOn(reference: ImageReference): SignatureDemand | undefined {
    const { field, action, keys } = this.#ruleFor(reference);
    if (action === "accept") return undefined;
    if (action === "verify") return { field, keys };
    throw untrusted(formatReference(reference), `${field} rejects images of this name`);
  }

  /** For an image that has no place where a signature could be. @throws IMAGE_UNTRUSTED unless it needs none */
  admitUnsigned(reference: ImageReference): void {
    const demand = this.demandOn(reference);
    if (demand === undefined) return;
    throw untrusted(
      formatReference(reference),
      `${demand.field} wants a signature, which only an image in an OCI registry can have; take it from one, or accept ` +
        "the name in a rule before that one",
    );
  }

  /** Whether an image that was pulled under this name may be used under it. @param signedBy A key's id. */
  mayBeUsed(reference: ImageReference, signedBy: string | undefined): boolean {
    const { action, keys } = this.#ruleFor(reference);
    return action === "accept" || (action === "verify" && keys.some(({ id }) => id === signedBy));
  }

  #ruleFor(reference: ImageReference): Pick<Rule, "field" | "action" | "keys"> {
    const name = plainNameOf(reference);
    const rule = this.#rules.find(({ fits }) => fits(name));
    return rule ?? { field: "images.signatures.default", action: this.#default, keys: [] };
  }
}

function matcherOf({ name, prefix = "" }: SignatureRule, field: string): Rule["fits"] {
  if (name === undefined) {
    const start = withPlainHost(prefix);
    return (text) => text.startsWith(start);
  }
  const plain = plainNameOf(parsed(name, `${field}.name`));
  return (text) => text === plain;
}

/** `quay.io/containerdisks/fedora`, also of `vmlet.dev/oci/quay.io__443/containerdisks/fedora`. */
function plainNameOf(reference: ImageReference): string {
  const target = ociTargetOf(reference, [""]); // every name is under the empty prefix
  const name = target === undefined ? reference.name : `${target.registry}/${target.repository}`;
  const ofUrl = name
    .replace(/^(vmlet\.dev\/https\/[^/]+)__443\//, "$1/")
    .replace(/^(vmlet\.dev\/http\/[^/]+)__80\//, "$1/");
  return withPlainHost(ofUrl);
}

/** One spelling of a registry that has several. */
function withPlainHost(name: string): string {
  const slash = name.indexOf("/");
  if (slash < 0) return name;
  return registryHostOf(name.slice(0, slash).replace(/:(?:443|80)$/, "")) + name.slice(slash);
}

function parsed(name: string, field: string): ImageReference {
  const hasMore = /@|:[^/]*$/.test(name);
  try {
    if (hasMore) throw new Error("a rule covers every tag and digest; write the name without");
    return parseReference(name);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new VmletError({ code: "CONFIG_INVALID", path: "", field }, `${field}: ${why}`, { cause: error });
  }
}
