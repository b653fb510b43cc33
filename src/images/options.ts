// What the image store is told; the settings of the same names are read, checked and described in config.

export interface ImageOptions {
  /** Folder of the image store. */
  readonly rootPath: string;
  /** A group that QEMU is in, and alone passes through `rootPath`; absent: everybody does. */
  readonly qemuGid?: number;
  /** Take names under `vmlet.dev/http/` too: bytes that anyone on the way may change. */
  readonly allowHttp: boolean;
  /** Rules from image name to URL, tried in this order; the first that fits is used. */
  readonly translations: readonly TranslationRule[];
  /** By name; `default` is used where no rule names one. */
  readonly profiles: Readonly<Record<string, TransportProfile>>;
  readonly registry: RegistryOptions;
  readonly signatures: SignatureOptions;
  /** Image names that the kubelet's garbage collection leaves alone. */
  readonly pinned: readonly string[];
  /** Downloads at a time; further ones wait for their turn. */
  readonly maxParallelDownloads: number;
  /** Bytes that one download may have. */
  readonly maxImageBytes: number;
  /** Bytes that the disk in an image may claim to have. */
  readonly maxVirtualSizeBytes: number;
  /** Take a raw image only with an MBR or GPT boot signature, so that a web page is not taken for a disk. */
  readonly requireBootSignature: boolean;
  /** Take a qcow2 with internal snapshots; machines run from its current state. */
  readonly allowSnapshots: boolean;
}

interface RegistryOptions {
  /** Beginnings of names that are images in an OCI registry as they stand: `quay.io/containerdisks/`. */
  readonly prefixes: readonly string[];
  /** `<host>/hosts.toml` in it tell mirrors, authorities and plain HTTP. */
  readonly hostsFolderPath: string;
  /** The node's own credentials, in the format of docker's config.json. Need not be there. */
  readonly authPath: string;
}

/** Which images must be signed, and by whom. */
export interface SignatureOptions {
  /** What becomes of names that no rule covers. */
  readonly default: "accept" | "reject";
  /** The first that fits a name is used. */
  readonly rules: readonly SignatureRule[];
}

/** Has either `name` or `prefix`. */
export interface SignatureRule {
  /** Image name without tag and digest. */
  readonly name?: string | undefined;
  /** Ends with a slash; or is empty, and fits every name. */
  readonly prefix?: string | undefined;
  readonly action: "verify" | "accept" | "reject";
  /** PEM files; there exactly for `verify`. A signature by one of the keys is enough. */
  readonly keyPaths: readonly string[];
}

/** Has either `name` or `regexp`. */
export interface TranslationRule {
  /** Image name, with or without tag, exactly as a pod spells it. */
  readonly name?: string | undefined;
  /** For the whole normalised name, tried with the tag and without it. It compiles. */
  readonly regexp?: string | undefined;
  /** http or https, without user or password; `$1` and so on are the groups of `regexp`. */
  readonly url: string;
  /** What the downloaded bytes must hash to: 64 lower-case hex characters. */
  readonly sha256?: string | undefined;
  /** `default`, or a key of `profiles`. */
  readonly profile: string;
}

/** TLS, proxy and time limits of a download. */
export interface TransportProfile {
  /** PEM file of the authorities to trust instead of the built-in ones. */
  readonly caPath?: string | undefined;
  /** PEM file; there exactly if `clientKeyPath` is. */
  readonly clientCertPath?: string | undefined;
  readonly clientKeyPath?: string | undefined;
  /** Name that the server's certificate must carry; absent: the URL's host. */
  readonly serverName?: string | undefined;
  readonly insecureSkipVerify: boolean;
  /** Its credentials, if any, are never logged. */
  readonly proxyUrl?: string | undefined;
  /** Until the server is reached, TLS included. */
  readonly connectTimeoutMs: number;
  /** Until the server begins to answer. */
  readonly headersTimeoutMs: number;
  /** That a download may stand still. */
  readonly idleTimeoutMs: number;
  /** That a download must bring in that time. */
  readonly idleMinBytes: number;
  /** Followed, never from https to http. */
  readonly maxRedirects: number;
  /** From public servers to private addresses, and from anywhere to link-local ones. */
  readonly allowPrivateRedirects: boolean;
}

/** A profile in which nothing was set. */
export const PROFILE_DEFAULTS: TransportProfile = {
  insecureSkipVerify: false,
  connectTimeoutMs: 15_000,
  headersTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  idleMinBytes: 65_536,
  maxRedirects: 5,
  allowPrivateRedirects: false,
};
