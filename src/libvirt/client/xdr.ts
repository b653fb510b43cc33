// XDR (RFC 4506) as libvirt uses it: big-endian, every item padded to four bytes, every length bounded before use.

import { garbled, LibvirtFault } from "./fault.ts";

/** How one type is laid out. `read` throws a `garbled` fault for anything else than that layout. */
export interface Codec<T> {
  write(out: XdrWriter, value: T): void;
  read(from: XdrReader): T;
}
export type ValueOf<C> = C extends Codec<infer T> ? T : never;

/** REMOTE_STRING_MAX: 4 MiB. */
const STRING_MAX_BYTES = 4_194_304;

class XdrReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get leftBytes(): number {
    return this.#bytes.length - this.#at;
  }

  /** The next `lengthBytes`, without copying. */
  take(lengthBytes: number): Buffer {
    if (lengthBytes > this.leftBytes) throw garbled(`${lengthBytes} bytes announced, ${this.leftBytes} there`);
    const part = this.#bytes.subarray(this.#at, this.#at + lengthBytes);
    this.#at += lengthBytes;
    return part;
  }

  takePadding(lengthBytes: number): void {
    for (const byte of this.take(paddingOf(lengthBytes))) if (byte !== 0) throw garbled("padding is not zero");
  }

  /** Nothing may be left: a longer message than its layout is another message. */
  end(): void {
    if (this.leftBytes !== 0) throw garbled(`${this.leftBytes} bytes too many`);
  }
}

class XdrWriter {
  readonly #parts: Uint8Array[] = [];

  put(part: Uint8Array): void {
    this.#parts.push(part);
  }

  putPadding(lengthBytes: number): void {
    const padding = paddingOf(lengthBytes);
    if (padding > 0) this.#parts.push(Buffer.alloc(padding));
  }

  bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

export function encode<T>(codec: Codec<T>, value: T): Buffer {
  const out = new XdrWriter();
  codec.write(out, value);
  return out.bytes();
}

export function decode<T>(codec: Codec<T>, bytes: Buffer): T {
  const from = new XdrReader(bytes);
  const value = codec.read(from);
  from.end();
  return value;
}

const paddingOf = (lengthBytes: number): number => (4 - (lengthBytes % 4)) % 4;

/** A number of fixed width; a value outside its range is refused by Buffer and told as `unsendable`. */
function fixed<T>(widthBytes: number, put: (to: Buffer, value: T) => unknown, get: (from: Buffer) => T): Codec<T> {
  return {
    write(out, value) {
      const part = Buffer.alloc(widthBytes);
      try {
        put(part, value);
      } catch (cause) {
        throw new LibvirtFault({ kind: "unsendable" }, `${String(value)} does not fit ${widthBytes} bytes`, { cause });
      }
      out.put(part);
    },
    read: (from) => get(from.take(widthBytes)),
  };
}

export const int = fixed<number>(
  4,
  (to, value) => to.writeInt32BE(value),
  (from) => from.readInt32BE(),
);
export const uint = fixed<number>(
  4,
  (to, value) => to.writeUInt32BE(value),
  (from) => from.readUInt32BE(),
);
export const hyper = fixed<bigint>(
  8,
  (to, value) => to.writeBigInt64BE(value),
  (from) => from.readBigInt64BE(),
);
export const uhyper = fixed<bigint>(
  8,
  (to, value) => to.writeBigUInt64BE(value),
  (from) => from.readBigUInt64BE(),
);
export const double = fixed<number>(
  8,
  (to, value) => to.writeDoubleBE(value),
  (from) => from.readDoubleBE(),
);

/** UTF-8. Bytes that are none become U+FFFD: a message from the guest must not break the connection. */
export const string: Codec<string> = {
  write(out, value) {
    const bytes = Buffer.from(value, "utf8");
    refuseAbove(STRING_MAX_BYTES, bytes.length, "string");
    if (value.includes("\0")) throw new LibvirtFault({ kind: "unsendable" }, "a string for libvirt contains a NUL");
    uint.write(out, bytes.length);
    out.put(bytes);
    out.putPadding(bytes.length);
  },
  read(from) {
    const lengthBytes = uint.read(from);
    if (lengthBytes > STRING_MAX_BYTES) throw garbled(`string of ${lengthBytes} bytes, at most ${STRING_MAX_BYTES}`);
    const text = from.take(lengthBytes).toString("utf8");
    from.takePadding(lengthBytes);
    return text;
  },
};

/** As many bytes as there are. */
export function opaque(maxBytes: number): Codec<Uint8Array> {
  return {
    write(out, value) {
      refuseAbove(maxBytes, value.length, "opaque");
      uint.write(out, value.length);
      out.put(value);
      out.putPadding(value.length);
    },
    read(from) {
      const lengthBytes = uint.read(from);
      if (lengthBytes > maxBytes) throw garbled(`${lengthBytes} opaque bytes, at most ${maxBytes}`);
      const value = from.take(lengthBytes);
      from.takePadding(lengthBytes);
      return value;
    },
  };
}

/** 16 bytes, told as the dashed lower-case text that people know. */
export const uuid: Codec<string> = {
  write(out, value) {
    const hex = value.replaceAll("-", "");
    if (!/^[0-9a-f]{32}$/i.test(hex)) throw new LibvirtFault({ kind: "unsendable" }, `${value} is not a uuid`);
    out.put(Buffer.from(hex, "hex"));
  },
  read(from) {
    const hex = from.take(16).toString("hex");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  },
};

/** A pointer in libvirt's C: a leading 1, or 0 and nothing. */
export function optional<T>(item: Codec<T>): Codec<T | undefined> {
  return {
    write(out, value) {
      uint.write(out, value === undefined ? 0 : 1);
      if (value !== undefined) item.write(out, value);
    },
    read(from) {
      const present = uint.read(from);
      if (present > 1) throw garbled(`${present} where 0 or 1 says whether a value follows`);
      return present === 1 ? item.read(from) : undefined;
    },
  };
}

/** At most `maxItems`; memory is only taken as items are really there. */
export function array<T>(item: Codec<T>, maxItems: number): Codec<readonly T[]> {
  return {
    write(out, values) {
      refuseAbove(maxItems, values.length, "array");
      uint.write(out, values.length);
      for (const value of values) item.write(out, value);
    },
    read(from) {
      const count = uint.read(from);
      if (count > maxItems) throw garbled(`array of ${count} items, at most ${maxItems}`);
      const values: T[] = [];
      while (values.length < count) values.push(item.read(from));
      return values;
    },
  };
}

export type StructOf<F> = { readonly [K in keyof F]: ValueOf<F[K]> };

/** Fields in the order they are written here. */
export function struct<F extends Readonly<Record<string, Codec<unknown>>>>(fields: F): Codec<StructOf<F>> {
  const entries = Object.entries(fields) as [keyof F, Codec<unknown>][];
  return {
    write(out, value) {
      for (const [name, codec] of entries) codec.write(out, value[name]);
    },
    read(from) {
      return Object.fromEntries(entries.map(([name, codec]) => [name, codec.read(from)])) as StructOf<F>;
    },
  };
}

function refuseAbove(max: number, found: number, what: string): void {
  if (found > max) throw new LibvirtFault({ kind: "unsendable" }, `${what} of ${found}, libvirt takes at most ${max}`);
}
