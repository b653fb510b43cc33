// Time limits that leave no timer behind.

/** A signal that aborts with `reason` after `ms`, unless disposed before. */
export function limitOf(ms: number, reason: Error): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(reason), ms);
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

/** `promise` goes on when the limit passes; the error is made only then. */
export async function within<T>(promise: Promise<T>, limitMs: number, tooLate: () => Error): Promise<T> {
  const { promise: limit, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(tooLate()), limitMs);
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
