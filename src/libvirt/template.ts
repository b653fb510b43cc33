// Domain templates: libvirt domains that an admin can read and edit, loaded and checked before code fills them in.

import { constants } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { errorCodeOf } from "../lib/error-code.ts";
import { invalid, VmletError } from "../model/failure.ts";
import { child, parseXml, type XmlElement } from "./xml.ts";

/** A template that has every device which code must fill in. Never changed: rendering works on a copy. */
export interface DomainTemplate {
  readonly path: string;
  readonly domain: XmlElement;
}

interface RoleFacts {
  readonly alias: string;
  readonly device: string;
  readonly type: readonly string[];
  readonly isOptional?: true;
}

/**
 * Devices that code fills in, found by `<alias name='…'/>` so that an admin may add others of the same kind. `type` is
 * what makes the device fit what code fills in. Every template must have them, but for those that are optional.
 */
const ROLES = {
  root: { alias: "ua-vmlet-root", device: "disk", type: ["file"] },
  seed: { alias: "ua-vmlet-seed", device: "disk", type: ["file"] },
  nic: { alias: "ua-vmlet-nic", device: "interface", type: ["ethernet"] },
  console: { alias: "ua-vmlet-console", device: "serial", type: ["unix", "file", "pty"] },
  initReport: { alias: "ua-vmlet-init", device: "channel", type: ["file"] },
  ssh: { alias: "ua-vmlet-ssh", device: "channel", type: ["unix"], isOptional: true },
} as const satisfies Record<string, RoleFacts>;

export type Role = keyof typeof ROLES;
type OptionalRole = "ssh";

/** A domain takes some 5 KiB; libvirt itself stops at 4 MiB. */
const MAX_TEMPLATE_BYTES = 256 * 1024;
const FIELD = 'config.annotations["vmlet.dev/template"]';
const TEMPLATE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** True when `name` can be a template's: it is a path component and nothing else. */
function isTemplateName(name: string): boolean {
  return TEMPLATE_NAME.test(name);
}

/**
 * Reads `<folderPath>/<name>.xml`.
 * @throws SPEC_INVALID for a name that cannot be one or that no file has; TEMPLATE_INVALID naming the file and why.
 */
export async function loadTemplate(folderPath: string, name: string, signal: AbortSignal): Promise<DomainTemplate> {
  if (!isTemplateName(name)) {
    throw invalid(FIELD, `${JSON.stringify(name.slice(0, 80))} is not a template name (a-z, 0-9, "-")`);
  }
  const path = join(folderPath, `${name}.xml`);
  const text = await readTemplate(path, signal);
  if (text === undefined) {
    const known = await templateNames(folderPath);
    throw invalid(
      "vmlet.dev/template",
      `there is no template ${name} in ${folderPath}; there are: ${known.join(", ")}`,
    );
  }
  return parseTemplate(path, text);
}

/** @throws TEMPLATE_INVALID */
export function parseTemplate(path: string, text: string): DomainTemplate {
  let domain: XmlElement;
  try {
    domain = parseXml(text);
  } catch (error) {
    throw broken(path, `not valid XML: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  if (domain.name !== "domain") throw broken(path, `its root element is <${domain.name}>, not <domain>`);
  for (const role of Object.keys(ROLES)) checkRole(path, domain, role as Role);
  return { path, domain };
}

/** The one device that plays `role`. */
export function deviceOf(template: DomainTemplate, role: Exclude<Role, OptionalRole>): XmlElement {
  return found(template, role) ?? missing(template.path, role);
}

/** The device that plays `role`, if the template has one. */
export function optionalDeviceOf(template: DomainTemplate, role: OptionalRole): XmlElement | undefined {
  return found(template, role);
}

function found({ path, domain }: DomainTemplate, role: Role): XmlElement | undefined {
  const { alias } = ROLES[role];
  const [first, second] = devicesOf(domain).filter((each) => child(each, "alias")?.attributes["name"] === alias);
  if (second !== undefined) throw broken(path, `it has more than one device with <alias name="${alias}"/>`);
  return first;
}

function missing(path: string, role: Role): never {
  const { alias, device } = ROLES[role];
  throw broken(path, `it has no <${device}> with <alias name="${alias}"/>`);
}

export function devicesOf(domain: XmlElement): readonly XmlElement[] {
  return child(domain, "devices")?.children ?? [];
}

function checkRole(path: string, domain: XmlElement, role: Role): void {
  const { alias, device, type, isOptional }: RoleFacts = ROLES[role];
  const each = found({ path, domain }, role);
  if (each === undefined) return isOptional ? undefined : missing(path, role);
  if (each.name !== device) throw broken(path, `the device ${alias} is a <${each.name}>, not a <${device}>`);
  const given = each.attributes["type"] ?? "";
  if (!type.includes(given)) {
    throw broken(
      path,
      `the <${device}> ${alias} has type="${given}", not ${type.map((each) => `"${each}"`).join(" or ")}`,
    );
  }
}

async function readTemplate(path: string, signal: AbortSignal): Promise<string | undefined> {
  signal.throwIfAborted();
  try {
    // Not blocking: a fifo in the folder must not hang the daemon.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile()) throw broken(path, "it is not a file");
    if (stat.size > MAX_TEMPLATE_BYTES)
      throw broken(path, `it has ${stat.size} bytes, more than ${MAX_TEMPLATE_BYTES}`);
    return await file.readFile({ encoding: "utf8", signal });
  } catch (error) {
    if (error instanceof VmletError) throw error;
    signal.throwIfAborted();
    if (isErrno(error, "ENOENT")) return undefined;
    throw broken(path, `cannot be read: ${error instanceof Error ? error.message : String(error)}`, error);
  }
}

async function templateNames(folderPath: string): Promise<readonly string[]> {
  const files = await readdir(folderPath).catch(() => []);
  const names = files.filter((file) => file.endsWith(".xml")).map((file) => file.slice(0, -".xml".length));
  return names.length === 0 ? ["none"] : names.toSorted();
}

function isErrno(error: unknown, code: string): boolean {
  return errorCodeOf(error) === code;
}

function broken(path: string, why: string, cause?: unknown): VmletError {
  return new VmletError({ code: "TEMPLATE_INVALID", path }, `domain template ${path}: ${why}`, { cause });
}
