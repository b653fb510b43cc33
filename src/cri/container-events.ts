import type { Engine } from "../engine/engine.ts";
import type { PodEvent } from "../engine/pod-events.ts";
import { type ContainerEventResponse, ContainerEventType, type GetEventsRequest } from "../gen/runtime.ts";
import { containerStatusesOf } from "./convert-container.ts";
import { podSandboxStatusOf } from "./convert-pod.ts";
import { nanosOf } from "./convert-shared.ts";
import type { Streamed } from "./handler.ts";

const TYPE_OF = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
} as const satisfies Record<PodEvent["type"], ContainerEventType>;

/**
 * Of pods too: an event then has the pod's id where a container's would be, as with other runtimes.
 * @param closing The daemon is about to end, and the stream ends as one that has said everything.
 */
export const containerEvents =
  (engine: Engine, closing: AbortSignal): Streamed<GetEventsRequest, ContainerEventResponse> =>
  (_request, signal) =>
    responses(engine.events.subscribe(AbortSignal.any([signal, closing])), closing);

async function* responses(
  events: AsyncIterable<PodEvent>,
  closing: AbortSignal,
): AsyncGenerator<ContainerEventResponse> {
  try {
    for await (const event of events) yield responseOf(event);
  } catch (error) {
    if (!closing.aborted) throw error;
  }
}

function responseOf({ type, id, atMs, pod, machines }: PodEvent): ContainerEventResponse {
  return {
    containerId: id,
    containerEventType: TYPE_OF[type],
    createdAt: nanosOf(atMs),
    podSandboxStatus: podSandboxStatusOf(pod),
    containersStatuses: containerStatusesOf(machines),
  };
}
