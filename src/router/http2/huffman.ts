// The Huffman code of header strings (RFC 7541, appendix B), which only peers write: we send strings as they are.

/** Bits of each byte's code, and of the end's. The code is canonical: of these lengths there is one. */
const BITS = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
  5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
  22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22,
  23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
  20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27,
  27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
  27, 27, 27, 26, 30,
];
const END = 256;
const MAX_BITS = 30;
const MAX_PADDING_BITS = 7;

/** Symbols in the order of their codes; of each length the first code, and where its symbols begin. */
const SYMBOLS = [...BITS.keys()].sort((a, b) => bitsOf(a) - bitsOf(b) || a - b);
const FIRST_CODE: number[] = [0];
const FIRST_INDEX: number[] = [0];
for (let bits = 1, code = 0, index = 0; bits <= MAX_BITS + 1; bits++) {
  FIRST_CODE[bits] = code;
  FIRST_INDEX[bits] = index;
  const count = BITS.filter((of) => of === bits).length;
  code = (code + count) * 2;
  index += count;
}

/** The text as latin1. Undefined: it is not this code, or its padding is not. */
export function huffmanDecoded(coded: Buffer): string | undefined {
  const text = Buffer.allocUnsafe(Math.ceil((coded.length * 8) / 5)); // no code is shorter
  let length = 0;
  let code = 0;
  let bits = 0;
  for (const byte of coded) {
    for (let shift = 7; shift >= 0; shift--) {
      code = code * 2 + ((byte >> shift) & 1);
      bits += 1;
      const offset = code - (FIRST_CODE[bits] ?? 0);
      const index = (FIRST_INDEX[bits] ?? 0) + offset;
      if (index >= (FIRST_INDEX[bits + 1] ?? 0)) {
        if (bits >= MAX_BITS) return undefined;
        continue;
      }
      const symbol = SYMBOLS[index];
      if (symbol === undefined || symbol === END) return undefined;
      text[length] = symbol;
      length += 1;
      code = 0;
      bits = 0;
    }
  }
  // What is left over is the beginning of the end's code: ones, less than a byte of them.
  if (bits > MAX_PADDING_BITS || code !== 2 ** bits - 1) return undefined;
  return text.toString("latin1", 0, length);
}

function bitsOf(symbol: number): number {
  return BITS[symbol] ?? 0;
}
