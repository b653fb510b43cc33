// The guest's agent, through libvirt. What it answers is a stranger's word: parsed as JSON here, checked by who asked.

import { printable } from "../lib/printable.ts";
import { VmletError } from "../model/failure.ts";
import type { AgentCommand } from "../ports/hypervisor.ts";
import type { LibvirtClient } from "./client/client.ts";
import { type DomainRef, procedures } from "./client/messages.ts";
import { isRefused, LIBVIRT_ERROR } from "./errors.ts";

/** Nothing that we ask takes long. libvirt's own test whether anybody listens comes before it, and has 5 s. */
const ANSWER_SECONDS = 10;
/** Nothing that we ask has as many values in its answer. Millions, in libvirt's 4 MiB, would take us seconds, time and again. */
const MAX_VALUES = 20_000;
/** Of why it was refused: the end of that is the guest's own words. */
const MAX_REASON_CHARS = 500;

export async function askAgent(
  client: LibvirtClient,
  domain: DomainRef,
  command: AgentCommand,
  signal: AbortSignal,
): Promise<unknown> {
  const args = { domain, command: JSON.stringify(command), timeoutSeconds: ANSWER_SECONDS, flags: 0 };
  try {
    const { result } = await client.call(procedures.agentCommand, args, { domain }, signal);
    return returnedBy(result ?? "");
  } catch (error) {
    throw explained(error, domain.name, command.execute);
  }
}

function returnedBy(answer: string): unknown {
  if (hasTooManyValues(answer)) throw new SyntaxError(`an answer of more than ${MAX_VALUES} values`);
  const parsed: unknown = JSON.parse(answer); // throws for nonsense
  if (typeof parsed === "object" && parsed !== null && "return" in parsed) return parsed.return;
  throw new SyntaxError("an answer without a return value");
}

/** Before each value but the first stands one of these. Those within strings count, too: there are none in base64. */
function hasTooManyValues(json: string): boolean {
  let count = 0;
  for (const mark of [",", "[", "{"]) {
    for (let at = json.indexOf(mark); at !== -1; at = json.indexOf(mark, at + 1)) {
      count += 1;
      if (count > MAX_VALUES) return true;
    }
  }
  return false;
}

function explained(error: unknown, domain: string, command: string): unknown {
  const why = printable((error instanceof Error ? error.message : String(error)).slice(0, MAX_REASON_CHARS));
  const { agentUnresponsive, argumentUnsupported, internalError } = LIBVIRT_ERROR;
  if (isRefused(error, agentUnresponsive, argumentUnsupported)) {
    const message = `domain ${domain} has no guest agent that answers: ${why}`;
    return new VmletError({ code: "AGENT_ABSENT", domain }, message, { cause: error });
  }
  const isNonsense = error instanceof SyntaxError || error instanceof RangeError;
  if (isRefused(error, internalError) || isNonsense) {
    const message = `the guest agent of domain ${domain} did not do ${command}: ${why}`;
    return new VmletError({ code: "AGENT_REFUSED", domain, command }, message, { cause: error });
  }
  return error;
}
