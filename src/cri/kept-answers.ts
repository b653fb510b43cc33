// A kubelet asks for the same lists every second, and most of the time nothing has changed: then the answer of before is
// given again, and not even encoded again.

import type { MethodDefinition } from "@grpc/grpc-js";
import type { Engine } from "../engine/engine.ts";

/** A kubelet asks with two or three filters again and again; people with more. */
const MAX_KEPT = 8;

/** The same answer, to the letter, as long as no pod and no machine has changed. Whoever gets it MUST NOT change it. */
export function keptUntilChange<Filter extends object, Answer extends object>(
  { pods }: Pick<Engine, "pods">,
  answer: (filter: Filter | undefined) => Answer,
): (filter: Filter | undefined) => Answer {
  const kept = new Map<string, Answer>();
  let revision = pods.revision;
  return (filter) => {
    if (revision !== pods.revision || kept.size >= MAX_KEPT) kept.clear();
    revision = pods.revision;
    const key = JSON.stringify(filter ?? {});
    const known = kept.get(key);
    if (known !== undefined) return known;
    const made = answer(filter);
    kept.set(key, made);
    return made;
  };
}

/** For a method whose answers are given again: each is encoded once. */
export function encodedOnce<Request, Answer extends object>(
  method: MethodDefinition<Request, Answer>,
): MethodDefinition<Request, Answer> {
  const encoded = new WeakMap<Answer, Buffer>();
  return {
    ...method,
    responseSerialize: (answer) => {
      const known = encoded.get(answer);
      if (known !== undefined) return known;
      const bytes = method.responseSerialize(answer);
      encoded.set(answer, bytes);
      return bytes;
    },
  };
}
