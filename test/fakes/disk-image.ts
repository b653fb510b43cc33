// Disk images made byte by byte: small, valid unless a test says otherwise, and different for different content.

export interface Qcow2Fields {
  readonly version?: number;
  readonly backingOffset?: bigint;
  readonly backingSize?: number;
  readonly clusterBits?: number;
  readonly virtualSizeBytes?: bigint;
  readonly cryptMethod?: number;
  readonly l1Entries?: number;
  readonly l1Offset?: bigint;
  readonly refcountTableOffset?: bigint;
  readonly refcountTableClusters?: number;
  readonly snapshots?: number;
  readonly snapshotsOffset?: bigint;
  readonly incompatible?: bigint;
  readonly autoclear?: bigint;
  readonly refcountOrder?: number;
  readonly headerLength?: number;
  readonly compressionType?: number;
  /** Raw bytes behind the header. */
  readonly extensions?: Uint8Array;
  /** Written to the end of the first cluster, where nobody looks: makes another digest. */
  readonly content?: string;
}

/** An empty disk as qemu-img would make it: header, refcount table, refcount block, L1 table, a cluster each. */
export function qcow2(fields: Qcow2Fields = {}): Buffer {
  const clusterBits = fields.clusterBits ?? 16;
  const cluster = clusterBits >= 9 && clusterBits <= 21 ? 2 ** clusterBits : 65536;
  const version = fields.version ?? 3;
  const file = Buffer.alloc(cluster * 4);
  file.write("QFI\xfb", 0, "latin1");
  file.writeUInt32BE(version, 4);
  file.writeBigUInt64BE(fields.backingOffset ?? 0n, 8);
  file.writeUInt32BE(fields.backingSize ?? 0, 16);
  file.writeUInt32BE(clusterBits, 20);
  file.writeBigUInt64BE(fields.virtualSizeBytes ?? 64n * 1024n * 1024n, 24);
  file.writeUInt32BE(fields.cryptMethod ?? 0, 32);
  file.writeUInt32BE(fields.l1Entries ?? 1, 36);
  file.writeBigUInt64BE(fields.l1Offset ?? BigInt(cluster * 3), 40);
  file.writeBigUInt64BE(fields.refcountTableOffset ?? BigInt(cluster), 48);
  file.writeUInt32BE(fields.refcountTableClusters ?? 1, 56);
  file.writeUInt32BE(fields.snapshots ?? 0, 60);
  file.writeBigUInt64BE(fields.snapshotsOffset ?? 0n, 64);
  const headerLength = fields.headerLength ?? (version === 2 ? 72 : 112);
  if (version !== 2) {
    file.writeBigUInt64BE(fields.incompatible ?? 0n, 72);
    file.writeBigUInt64BE(fields.autoclear ?? 0n, 88);
    file.writeUInt32BE(fields.refcountOrder ?? 4, 96);
    file.writeUInt32BE(headerLength, 100);
    file.writeUInt8(fields.compressionType ?? 0, 104);
  }
  if (fields.extensions !== undefined) file.set(fields.extensions, headerLength);
  file.writeBigUInt64BE(BigInt(cluster * 2), cluster); // refcount table: one block
  for (let index = 0; index < 4; index++) file.writeUInt16BE(1, cluster * 2 + index * 2);
  if (fields.content !== undefined) file.write(fields.content, cluster - Buffer.byteLength(fields.content));
  return file;
}

/** One header extension, padded. */
export function extension(type: number, data: Uint8Array, length = data.length): Buffer {
  const bytes = Buffer.alloc(8 + Math.ceil(data.length / 8) * 8);
  bytes.writeUInt32BE(type, 0);
  bytes.writeUInt32BE(length, 4);
  bytes.set(data, 8);
  return bytes;
}

/** A raw disk with an MBR mark. */
export function raw(sectors = 2048, content = ""): Buffer {
  const file = Buffer.alloc(sectors * 512);
  file.write(content, 0x1000);
  file.set([0x55, 0xaa], 510);
  return file;
}
