// What a call that succeeded changed: so that the mirror has it before the next list does.

import { messageAt, messageOf, numberField, partsAt, textAt, textField } from "./fields.ts";
import { CONTAINER_STATE, type Mirror } from "./mirror.ts";

const ID_FIELD = 1;
const RUNTIME = "/runtime.v1.RuntimeService/";

/** Whether a call's success must be told to a mirror. */
export function isChange(path: string): boolean {
  return CHANGES.has(path);
}

/** Whether it made something that a list must not lack from then on. */
export function isCreation(path: string): boolean {
  return path === `${RUNTIME}RunPodSandbox` || path === `${RUNTIME}CreateContainer`;
}

/** Whether it ends something: CRI wants that to succeed also where there is nothing to end. */
export function isEnd(path: string): boolean {
  return isChange(path) && /\/(Stop|Remove)\w+$/.test(path);
}

/** What is malformed teaches nothing: the call has succeeded, and its caller is to have the answer as it is. */
export function learnChange(mirror: Mirror, path: string, request: Uint8Array, answer: Uint8Array): void {
  try {
    CHANGES.get(path)?.(mirror, request, answer);
  } catch {}
}

type Change = (mirror: Mirror, request: Uint8Array, answer: Uint8Array) => void;

const wholeId = (mirror: Mirror, kind: "PodSandbox" | "Container", request: Uint8Array): string => {
  const given = textAt(request, ID_FIELD);
  return mirror.find(kind, given) ?? given;
};

const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;

/** What `from` has under the one number goes under the other, as it is. */
const moved = (from: Uint8Array, numbers: Readonly<Record<number, number>>): Uint8Array[] =>
  Object.entries(numbers).map(([number, to]) => messageOf(to, partsAt(from, Number(number))));

const CHANGES: ReadonlyMap<string, Change> = new Map<string, Change>([
  [
    `${RUNTIME}RunPodSandbox`,
    (mirror, request, answer) => {
      const [config, handler] = [messageAt(request, 1), textAt(request, 2)];
      const pod = [
        textField(1, textAt(answer, ID_FIELD)),
        ...moved(config, { 1: 2, 6: 5, 7: 6 }), // metadata, labels, annotations
        numberField(4, nowNs()),
        textField(7, handler),
      ];
      mirror.put("PodSandbox", Buffer.concat(pod));
    },
  ],
  [
    `${RUNTIME}CreateContainer`,
    (mirror, request, answer) => {
      const config = messageAt(request, 2);
      const image = textAt(config, 2, 1);
      const container = [
        textField(1, textAt(answer, ID_FIELD)),
        textField(2, wholeId(mirror, "PodSandbox", request)),
        ...moved(config, { 1: 3, 2: 4, 9: 8, 10: 9 }), // metadata, image, labels, annotations
        textField(5, image),
        numberField(7, nowNs()),
        textField(10, image),
      ];
      mirror.put("Container", Buffer.concat(container));
    },
  ],
  [
    `${RUNTIME}StartContainer`,
    (mirror, request) => mirror.setContainerState(wholeId(mirror, "Container", request), CONTAINER_STATE.RUNNING),
  ],
  [
    `${RUNTIME}StopContainer`,
    (mirror, request) => mirror.setContainerState(wholeId(mirror, "Container", request), CONTAINER_STATE.EXITED),
  ],
  [`${RUNTIME}RemoveContainer`, (mirror, request) => mirror.removeContainer(wholeId(mirror, "Container", request))],
  [`${RUNTIME}StopPodSandbox`, (mirror, request) => mirror.stopSandbox(wholeId(mirror, "PodSandbox", request))],
  [`${RUNTIME}RemovePodSandbox`, (mirror, request) => mirror.removeSandbox(wholeId(mirror, "PodSandbox", request))],
]);
