// Makes anything fit for one line of JSON: errors keep their facts, bytes are counted, nothing is endless.

const MAX_STRING_CHARS = 4096;
const MAX_ITEMS = 100;
const MAX_DEPTH = 6;

/** A copy of `value` made of plain JSON values only. Never throws, whatever the value's getters do. */
export function loggable(value: unknown, depth = 0): unknown {
  try {
    return convert(value, depth);
  } catch (error) {
    return `<unreadable: ${error instanceof Error ? error.name : typeof error}>`;
  }
}

function convert(value: unknown, depth: number): unknown {
  if (typeof value === "string") return cut(value);
  if (typeof value === "bigint" || typeof value === "symbol") return String(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "function") return `<function ${value.name}>`;
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) return "<too deep>";
  if (value instanceof Error) return errorFields(value, depth);
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "<invalid date>" : value.toISOString();
  if (value instanceof Map)
    return entriesOf(
      [...value].map(([key, item]) => [String(key), item]),
      depth,
    );
  if (value instanceof Set) return itemsOf([...value], depth);
  if (Array.isArray(value)) return itemsOf(value, depth);
  return entriesOf(Object.entries(value), depth);
}

/** `failure` is our own error's closed fact; only an error without one is a bug and needs its stack. */
function errorFields(error: Error, depth: number): Record<string, unknown> {
  const fields: Record<string, unknown> = { name: error.name, message: cut(error.message) };
  if ("failure" in error) fields["failure"] = loggable(error.failure, depth + 1);
  else if ("code" in error) fields["code"] = loggable(error.code, depth + 1);
  if (error instanceof SuppressedError) {
    fields["error"] = loggable(error.error, depth + 1);
    fields["suppressed"] = loggable(error.suppressed, depth + 1);
  }
  if (error instanceof AggregateError) fields["errors"] = loggable(error.errors, depth + 1);
  if (error.cause !== undefined) fields["cause"] = loggable(error.cause, depth + 1);
  if (!("failure" in error) && error.stack !== undefined) fields["stack"] = cut(error.stack);
  return fields;
}

function itemsOf(items: readonly unknown[], depth: number): unknown[] {
  const kept = items.slice(0, MAX_ITEMS).map((item) => loggable(item, depth + 1));
  if (items.length > MAX_ITEMS) kept.push(`<${items.length - MAX_ITEMS} more>`);
  return kept;
}

function entriesOf(entries: readonly (readonly [string, unknown])[], depth: number): Record<string, unknown> {
  const kept = entries
    .slice(0, MAX_ITEMS)
    .map(([key, item]): [string, unknown] => [cut(key), loggable(item, depth + 1)]);
  if (entries.length > MAX_ITEMS) kept.push(["…", `<${entries.length - MAX_ITEMS} more>`]);
  return Object.fromEntries(kept);
}

function cut(text: string): string {
  return text.length <= MAX_STRING_CHARS
    ? text
    : `${text.slice(0, MAX_STRING_CHARS)}<${text.length - MAX_STRING_CHARS} more>`;
}
