import type { Mount } from "../model/machine.ts";
import type { SeedFile } from "./seed.ts";

/** What became of a mount that is carried into the guest as a copy. */
export type CarriedMount =
  | { readonly is: "carried"; readonly files: readonly SeedFile[] }
  | { readonly is: "left-out"; readonly why: string };

/** Reads what the kubelet mounts, as far as it is small enough to travel in the seed. Implemented by `src/kernel/`. */
export interface HostFiles {
  /** A regular file, or a folder of few small files (tokens, config maps). Never throws for what it finds. */
  carry(mount: Mount, signal: AbortSignal): Promise<CarriedMount>;
}
