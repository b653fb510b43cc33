// Names for things, as types: a pod's id does not fit where a machine's is wanted.

import { randomBytes } from "node:crypto";

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** CRI: pod sandbox id. 64 lower-case hex characters, new for each attempt. */
export type PodId = Branded<"PodId">;
/** CRI: container id. 64 lower-case hex characters, new for each attempt. */
export type MachineId = Branded<"MachineId">;
/** `sha256:` and 64 lower-case hex characters: what an image's bytes hash to. */
export type ImageDigest = Branded<"ImageDigest">;
/** A pull under way: 12 lower-case hex characters, new for each. */
export type PullId = Branded<"PullId">;

const HEX_ID = /^[0-9a-f]{64}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

export const newPodId = (): PodId => randomBytes(32).toString("hex") as PodId;
export const newMachineId = (): MachineId => randomBytes(32).toString("hex") as MachineId;
export const newPullId = (): PullId => randomBytes(6).toString("hex") as PullId;

export const isPodId = (text: string): text is PodId => HEX_ID.test(text);
export const isMachineId = (text: string): text is MachineId => HEX_ID.test(text);
export const isImageDigest = (text: string): text is ImageDigest => DIGEST.test(text);

/** The libvirt domain's uuid: the first 128 bits of the id, so that one is found from the other. */
export function uuidOf(id: MachineId): string {
  return [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20, 32)].join("-");
}
