// Undo gets its own time: the signal of the caller that failed is already aborted.

/** A fresh signal for one undo step. */
export function undoSignal(limitMs: number): AbortSignal {
  return AbortSignal.timeout(limitMs);
}
