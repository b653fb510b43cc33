// Amounts as Kubernetes spells them: `512Mi`, `1.5G`, `2e9`.

const QUANTITY = /^(\d{1,20})(?:\.(\d{1,9}))?(?:(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)|[eE](\d{1,2}))?$/;

const FACTOR: Readonly<Record<string, bigint>> = {
  Ki: 1n << 10n,
  Mi: 1n << 20n,
  Gi: 1n << 30n,
  Ti: 1n << 40n,
  Pi: 1n << 50n,
  Ei: 1n << 60n,
  k: 10n ** 3n,
  M: 10n ** 6n,
  G: 10n ** 9n,
  T: 10n ** 12n,
  P: 10n ** 15n,
  E: 10n ** 18n,
};

/**
 * Bytes of a Kubernetes quantity. Undefined when the text is none, when it is negative, when it is not a whole number
 * of bytes, or when it is 2^53 or more.
 */
export function parseBytes(text: string): number | undefined {
  const match = QUANTITY.exec(text);
  if (match === null) return undefined;
  const [, whole = "", fraction = "", suffix, exponent] = match;
  const factor = suffix === undefined ? 10n ** BigInt(exponent ?? 0) : (FACTOR[suffix] ?? 1n);
  const scale = 10n ** BigInt(fraction.length);
  const scaled = BigInt(whole + fraction) * factor;
  if (scaled % scale !== 0n) return undefined;
  const bytes = scaled / scale;
  return bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : undefined;
}

/** The shortest exact spelling with a binary suffix: 536870912 is `512Mi`. */
export function formatBytes(bytes: number): string {
  for (const suffix of ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki"]) {
    const factor = Number(FACTOR[suffix]);
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${suffix}`;
  }
  return String(bytes);
}
