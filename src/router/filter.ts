// The filters of the list calls, for answers that are given from memory: as the runtimes apply them.

import { messageAt, messageOf, numberAt, partsAt, textAt, textsAt } from "./fields.ts";
import type { Kind } from "./methods.ts";

/** Whether `item` (a PodSandbox, Container or Image) is asked for by `request`. @throws when either is malformed. */
export function filterOf(kind: Kind, request: Uint8Array): (item: Uint8Array) => boolean {
  if (request.length === 0) return () => true;
  return FILTERS[kind](messageAt(request, FILTER_FIELD));
}

/** No filter, or one that asks for nothing: the kubelet lists containers with such a one. */
export function isUnfiltered(request: Uint8Array): boolean {
  return request.length === 0 || Buffer.compare(request, EMPTY_FILTER) === 0;
}

/** Of each list's request. */
const FILTER_FIELD = 1;
/** As it stands on the wire. */
const EMPTY_FILTER = messageOf(FILTER_FIELD, [new Uint8Array()]);

const FILTERS: Readonly<Record<Kind, (filter: Uint8Array) => (item: Uint8Array) => boolean>> = {
  PodSandbox: (filter) => {
    const id = textAt(filter, 1);
    const hasState = stateOf(filter, 2);
    const isLabelled = labelsOf(filter, 3);
    return (pod) => textAt(pod, 1).startsWith(id) && hasState(numberAt(pod, 3)) && isLabelled(textsAt(pod, 5));
  },
  Container: (filter) => {
    const id = textAt(filter, 1);
    const hasState = stateOf(filter, 2);
    const podSandboxId = textAt(filter, 3);
    const isLabelled = labelsOf(filter, 4);
    return (container) =>
      textAt(container, 1).startsWith(id) &&
      textAt(container, 2).startsWith(podSandboxId) &&
      hasState(numberAt(container, 6)) &&
      isLabelled(textsAt(container, 8));
  },
  Image: (filter) => {
    const name = textAt(filter, 1, 1);
    const namesOf = (image: Uint8Array): string[] =>
      [1, 2, 3].flatMap((field) => partsAt(image, field).map((text) => Buffer.from(text).toString()));
    return (image) => name === "" || namesOf(image).includes(name); // its id, tags and digests
  },
};

/** A filter's state is a message of its own: that there is none is something else than the first state. */
function stateOf(filter: Uint8Array, field: number): (state: number) => boolean {
  const [wanted] = partsAt(filter, field).slice(-1);
  return (state) => wanted === undefined || state === numberAt(wanted, 1);
}

function labelsOf(filter: Uint8Array, field: number): (labels: ReadonlyMap<string, string>) => boolean {
  const selector = [...textsAt(filter, field)];
  return (labels) => selector.every(([name, value]) => labels.get(name) === value);
}
