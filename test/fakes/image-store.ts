// An image store in memory: what may be pulled is offered by the test, and so is every failure.

import { createHash } from "node:crypto";
import type { PullMeter } from "../../src/images/progress.ts";
import { Pulls } from "../../src/images/pulls.ts";
import { untilAborted } from "../../src/lib/keyed-lock.ts";
import { VmletError } from "../../src/model/failure.ts";
import { type ImageDigest, isImageDigest, type MachineId } from "../../src/model/ids.ts";
import type { DiskFormat, Image } from "../../src/model/image.ts";
import type { ImagePull, PullCaller } from "../../src/model/image-pull.ts";
import { formatReference, type ImageReference, parseReference } from "../../src/model/image-reference.ts";
import type { RegistryCredentials } from "../../src/model/registry-credentials.ts";
import type { FilesystemUsage, ImageStore } from "../../src/ports/image-store.ts";
import { silentLog } from "./small-ports.ts";

export interface OfferedImage {
  /** Stands for the bytes: equal content, equal digest. */
  readonly content: string;
  readonly format?: DiskFormat;
  readonly virtualSizeBytes?: number;
}

const MIB = 1024 * 1024;

export class FakeImageStore implements ImageStore {
  readonly #offers = new Map<string, Image | VmletError>();
  readonly #names = new Map<string, Image>();
  readonly #holds = new Map<MachineId, Image>();
  readonly #pulls = new Pulls({ clock: { nowMs: () => Date.now() }, log: silentLog });
  /** Pulls wait for this, half of their bytes received; replace it to hold them back. */
  gate: Promise<void> = Promise.resolve();

  /** Makes `reference` (without digest) pullable; again with other content: the image behind the name changes. */
  offer(reference: string, offered: OfferedImage): ImageDigest {
    const digest = `sha256:${createHash("sha256").update(offered.content).digest("hex")}`;
    if (!isImageDigest(digest)) throw new Error("unreachable: a sha256 is a digest");
    const { format = "qcow2", virtualSizeBytes = 64 * MIB } = offered;
    const facts = {
      digest,
      format,
      virtualSizeBytes,
      sizeBytes: MIB,
      repoTags: [],
      repoDigests: [],
      user: "",
      isPinned: false,
    };
    this.#offers.set(formatReference(parseReference(reference)), facts);
    return digest;
  }

  /** Lets pulls of `reference` fail. */
  refuse(reference: string, error: VmletError): void {
    this.#offers.set(formatReference(parseReference(reference)), error);
  }

  /** True while the bytes are "on disk": named or held. */
  hasBytes(digest: ImageDigest): boolean {
    return [...this.#names.values(), ...this.#holds.values()].some((image) => image.digest === digest);
  }

  /** Who keeps bytes now. */
  heldBy(): readonly MachineId[] {
    return [...this.#holds.keys()];
  }

  async pull(
    text: string,
    signal: AbortSignal,
    _credentials?: RegistryCredentials,
    caller: PullCaller = { name: "test" },
  ): Promise<Image> {
    const reference = parseReference(text);
    const image = formatReference(reference);
    const work = async (meter: PullMeter, shared: AbortSignal): Promise<Image> => {
      meter.receiving(0, MIB);
      meter.received(MIB / 2);
      await untilAborted(this.gate, shared);
      return this.#take(reference);
    };
    return this.#pulls.run({ key: image, image }, work, caller, signal);
  }

  pulls(): readonly ImagePull[] {
    return this.#pulls.list();
  }

  async untilPulled(pullId: string, signal: AbortSignal): Promise<Image> {
    return this.#pulls.until(pullId, signal);
  }

  #take(reference: ImageReference): Image {
    const { name, tag = "latest", digest } = reference;
    const offered = this.#offers.get(`${name}:${tag}`);
    if (offered instanceof VmletError) throw offered;
    const image = formatReference(reference);
    if (offered === undefined)
      throw new VmletError({ code: "IMAGE_NOT_FOUND", image }, `image ${image}: nobody has it`);
    if (digest !== undefined && digest !== offered.digest) {
      const failure = { code: "IMAGE_DIGEST_MISMATCH", image, wanted: digest, found: offered.digest } as const;
      throw new VmletError(failure, `image ${image}: the bytes hash to ${offered.digest}`);
    }
    const before = this.#names.get(image);
    if (before?.digest !== offered.digest) this.#names.set(image, { ...offered, pulledAtMs: Date.now() });
    return this.#shown(offered);
  }

  find(text: string): Image | undefined {
    const image = this.#findByName(text) ?? this.#findByDigest(text);
    return image === undefined ? undefined : this.#shown(image);
  }

  list(): readonly Image[] {
    return [...new Map([...this.#names.values()].map((image) => [image.digest, this.#shown(image)])).values()];
  }

  async remove(reference: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const digest = this.find(reference)?.digest;
    for (const [name, image] of this.#names) if (image.digest === digest) this.#names.delete(name);
  }

  async hold(digest: ImageDigest, machineId: MachineId, signal: AbortSignal) {
    signal.throwIfAborted();
    const held = this.#holds.get(machineId);
    const image = held?.digest === digest ? held : this.#findByDigest(digest);
    if (image === undefined)
      throw new VmletError({ code: "IMAGE_NOT_FOUND", image: digest }, `image ${digest}: not here`);
    this.#holds.set(machineId, image);
    return { path: `/fake/images/blobs/sha256/${digest.slice(7)}`, image: this.#shown(image) };
  }

  async release(machineId: MachineId, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#holds.delete(machineId);
  }

  async usage(): Promise<FilesystemUsage> {
    const all = [...this.#names.values(), ...this.#holds.values()];
    const images = new Map(all.map((image) => [image.digest, image]));
    return { mountpoint: "/fake/images", usedBytes: images.size * MIB, usedInodes: images.size };
  }

  #findByName(text: string): Image | undefined {
    const reference = parsed(text);
    if (reference?.digest === undefined) return reference && this.#names.get(formatReference(reference));
    const image = this.#findByDigest(reference.digest);
    return image && this.#shown(image).repoDigests.includes(`${reference.name}@${image.digest}`) ? image : undefined;
  }

  #findByDigest(text: string): Image | undefined {
    const hex = /^(?:sha256:)?([0-9a-f]{12,64})$/.exec(text)?.[1];
    if (hex === undefined) return undefined;
    const found = [...this.#names.values()].filter(({ digest }) => digest.startsWith(`sha256:${hex}`));
    return new Set(found.map(({ digest }) => digest)).size === 1 ? found[0] : undefined;
  }

  #shown({ pulledAtMs: _one, ...image }: Image): Image {
    const named = [...this.#names].filter(([, { digest }]) => digest === image.digest);
    const names = named.map(([name]) => name);
    const pulledAtMs = Math.max(...named.map(([, one]) => one.pulledAtMs ?? 0));
    const bare = new Set(names.map((name) => parseReference(name).name));
    return {
      ...image,
      repoTags: names.filter((name) => !name.includes("@")).toSorted(),
      repoDigests: [...bare].map((name) => `${name}@${image.digest}`).toSorted(),
      ...(named.length === 0 ? {} : { pulledAtMs }),
    };
  }
}

function parsed(text: string): ImageReference | undefined {
  try {
    return parseReference(text);
  } catch {
    return undefined;
  }
}
