// Whether what was noted at some time still counts.

/** Less than `ageMs` ago; and not, by a clock that was set back, to come. */
export function isRecent(thenMs: number, nowMs: number, ageMs: number): boolean {
  return nowMs >= thenMs && nowMs - thenMs < ageMs;
}
