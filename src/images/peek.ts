// Looks at the beginning of a stream without taking it away from whoever reads the stream.

export interface Peeked {
  /** As many bytes as were asked for, or all there are. */
  readonly head: Uint8Array;
  /** The whole stream, head included. To be read once. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

export async function peek(chunks: AsyncIterable<Uint8Array>, bytes: number): Promise<Peeked> {
  const rest = chunks[Symbol.asyncIterator]();
  const seen: Uint8Array[] = [];
  let seenBytes = 0;
  while (seenBytes < bytes) {
    const next = await rest.next();
    if (next.done === true) break;
    seen.push(next.value);
    seenBytes += next.value.length;
  }
  return { head: Buffer.concat(seen).subarray(0, bytes), chunks: replay(seen, rest) };
}

async function* replay(
  seen: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* seen;
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}
