// Many who ask the same at once are one question.

/** Whoever asks while a question is under way gets its answer. */
export function singleFlight<T>(ask: () => Promise<T>): () => Promise<T> {
  let asking: Promise<T> | undefined;
  return async () => {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    return await asking;
  };
}
