import fc from "fast-check";
import { expect, test } from "vitest";
import { ConnectionError } from "../../../src/router/http2/errors.ts";
import { encodeHeaders, HeaderDecoder } from "../../../src/router/http2/hpack.ts";

const decoder = (): HeaderDecoder => new HeaderDecoder({ maxListBytes: 1 << 16 });
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

test("the RFC's requests in Huffman's code are read, each with what the ones before left in the table (C.4)", () => {
  const own = decoder();
  const common = [
    [":method", "GET"],
    [":scheme", "http"],
    [":path", "/"],
    [":authority", "www.example.com"],
  ];
  expect(own.decode(hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"))).toEqual(common);
  expect(own.decode(hex("8286 84be 5886 a8eb 1064 9cbf"))).toEqual([...common, ["cache-control", "no-cache"]]);
  expect(own.decode(hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"))).toEqual([
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ]);
});

test("an entry leaves the table when newer ones fill it, and all do when it is shrunk", () => {
  const own = decoder();
  const add = (name: string, length: number): Buffer => {
    const value = Buffer.alloc(length, "v");
    const rest = length - 127;
    return Buffer.concat([hex("4001"), Buffer.from(name), Buffer.of(0x7f, (rest & 0x7f) | 0x80, rest >> 7), value]);
  };
  own.decode(Buffer.concat([add("a", 2_000), add("b", 2_000)]));
  expect(own.decode(hex("bf"))?.[0]?.[0]).toBe("a"); // the older of two
  own.decode(add("c", 2_000));
  expect(own.decode(hex("bf"))?.[0]?.[0]).toBe("b");
  expect(() => own.decode(hex("c0"))).toThrow(ConnectionError);
  own.decode(hex("20"));
  expect(() => own.decode(hex("be"))).toThrow(ConnectionError);
});

test("whatever is written is read, byte for byte", () => {
  const text = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    maxLength: 300,
  });
  const name = fc.oneof(
    text.filter((some) => some !== ""),
    fc.constantFrom(":path", ":method", "accept-encoding", "te"),
  );
  const value = fc.oneof(text, fc.constantFrom("POST", "/", "", "200"));
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 20 }), fc.boolean(), (headers, isFirst) => {
      expect(decoder().decode(encodeHeaders(headers, { isFirst }))).toEqual(headers);
    }),
  );
});

test("bytes that are no header block are refused, and nothing worse", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        decoder().decode(Buffer.from(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(ConnectionError);
      }
    }),
  );
});
