// Random numbers that come out the same for the same seed, so that what failed once fails again. (mulberry32)

export interface SeededRandom {
  /** 0 to `below` - 1. */
  below(below: number): number;
  /** True once in so many. */
  oneIn(times: number): boolean;
  of<T>(choices: readonly [T, ...T[]]): T;
  /** 64 bits. */
  wide(): bigint;
}

export function seededRandom(seed: number): SeededRandom {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const below = (limit: number): number => Math.floor((next() / 2 ** 32) * limit);
  return {
    below,
    oneIn: (times) => below(times) === 0,
    of: (choices) => choices[below(choices.length)] ?? choices[0],
    wide: () => (BigInt(next()) << 32n) | BigInt(next()),
  };
}
