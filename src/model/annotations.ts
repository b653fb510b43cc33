// What a pod's author may ask of vmlet beside the pod spec: annotations under vmlet.dev/.

import { invalid } from "./failure.ts";
import { parseBytes } from "./quantity.ts";

export interface Annotations {
  /** Any kind of cloud-init user-data, verbatim; empty: none. */
  readonly userData: string;
  /** One OpenSSH public key each. */
  readonly sshKeys: readonly string[];
  /** Name of a domain template on the node. */
  readonly template: string;
  /** Size of the root disk; never below the image's. */
  readonly rootSizeBytes?: number;
  /** The user whose commands exec runs in the guest. */
  readonly execUser: string;
  /** How exec gets into the guest: `auto` is by ssh where the guest serves it, else by its agent. */
  readonly execWay: ExecWay;
  /** Annotations of ours that this version does not know. */
  readonly notices: readonly string[];
}

type ExecWay = "auto" | "ssh" | "agent";

const PREFIX = "vmlet.dev/";
export const EXEC_USER_ANNOTATION = `${PREFIX}exec-user`;
const KNOWN = ["user-data", "ssh-keys", "template", "root-size", "exec-user", "exec-way"];
const EXEC_WAYS: readonly string[] = ["auto", "ssh", "agent"] satisfies ExecWay[];
const MAX_USER_DATA_BYTES = 256 << 10; // the API server's own limit for all annotations together
/** A certificate with many principals has some 4 KiB. Far below what SSH_KEY's search for the type takes noticeable time for. */
const MAX_SSH_KEY_CHARS = 8 << 10;
const MAX_SSH_KEYS = 64;
/** Beyond it the tables of an empty disk alone take megabytes of the node, and soon more than QEMU takes. */
const MAX_ROOT_BYTES = 64 * 2 ** 40;
/** Options, if any, then type, key and comment. Control characters and the like would break the guest's YAML. */
const SSH_KEY =
  /^(?:[\x20-\x7e]+ )?(?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}(?: [^\p{Cc}\p{Cs}\p{Cn}\p{Zl}\p{Zp}]*)?$/u;

/** @throws SPEC_INVALID naming the annotation. */
export function parseAnnotations(annotations: Readonly<Record<string, string>>): Annotations {
  const value = (name: string): string => annotations[PREFIX + name] ?? "";
  const unknown = Object.keys(annotations).filter(
    (key) => key.startsWith(PREFIX) && !KNOWN.includes(key.slice(PREFIX.length)),
  );
  const rootSize = value("root-size");
  return {
    userData: userDataOf(value("user-data")),
    sshKeys: sshKeysOf(value("ssh-keys")),
    template: templateOf(value("template")),
    ...(rootSize === "" ? {} : { rootSizeBytes: sizeOf(rootSize) }),
    execUser: userOf(value("exec-user")),
    execWay: wayOf(value("exec-way")),
    notices: unknown.map((key) => `annotation ${key} is not known to this version of vmlet`),
  };
}

const field = (name: string): string => `config.annotations["${PREFIX}${name}"]`;

function userDataOf(text: string): string {
  if (Buffer.byteLength(text) > MAX_USER_DATA_BYTES)
    throw invalid(field("user-data"), `more than ${MAX_USER_DATA_BYTES} bytes`);
  if (text.includes("\0")) throw invalid(field("user-data"), "must not contain a NUL character");
  return text;
}

function sshKeysOf(text: string): readonly string[] {
  const lines = text.split("\n").map((line) => line.trim());
  const keys = lines.filter((line) => line !== "" && !line.startsWith("#"));
  if (keys.length > MAX_SSH_KEYS) throw invalid(field("ssh-keys"), `${keys.length} keys, at most ${MAX_SSH_KEYS}`);
  const long = keys.findIndex((key) => key.length > MAX_SSH_KEY_CHARS);
  if (long >= 0) throw invalid(field("ssh-keys"), `key ${long + 1} is longer than ${MAX_SSH_KEY_CHARS} characters`);
  const bad = keys.findIndex((key) => !SSH_KEY.test(key));
  if (bad >= 0) throw invalid(field("ssh-keys"), `key ${bad + 1} is not an OpenSSH public key; one key a line`);
  return keys;
}

function templateOf(name: string): string {
  if (name === "") return "linux";
  if (/^[a-z0-9][a-z0-9-]{0,62}$/.test(name)) return name;
  throw invalid(
    field("template"),
    `${JSON.stringify(name.slice(0, 80))} is no template name: lower-case letters, digits and dashes`,
  );
}

function userOf(name: string): string {
  if (name === "") return "root";
  if (/^[A-Za-z_][A-Za-z0-9_.-]{0,30}$/.test(name)) return name;
  throw invalid(
    field("exec-user"),
    `${JSON.stringify(name.slice(0, 80))} is no user name: at most 31 letters, digits, "_", "-" and ".", no digit first`,
  );
}

function wayOf(name: string): ExecWay {
  if (name === "") return "auto";
  if (EXEC_WAYS.includes(name)) return name as ExecWay;
  throw invalid(field("exec-way"), `${JSON.stringify(name.slice(0, 80))} is none of ${EXEC_WAYS.join(", ")}`);
}

function sizeOf(text: string): number {
  const bytes = parseBytes(text);
  if (bytes !== undefined && bytes > MAX_ROOT_BYTES) throw invalid(field("root-size"), `${text} is more than 64Ti`);
  if (bytes !== undefined && bytes > 0) return Math.ceil(bytes / 512) * 512;
  throw invalid(field("root-size"), `${JSON.stringify(text.slice(0, 80))} is no size such as 20Gi`);
}
