// KubeVirt's containerDisk: the one file under disk/ in the file system that an image's layers make, found and read
// while the layers stream by. The topmost layer is read first: what it has hides what is below.

import { refusedContent, shown } from "./errors.ts";
import { readTar, type TarEntry } from "./tar.ts";

export interface FoundDisk {
  /** `disk/fedora.qcow2` */
  readonly path: string;
  readonly lengthBytes: number;
  /** The layer that has it, counted from the lowest, */
  readonly layer: number;
  /** and where in its archive. */
  readonly offsetBytes: number;
  /** Ends well only if there is no second file, in no layer. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

const FOLDER = "disk";
const WHITEOUT = ".wh.";
const OPAQUE = ".wh..wh..opq";
/** One is wanted; so many removals of others are more than a builder makes, and so many files than an image has. */
const MAX_HIDING = 1000;
const MAX_ENTRIES = 200_000;

/**
 * @param openLayers Each gives the plain tar of a layer; the lowest first. Those below a layer that hides `disk/` whole
 *   are not opened.
 * @throws IMAGE_REFUSED telling what was found, and what the layers throw; also from reading `chunks`.
 */
export async function findDisk(
  image: string,
  openLayers: readonly (() => AsyncIterable<Uint8Array>)[],
  maxEntries = MAX_ENTRIES,
): Promise<FoundDisk> {
  const visible = visibleFiles(image, openLayers, maxEntries);
  try {
    const found = await visible.next();
    if (found.done === true) {
      throw refusedContent(
        image,
        `it has no file under ${FOLDER}/, so it is no containerDisk; container images cannot run here`,
      );
    }
    const { entry, layer } = found.value;
    const { kind, typeFlag, sizeBytes: lengthBytes, offsetBytes } = entry;
    const path = nameOf(entry);
    if (kind !== "file") {
      const what = WORDS[typeFlag] ?? `an entry of type "${shown(typeFlag)}"`;
      throw refusedContent(image, `${path} is ${what}; it must be a plain file`);
    }
    return { path, lengthBytes, layer, offsetBytes, chunks: readOnly(image, entry, visible) };
  } catch (error) {
    await visible.return(undefined);
    throw error;
  }
}

const WORDS: Readonly<Record<string, string>> = {
  "1": "a hard link",
  "2": "a symbolic link",
  S: "a sparse file of GNU tar",
};

const nameOf = ({ path }: TarEntry): string => shown(path.join("/"));

async function* readOnly(
  image: string,
  disk: TarEntry,
  rest: AsyncGenerator<Visible, void>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* disk.chunks;
    const second = await rest.next();
    if (second.done === true) return;
    const names = `${nameOf(disk)}, ${nameOf(second.value.entry)}`;
    throw refusedContent(image, `it has more than one file under ${FOLDER}/: ${names}`);
  } finally {
    await rest.return(undefined);
  }
}

interface Visible {
  readonly entry: TarEntry;
  readonly layer: number;
}

/** Whatever is under disk/ and no folder, unless a layer above hides it. */
async function* visibleFiles(
  image: string,
  openLayers: readonly (() => AsyncIterable<Uint8Array>)[],
  maxEntries: number,
): AsyncGenerator<Visible, void> {
  const hiding = new Set<string>();
  const budget = { headers: maxEntries };
  for (const [layer, open] of [...openLayers.entries()].toReversed()) {
    if (hiding.has("/") || hiding.has(`/${FOLDER}`) || hiding.has(`/${FOLDER}/`)) return;
    const hidingBelow = new Set<string>();
    for await (const entry of readTar(image, open(), budget)) {
      const hides = hiddenBelow(entry);
      if (hides !== undefined) hidingBelow.add(hides);
      if (hiding.size + hidingBelow.size > MAX_HIDING)
        throw refusedContent(image, `it has too many entries under ${FOLDER}/`);
      if (isUnderDisk(entry) && !isHidden(entry.path, hiding)) yield { entry, layer };
    }
    for (const path of hidingBelow) hiding.add(path);
  }
}

const isWhiteout = ({ path }: TarEntry): boolean => path.at(-1)?.startsWith(WHITEOUT) === true;

const isUnderDisk = (entry: TarEntry): boolean =>
  entry.path[0] === FOLDER && entry.path.length > 1 && entry.kind !== "folder" && !isWhiteout(entry);

/**
 * What of the layers below cannot be seen because of this entry, as far as disk/ goes. With a slash at the end: what
 * is in that folder, but not the folder.
 */
function hiddenBelow(entry: TarEntry): string | undefined {
  const last = entry.path.at(-1);
  if (last === undefined) return undefined;
  const folder = entry.path.slice(0, -1);
  const hides =
    last === OPAQUE
      ? ["", ...folder, ""].join("/")
      : isWhiteout(entry)
        ? ["", ...folder, last.slice(WHITEOUT.length)].join("/")
        : entry.kind === "folder"
          ? undefined
          : ["", ...entry.path].join("/");
  if (hides === undefined) return undefined;
  return hides === "/" || hides === `/${FOLDER}` || hides.startsWith(`/${FOLDER}/`) ? hides : undefined;
}

function isHidden(path: readonly string[], hiding: ReadonlySet<string>): boolean {
  const parents = path.map((_, index) => ["", ...path.slice(0, index)].join("/"));
  const whole = ["", ...path].join("/");
  return hiding.has(whole) || parents.some((parent) => hiding.has(parent) || hiding.has(`${parent}/`));
}
