// Who QEMU runs as on this node, as far as /etc/passwd and /etc/group tell it.

import { readFile } from "node:fs/promises";

export interface QemuUser {
  readonly uid: number;
  /** One that its processes have: its own, where it has one that nobody else is in. */
  readonly gid: number;
}

/** As Debian's and Red Hat's packages of libvirt make it. */
export const QEMU_USERS = ["libvirt-qemu", "qemu"];

/** Undefined when there is none: then QEMU is root, or somebody of whom only its configuration knows. */
export async function findQemuUser(): Promise<QemuUser | undefined> {
  const [passwd, group] = await Promise.all([readFile("/etc/passwd", "utf8"), readFile("/etc/group", "utf8")]);
  return qemuUserIn(passwd, group);
}

export function qemuUserIn(passwd: string, group: string): QemuUser | undefined {
  const entryOf = (text: string, name: string): readonly string[] | undefined =>
    text
      .split("\n")
      .map((line) => line.split(":"))
      .find((fields) => fields[0] === name);
  for (const name of QEMU_USERS) {
    const [, , uid, primary] = entryOf(passwd, name) ?? [];
    if (uid === undefined || primary === undefined) continue;
    // Its primary group may be kvm, in which people are, too. libvirt gives QEMU all that the user is a member of.
    const [, , own, members = ""] = entryOf(group, name) ?? [];
    const isMember = own !== undefined && members.split(",").includes(name);
    return { uid: Number(uid), gid: Number(isMember ? own : primary) };
  }
  return undefined;
}
