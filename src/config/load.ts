// Builds the effective configuration: flags over file over defaults. What is wrong is named, with the remedy.

import { open } from "node:fs/promises";
import { parseDocument } from "yaml";
import type { z } from "zod";
import { errorCodeOf } from "../lib/error-code.ts";
import { VmletError } from "../model/failure.ts";
import { knownKeysAt } from "./reference.ts";
import { type Config, configSchema } from "./schema.ts";

export const DEFAULT_CONFIG_PATH = "/etc/vmlet/config.yaml";
const MAX_FILE_BYTES = 1 << 20;

/** One flag that was given. */
export interface Override {
  /** `--log-level`, for messages. */
  readonly flag: string;
  readonly path: readonly string[];
  readonly value: unknown;
}

export interface ConfigSource {
  /** Absent: the default file if there is one. A file that was asked for must exist. */
  readonly configPath?: string;
  readonly overrides: readonly Override[];
}

/** @throws CONFIG_INVALID naming file (or flag), field and remedy. */
export async function loadConfig({ configPath, overrides }: ConfigSource): Promise<Config> {
  const path = configPath ?? DEFAULT_CONFIG_PATH;
  const text = await readConfigFile(path, { mustExist: configPath !== undefined });
  return parseConfig(text ?? "", path, overrides);
}

/** The same, from text; `path` is for messages. */
export function parseConfig(text: string, path: string, overrides: readonly Override[]): Config {
  const raw = mappingOf(text, path);
  for (const override of overrides) put(raw, override, path);
  const result = configSchema.safeParse(raw);
  if (result.success) return deepFreeze(result.data);
  throw describe(result.error, path, overrides);
}

async function readConfigFile(path: string, { mustExist }: { mustExist: boolean }): Promise<string | undefined> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > MAX_FILE_BYTES) throw broken(path, "", `is ${size} bytes, limit ${MAX_FILE_BYTES}; make it shorter`);
    return await file.readFile("utf8");
  } catch (error) {
    if (error instanceof VmletError) throw error;
    if (!mustExist && errorCodeOf(error) === "ENOENT") return undefined;
    const why = error instanceof Error ? error.message : String(error);
    throw broken(path, "", `cannot be read: ${why}; give the right path with --config`, error);
  }
}

function mappingOf(text: string, path: string): Record<string, unknown> {
  const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true });
  const [error] = document.errors;
  if (error !== undefined) throw broken(path, "", `is not YAML: ${error.message.trimEnd()}`, error);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw broken(path, "", `is not YAML that we take: ${cause instanceof Error ? cause.message : ""}`, cause);
  }
  if (value === null || value === undefined) return {};
  if (isMapping(value)) return value;
  throw broken(path, "", "is not a mapping; write settings as `name: value`, see docs/config.md");
}

function put(raw: Record<string, unknown>, { path, value }: Override, filePath: string): void {
  let at = raw;
  for (const key of path.slice(0, -1)) {
    const next = at[key] ?? {};
    if (!isMapping(next)) throw broken(filePath, key, "is not a mapping; write its settings indented below it");
    at[key] = next;
    at = next;
  }
  at[path.at(-1) ?? ""] = value;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The first problem is the message; the rest are counted, for they often follow from it. */
function describe(error: z.ZodError, path: string, overrides: readonly Override[]): VmletError {
  const [issue] = error.issues;
  if (issue === undefined) return broken(path, "", "is invalid; see docs/config.md");
  const others = error.issues.length > 1 ? ` (and ${error.issues.length - 1} more)` : "";
  if (issue.code === "unrecognized_keys") {
    const field = spell([...issue.path, issue.keys[0] ?? ""]);
    return broken(path, field, `is not a setting; known here: ${knownKeysAt(issue.path).join(", ")}${others}`);
  }
  const field = spell(issue.path);
  const flag = overrides.find((override) => override.path.join(".") === field)?.flag;
  return broken(flag ?? path, field, `${issue.message}${others}; see docs/config.md`);
}

function spell(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");
}

function broken(path: string, field: string, message: string, cause?: unknown): VmletError {
  const subject = field === "" ? path : `${path}: ${field}`;
  return new VmletError({ code: "CONFIG_INVALID", path, field }, `${subject}: ${message}`, { cause });
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(deepFreeze);
  return value;
}
