// Reads the schema back as a list of settings: for flags, for docs/config.md, for naming the known keys.

import { z } from "zod";
import { configSchema } from "./schema.ts";

export interface Setting {
  /** `["libvirt", "socketPath"]`; a list's items are `[]`, a map's are `<name>`. */
  readonly path: readonly string[];
  readonly kind: string;
  /** Absent: there is none. */
  readonly fallback?: unknown;
  readonly doc: string;
  /** One value that fits on a command line. */
  readonly isScalar: boolean;
  readonly choices?: readonly string[];
}

/** The part of JSON Schema that our settings use. */
interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly Node[];
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: Node | boolean;
  readonly items?: Node;
}

/** Every setting, in the schema's order. */
export function listSettings(): readonly Setting[] {
  return walk(rootNode(), []);
}

/** The keys that may stand at `path` (list positions and names of map entries as they occur). */
export function knownKeysAt(path: readonly PropertyKey[]): readonly string[] {
  let node: Node | undefined = rootNode();
  for (const key of path) node = childOf(node, key);
  return Object.keys(node?.properties ?? {});
}

/** `libvirt.socketPath` is set by `--libvirt-socket-path`. */
export function flagOf(setting: Setting): string {
  const words = setting.path.join("-").replace(/(?<=[a-z0-9])(?=[A-Z][a-z])/g, "-");
  return `--${words.toLowerCase()}`;
}

function rootNode(): Node {
  return z.toJSONSchema(configSchema, { io: "input" }) as Node;
}

function childOf(node: Node | undefined, key: PropertyKey): Node | undefined {
  if (typeof key === "number") return node?.items;
  const named = node?.properties?.[String(key)];
  if (named !== undefined) return named;
  return typeof node?.additionalProperties === "object" ? node.additionalProperties : undefined;
}

function walk(node: Node, path: readonly string[]): Setting[] {
  const children = Object.entries(node.properties ?? {}).flatMap(([key, child]) => walk(child, [...path, key]));
  if (node.properties !== undefined) return children;
  const inner = node.items?.properties ? walk(node.items, [...path.slice(0, -1), `${path.at(-1)}[]`]) : [];
  const entry = node.additionalProperties;
  const named = typeof entry === "object" ? walk(entry, [...path, "<name>"]) : [];
  return [settingOf(node, path), ...inner, ...named];
}

function settingOf(node: Node, path: readonly string[]): Setting {
  return {
    path,
    kind: kindOf(node),
    doc: node.description ?? "",
    isScalar: node.type !== "array" && node.type !== "object" && !path.some((part) => /[<[]/.test(part)),
    ...(node.default === undefined ? {} : { fallback: node.default }),
    ...(node.enum === undefined ? {} : { choices: node.enum }),
  };
}

function kindOf(node: Node): string {
  if (node.enum !== undefined) return node.enum.join(" | ");
  if (node.anyOf !== undefined) return "quantity";
  if (node.type === "array") return node.items?.type === "string" ? "list of strings" : "list";
  if (node.type === "object") return "map";
  return node.type ?? "any";
}
