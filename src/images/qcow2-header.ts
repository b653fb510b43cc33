// Reads a qcow2 header as an enemy's: every field is checked before QEMU sees the file.
// Layout and bit numbers: QEMU's docs/interop/qcow2.txt. All integers are big-endian.

/** `virtualSizeBytes` is the disk that a guest would see; `finding` says why the file is refused. */
export type Qcow2Verdict =
  | { readonly isAccepted: true; readonly virtualSizeBytes: number; readonly leastLengthBytes: number }
  | { readonly isAccepted: false; readonly finding: string };

const V2_HEADER_BYTES = 72;
const V3_HEADER_BYTES = 104;
/** QEMU's own limits: 8 MiB of refcount table, 32 MiB of L1 table. */
const MAX_REFCOUNT_TABLE_BYTES = 8 * 1024 * 1024;
const MAX_L1_BYTES = 32 * 1024 * 1024;
const MAX_EXTENSIONS = 64;
/** QEMU's own limit, and the least that the table has of each. */
const MAX_SNAPSHOTS = 65_536;
const LEAST_SNAPSHOT_BYTES = 40;

export interface Qcow2Limits {
  readonly maxVirtualSizeBytes: number;
  readonly allowSnapshots: boolean;
}

const INCOMPATIBLE = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  dataFile: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
} as const;

const AUTOCLEAR_RAW_DATA_FILE = 1n << 1n;

/** Extension types that make the file depend on something outside it, or need a key. */
const REFUSED_EXTENSIONS: ReadonlyMap<number, string> = new Map([
  [0x44415441, "names an external data file"],
  [0x0537be77, "is encrypted"],
  [0x23852875, "carries persistent bitmaps"],
]);

/**
 * @param head The first bytes of the file, at least 64 KiB or all of it; begins with the qcow2 magic.
 * Never throws, whatever the bytes.
 */
export function inspectQcow2(head: Uint8Array, limits: Qcow2Limits): Qcow2Verdict {
  if (head.length < V2_HEADER_BYTES) return refused("the qcow2 header is cut short");
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) return refused(`qcow version ${version}; only qcow2 versions 2 and 3 are taken`);
  if (version === 3 && head.length < V3_HEADER_BYTES) return refused("the qcow2 header is cut short");
  const finding =
    findOutsideWorld(view) ??
    findSnapshots(view, limits) ??
    findFeatures(view, version) ??
    findExtensions(view, version);
  return finding === undefined ? inspectGeometry(view, version, limits.maxVirtualSizeBytes) : refused(finding);
}

const refused = (finding: string): Qcow2Verdict => ({ isAccepted: false, finding });

function findOutsideWorld(view: DataView): string | undefined {
  if (view.getBigUint64(8) !== 0n || view.getUint32(16) !== 0) {
    return "has a backing file, which could be any file of the node; flatten it with qemu-img convert";
  }
  if (view.getUint32(32) !== 0) return "is encrypted";
  return undefined;
}

function findSnapshots(view: DataView, { allowSnapshots }: Qcow2Limits): string | undefined {
  const count = snapshotsOf(view);
  if (count === 0) return undefined;
  if (!allowSnapshots) {
    return "carries internal snapshots; drop them with qemu-img convert, or allow them (images.allowSnapshots)";
  }
  return count > MAX_SNAPSHOTS ? `has ${count} snapshots; that is absurd` : undefined;
}

const snapshotsOf = (view: DataView): number => view.getUint32(60);

function findFeatures(view: DataView, version: number): string | undefined {
  if (version === 2) return undefined;
  const incompatible = view.getBigUint64(72);
  if ((incompatible & INCOMPATIBLE.dataFile) !== 0n) {
    return "keeps its data in an external file, which could be any file of the node; flatten it with qemu-img convert";
  }
  if ((incompatible & INCOMPATIBLE.corrupt) !== 0n) return "is marked corrupt; make it again";
  if ((incompatible & INCOMPATIBLE.dirty) !== 0n) return "was not closed cleanly; repair it with qemu-img check -r all";
  if ((incompatible & INCOMPATIBLE.extendedL2) !== 0n) return "uses extended L2 entries, which are not supported";
  if ((incompatible & ~INCOMPATIBLE.compressionType) !== 0n) {
    return `needs unknown features (incompatible bits 0x${incompatible.toString(16)})`;
  }
  if ((view.getBigUint64(88) & AUTOCLEAR_RAW_DATA_FILE) !== 0n) return "says that its data file is raw";
  return findCompression(view, incompatible);
}

function findCompression(view: DataView, incompatible: bigint): string | undefined {
  const hasField = view.getUint32(100) > V3_HEADER_BYTES && view.byteLength > V3_HEADER_BYTES;
  const type = hasField ? view.getUint8(104) : 0;
  if (type !== 0 && type !== 1) return `uses unknown compression ${type}`;
  const isMarked = (incompatible & INCOMPATIBLE.compressionType) !== 0n;
  return isMarked === (type !== 0) ? undefined : "contradicts itself about its compression";
}

/** The list behind the header: type, length, data padded to 8; ended by type 0. */
function findExtensions(view: DataView, version: number): string | undefined {
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) return `has clusters of 2^${clusterBits} bytes; 2^9 to 2^21 are possible`;
  const headerLength = version === 2 ? V2_HEADER_BYTES : view.getUint32(100);
  const end = Math.min(2 ** clusterBits, view.byteLength);
  if (headerLength % 8 !== 0 || headerLength < V2_HEADER_BYTES) return `has a header of ${headerLength} bytes`;
  if (version === 3 && headerLength < V3_HEADER_BYTES) return `has a header of ${headerLength} bytes`;
  if (headerLength > end) return "has a header that is longer than what can hold it";
  let at = headerLength;
  for (let count = 0; count < MAX_EXTENSIONS; count++) {
    if (at === end) return undefined; // an exact fit needs no end mark
    if (at + 8 > end) return "has a header extension that runs out of its cluster";
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    if (type === 0) return undefined;
    const meaning = REFUSED_EXTENSIONS.get(type);
    if (meaning !== undefined) return meaning;
    if (length > end - at - 8) return "has a header extension that runs out of its cluster";
    at += 8 + Math.ceil(length / 8) * 8;
    if (at > end) return "has a header extension that runs out of its cluster";
  }
  return `has more than ${MAX_EXTENSIONS} header extensions`;
}

function inspectGeometry(view: DataView, version: number, maxVirtualSizeBytes: number): Qcow2Verdict {
  const clusterBytes = 2 ** view.getUint32(20);
  const virtualSize = view.getBigUint64(24);
  if (virtualSize === 0n) return refused("is a disk of 0 bytes");
  if (virtualSize % 512n !== 0n) return refused("is a disk that does not end at a sector");
  if (virtualSize > BigInt(maxVirtualSizeBytes)) {
    return refused(`claims a disk of ${virtualSize} bytes; the limit is ${maxVirtualSizeBytes} (maxVirtualSizeBytes)`);
  }
  if (version === 3 && view.getUint32(96) > 6) return refused(`has refcounts of 2^${view.getUint32(96)} bits`);
  const virtualSizeBytes = Number(virtualSize);
  const l1Entries = view.getUint32(36);
  const l1Needed = Math.ceil(virtualSizeBytes / (clusterBytes * (clusterBytes / 8)));
  if (l1Entries < l1Needed) return refused(`has an L1 table of ${l1Entries} entries where ${l1Needed} are needed`);
  if (l1Entries * 8 > MAX_L1_BYTES) return refused(`has an L1 table of ${l1Entries} entries; that is absurd`);
  const refcountTableBytes = view.getUint32(56) * clusterBytes;
  if (refcountTableBytes === 0) return refused("has no refcount table");
  if (refcountTableBytes > MAX_REFCOUNT_TABLE_BYTES) return refused("has an absurdly large refcount table");
  const tables = [
    { name: "L1", offset: view.getBigUint64(40), bytes: l1Entries * 8 },
    { name: "refcount", offset: view.getBigUint64(48), bytes: refcountTableBytes },
  ];
  const snapshotBytes = snapshotsOf(view) * LEAST_SNAPSHOT_BYTES;
  if (snapshotBytes > 0) tables.push({ name: "snapshot", offset: view.getBigUint64(64), bytes: snapshotBytes });
  for (const { name, offset } of tables) {
    const isPlausible = offset >= clusterBytes && offset % BigInt(clusterBytes) === 0n && offset < 2n ** 52n;
    if (!isPlausible) return refused(`has its ${name} table at the impossible offset ${offset}`);
  }
  const leastLengthBytes = Math.max(...tables.map(({ offset, bytes }) => Number(offset) + bytes));
  return { isAccepted: true, virtualSizeBytes, leastLengthBytes };
}
