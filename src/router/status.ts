// One node, two runtimes: the Status that the kubelet reads.

import type { Runtimes } from "./choose.ts";
import { messageAt, messageOf, numberAt, numberField, partsAt, textAt, textField, textsAt, without } from "./fields.ts";
import type { Question } from "./runtime.ts";

/** Of StatusResponse. */
const STATUS_FIELD = 1;
const INFO_FIELD = 2;
const HANDLERS_FIELD = 3;
/** Of a runtime handler. */
const NAME_FIELD = 1;

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
  const [own, more] = await Promise.all([
    containers.ask(question, signal),
    machines.ask(question, signal).then(
      (answer) => addedBy(answer, handlers),
      (error: unknown) => addedByDead(error instanceof Error ? error.message : String(error)),
    ),
  ]);
  const conditions = [own, more].map((answer) => messageAt(answer, STATUS_FIELD));
  return Buffer.concat([
    messageOf(STATUS_FIELD, [Buffer.concat(conditions)]),
    without(own, STATUS_FIELD),
    has(more, HANDLERS_FIELD) && !has(own, HANDLERS_FIELD) ? DEFAULT_HANDLER : Buffer.alloc(0),
    without(more, STATUS_FIELD),
  ]);
}

const has = (answer: Uint8Array, field: number): boolean => partsAt(answer, field).length > 0;

/**
 * The nameless one, with no features. containerd 1 names no handlers at all; with ours alone in the list, the kubelet would take that of
 * every container's pod for unknown.
 */
const DEFAULT_HANDLER = messageOf(HANDLERS_FIELD, [Buffer.alloc(0)]);

function addedBy(answer: Uint8Array, handlers: readonly string[]): Uint8Array {
  const conditions = partsAt(messageAt(answer, STATUS_FIELD), 1).map(conditionIn);
  const failing = conditions.find(({ isMet }) => !isMet);
  const { reason = "", message = "" } = failing ?? {};
  const ours = partsAt(answer, HANDLERS_FIELD).filter((handler) => handlers.includes(textAt(handler, NAME_FIELD)));
  return Buffer.concat([
    statusField({ isMet: failing === undefined, reason, message }),
    ...Array.from(textsAt(answer, INFO_FIELD), ([name, text]) => infoField(name, text)),
    messageOf(HANDLERS_FIELD, failing === undefined ? ours : []),
  ]);
}

function addedByDead(message: string): Uint8Array {
  const condition = { isMet: false, reason: "RuntimeUnavailable", message };
  return Buffer.concat([statusField(condition), infoField("error", JSON.stringify(message))]);
}

/** Of RuntimeCondition, without its name. */
interface Condition {
  readonly isMet: boolean;
  readonly reason: string;
  readonly message: string;
}

function conditionIn(condition: Uint8Array): Condition {
  return { isMet: numberAt(condition, 2) !== 0, reason: textAt(condition, 3), message: textAt(condition, 4) };
}

function statusField({ isMet, reason, message }: Condition): Uint8Array {
  const fields = [textField(1, MACHINES_CONDITION), numberField(2, isMet), textField(3, reason), textField(4, message)];
  return messageOf(STATUS_FIELD, [messageOf(1, [Buffer.concat(fields)])]);
}

function infoField(name: string, text: string): Uint8Array {
  return messageOf(INFO_FIELD, [Buffer.concat([textField(1, `vmlet.dev/${name}`), textField(2, text)])]);
}
