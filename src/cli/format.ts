// Figures and names as people read them.

import prettyBytes from "pretty-bytes";

/** `25.2 MB`, in powers of ten as docker and crictl have them. */
export const bytesText = (bytes: bigint | number): string => prettyBytes(Number(bytes));

/** `45s`, `12m`, `7h`, `3d`: how long ago, or how long still. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 120 * 60) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

export const agoText = (atMs: bigint, nowMs: number): string => `${durationText(nowMs - Number(atMs))} ago`;

const SHORT_CHARS = 12;

/** Of a digest or an id: enough to type. */
export const shortId = (id: string): string => id.replace(/^sha256:/, "").slice(0, SHORT_CHARS);

/** `name:tag`, whose host may have a port. */
export function splitTag(reference: string): readonly [name: string, tag: string] {
  const colon = reference.lastIndexOf(":");
  return colon > reference.lastIndexOf("/") ? [reference.slice(0, colon), reference.slice(colon + 1)] : [reference, ""];
}
