// Whom a container's commands run as.

import type { LinuxContainerSecurityContext } from "../gen/runtime.ts";
import { invalid } from "../model/failure.ts";
import type { RunAs } from "../model/machine.ts";
import { quoted } from "./convert-shared.ts";

const FIELD = "config.linux.security_context";
/** The highest one means "no change" in every system call that takes one. */
const MAX_ID = 0xffff_fffen;
const MAX_GROUPS = 1_000;

/** Undefined: root with its own groups. @throws SPEC_INVALID naming the field */
export function runAsOf(security: LinuxContainerSecurityContext | undefined): RunAs | undefined {
  if (security === undefined) return undefined;
  const { runAsUser, runAsGroup, runAsUsername, supplementalGroups } = security;
  if (runAsGroup !== undefined && runAsUser === undefined && runAsUsername === "") {
    // The interface says that this must be an error.
    throw invalid(`${FIELD}.run_as_group`, "must not be set without run_as_user or run_as_username");
  }
  if (supplementalGroups.length > MAX_GROUPS)
    throw invalid(`${FIELD}.supplemental_groups`, `has ${supplementalGroups.length} items, ${MAX_GROUPS} at most`);
  const user = runAsUser === undefined ? userNameOf(runAsUsername) : `${idOf(runAsUser.value, "run_as_user")}`;
  const gid = runAsGroup === undefined ? undefined : idOf(runAsGroup.value, "run_as_group");
  const groups = supplementalGroups.map((group, index) => idOf(group, `supplemental_groups[${index}]`));
  const isRoot = (user === "0" || user === "root") && (gid ?? 0) === 0 && groups.length === 0;
  return isRoot ? undefined : { user, ...(gid === undefined ? {} : { gid }), groups };
}

function userNameOf(name: string): string {
  if (name === "") return "0";
  if (/^[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?$/.test(name)) return name;
  throw invalid(`${FIELD}.run_as_username`, `${quoted(name)} is no user name`);
}

function idOf(value: bigint, field: string): number {
  if (value >= 0n && value <= MAX_ID) return Number(value);
  throw invalid(`${FIELD}.${field}`, `${value} is not between 0 and ${MAX_ID}`);
}
