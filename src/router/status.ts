// One node, two runtimes: the Status that the kubelet reads.

import { RuntimeStatus, StatusResponse } from "../gen/runtime.ts";
import type { Runtimes } from "./choose.ts";
import { messageAt, messageOf, without } from "./fields.ts";
import type { Question } from "./runtime.ts";

/** Of StatusResponse. */
const STATUS_FIELD = 1;

/** The condition by which a person (and nothing that takes the node away) sees how machines fare. */
const MACHINES_CONDITION = "vmlet.dev/Ready";

/**
 * The containers' runtime's answer, fields that we do not know included, and behind it what the machines' adds. The node is
 * ready when containers are; a dead machines' runtime shows as a condition, and by its handlers not being there.
 */
export async function mergedStatus(
  { containers, machines }: Runtimes,
  question: Question,
  handlers: readonly string[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const [own, added] = await Promise.all([
    containers.ask(question, signal),
    machines.ask(question, signal).then(
      (answer) => addedBy(StatusResponse.decode(answer), handlers),
      (error: unknown) => addedByDead(error instanceof Error ? error.message : String(error)),
    ),
  ]);
  const more = StatusResponse.encode(added).finish();
  const conditions = [own, more].map((answer) => messageAt(answer, STATUS_FIELD));
  return Buffer.concat([
    messageOf(STATUS_FIELD, [Buffer.concat(conditions)]),
    without(own, STATUS_FIELD),
    without(more, STATUS_FIELD),
  ]);
}

function addedBy({ status, info, runtimeHandlers }: StatusResponse, handlers: readonly string[]): StatusResponse {
  const failing = status?.conditions.find((condition) => !condition.status);
  return {
    status: conditionOf(failing === undefined, failing?.reason ?? "", failing?.message ?? ""),
    info: Object.fromEntries(Object.entries(info).map(([name, text]) => [`vmlet.dev/${name}`, text])),
    runtimeHandlers: failing === undefined ? runtimeHandlers.filter(({ name }) => handlers.includes(name)) : [],
    features: undefined,
  };
}

function addedByDead(message: string): StatusResponse {
  return {
    status: conditionOf(false, "RuntimeUnavailable", message),
    info: { "vmlet.dev/error": JSON.stringify(message) },
    runtimeHandlers: [],
    features: undefined,
  };
}

function conditionOf(isReady: boolean, reason: string, message: string): RuntimeStatus {
  return { conditions: [{ type: MACHINES_CONDITION, status: isReady, reason, message }] };
}
