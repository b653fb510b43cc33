// Tar archives made byte by byte, honest or not.

export interface TarFile {
  readonly path: string;
  readonly bytes?: Uint8Array;
  /** `0` file, `2` symbolic link, `5` folder, `x` pax header, `L` GNU long name. */
  readonly type?: string;
  /** What the header says, if not the truth. */
  readonly sizeBytes?: number;
}

export function tar(files: readonly TarFile[]): Buffer {
  return Buffer.concat([...files.map(tarEntry), Buffer.alloc(1024)]);
}

export function tarEntry({ path, bytes = new Uint8Array(), type = "0", sizeBytes = bytes.length }: TarFile): Buffer {
  const header = Buffer.alloc(512);
  header.write(path, 0, 100);
  header.write("0000644\0", 100);
  header.write(`${sizeBytes.toString(8).padStart(11, "0")}\0`, 124);
  header.write(type, 156, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  return Buffer.concat([sealed(header), bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** With the right checksum. */
export function sealed(header: Buffer): Buffer {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

/** The extended header of the next entry. */
export function pax(records: Readonly<Record<string, string>>): TarFile {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`);
    let length = rest + 1;
    while (String(length).length + rest !== length) length++;
    return `${length} ${key}=${value}\n`;
  });
  return { path: "PaxHeaders/x", type: "x", bytes: Buffer.from(lines.join("")) };
}
