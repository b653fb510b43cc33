// Magic numbers of what is not taken: other disk formats, archives, and things that are no disk at all.

/** What the first bytes (64 KiB or all) and the last 512 say the file is; undefined: nothing that is known here. */
export function foreignFormatOf(head: Uint8Array, tail: Uint8Array): string | undefined {
  const magic = MAGICS.find(({ at, bytes }) => startsWith(head, bytes, at));
  if (magic !== undefined) return magic.name;
  const footer = FOOTERS.find(({ bytes }) => startsWith(tail, bytes, 0));
  if (footer !== undefined) return footer.name;
  const text = ascii(head.subarray(0, TEXT_BYTES));
  if (VMDK_DESCRIPTOR.test(text)) return "a VMDK descriptor";
  return TEXT_START.test(text) ? "a text or web page" : undefined;
}

/** ISO 9660's volume descriptor, in the 17th sector of 2048 bytes. */
export const hasIso9660 = (head: Uint8Array): boolean => startsWith(head, latin("CD001"), 0x8001);

/** MBR mark at the end of the first sector, or a GPT header in the second (of 512 or 4096 bytes). */
export function hasBootSignature(head: Uint8Array): boolean {
  if (startsWith(head, [0x55, 0xaa], 510)) return true;
  return startsWith(head, latin("EFI PART"), 512) || startsWith(head, latin("EFI PART"), 4096);
}

export const QCOW_MAGIC: readonly number[] = [0x51, 0x46, 0x49, 0xfb];

export function startsWith(bytes: Uint8Array, wanted: readonly number[], at: number): boolean {
  return at + wanted.length <= bytes.length && wanted.every((byte, index) => bytes[at + index] === byte);
}

const latin = (text: string): readonly number[] => [...Buffer.from(text, "latin1")];
const ascii = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

const magic = (name: string, bytes: readonly number[], at = 0) => ({ name, bytes, at });

const MAGICS = [
  magic("a VMDK disk", latin("KDMV")),
  magic("a VMDK disk", latin("COWD")),
  magic("a VMDK disk", [0xbe, 0xba, 0xfe, 0xca]), // seSparse: 0xcafebabe, little-endian
  magic("a VMDK descriptor", latin("# Disk DescriptorFile")),
  magic("a VHD disk", latin("conectix")),
  magic("a VHDX disk", latin("vhdxfile")),
  magic("a VDI disk", [0x7f, 0x10, 0xda, 0xbe], 64),
  magic("a QED disk", latin("QED\0")),
  magic("a LUKS volume", [...latin("LUKS"), 0xba, 0xbe]),
  magic("a Parallels disk", latin("WithoutFreeSpace")),
  magic("a Parallels disk", latin("WithouFreSpacExt")),
  magic("a Bochs disk", latin("Bochs Virtual HD Image")),
  magic("a cloop disk", latin("#!/bin/sh\n#V2.0 Format")),
  magic("a user-mode Linux COW disk", latin("OOOM")),
  magic("gzip data (unpack it first)", [0x1f, 0x8b]),
  magic("xz data (unpack it first)", [0xfd, ...latin("7zXZ"), 0x00]),
  magic("zstd data (unpack it first)", [0x28, 0xb5, 0x2f, 0xfd]),
  magic("bzip2 data (unpack it first)", latin("BZh")),
  magic("lz4 data (unpack it first)", [0x04, 0x22, 0x4d, 0x18]),
  magic("a zip archive", latin("PK\x03\x04")),
  magic("a 7z archive", [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]),
  magic("a tar archive", latin("ustar"), 257),
  magic("an ELF program", [0x7f, ...latin("ELF")]),
];

const FOOTERS = [magic("a VHD disk", latin("conectix")), magic("a DMG disk", latin("koly"))];

/** More than QEMU looks at when it guesses a format (512 bytes). */
const TEXT_BYTES = 2048;

/** As QEMU recognises one: comments and empty lines, then a version. */
const VMDK_DESCRIPTOR = /^(?:#[^\n]*\n| *\r?\n)*version=[0-9]/;

const TEXT_START = /^(?:\xef\xbb\xbf)?\s*(?:<(?:!doctype|html|\?xml|head|body|!--)|[{[]\s*["}\]]|json:)/i;
