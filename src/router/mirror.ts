// What one runtime was last known to have: whose an id is, and what a list says while the runtime cannot be asked.

import { Container, ContainerState, PodSandbox, PodSandboxState } from "../gen/runtime.ts";
import { messageOf, partsAt, textAt } from "./fields.ts";
import { filterOf } from "./filter.ts";
import type { Kind } from "./methods.ts";

export type Items = Readonly<Record<Kind, readonly Uint8Array[]>>;

const ID_FIELD = 1;
const LIST_FIELD = 1;
/** Of PodSandbox. */
const METADATA_FIELD = 2;
const UID_FIELD = 2;
/** Of Container. */
const SANDBOX_ID_FIELD = 2;
const ANSWERS_KEPT = 32;

/**
 * Items are kept as the bytes they came in: fields that we do not know are not lost. Between two lists it follows the
 * calls that pass: a pod that was made a moment ago is in it.
 */
export class Mirror {
  readonly #items: Readonly<Record<Kind, Map<string, Uint8Array>>> = {
    PodSandbox: new Map(),
    Container: new Map(),
    Image: new Map(),
  };
  readonly #wholeLists = new Map<Kind, Uint8Array>();
  readonly #answers = new Map<string, readonly Uint8Array[]>();
  readonly #onChange: () => void;
  #changes = 0;

  constructor(items: Items, onChange: () => void) {
    this.#onChange = onChange;
    for (const kind of Object.keys(items) as Kind[])
      for (const item of items[kind]) this.#items[kind].set(textAt(item, ID_FIELD), item);
  }

  /** How often something was changed by a call that passed. A list that was asked for before that is not the last word. */
  get changes(): number {
    return this.#changes;
  }

  /** What a list said. `isWhole`: it had no filter, and nothing was changed while it was under way. */
  learn(kind: Kind, list: Uint8Array, { isWhole }: { readonly isWhole: boolean }): void {
    const known = this.#wholeLists.get(kind);
    if (isWhole && known !== undefined && Buffer.compare(known, list) === 0) return;
    const items = this.#items[kind];
    const found = partsAt(list, LIST_FIELD);
    if (isWhole) items.clear();
    for (const item of found) items.set(textAt(item, ID_FIELD), item);
    if (isWhole) this.#wholeLists.set(kind, list);
    else this.#wholeLists.delete(kind);
    this.#onChange();
  }

  /** Something was made. */
  put(kind: "PodSandbox" | "Container", item: Uint8Array): void {
    this.#edit(kind, (items) => void items.set(textAt(item, ID_FIELD), item));
  }

  /** Its state is another: in protobuf the last value of a field counts, whatever else we know of it. */
  setContainerState(id: string, state: ContainerState): void {
    this.#append("Container", id, Container.encode(Container.fromPartial({ state })).finish());
  }

  /** It stopped, and with it whatever is in it. */
  stopSandbox(id: string): void {
    const stopped = PodSandbox.fromPartial({ state: PodSandboxState.SANDBOX_NOTREADY });
    this.#append("PodSandbox", id, PodSandbox.encode(stopped).finish());
    for (const container of this.#containersOf(id)) this.setContainerState(container, ContainerState.CONTAINER_EXITED);
  }

  removeContainer(id: string): void {
    this.#edit("Container", (items) => void items.delete(id));
  }

  /** It is gone, and with it whatever was in it. */
  removeSandbox(id: string): void {
    for (const container of this.#containersOf(id)) this.removeContainer(container);
    this.#edit("PodSandbox", (items) => void items.delete(id));
  }

  /** The whole id of the one that `beginning` begins, or is. */
  find(kind: Kind, beginning: string): string | undefined {
    const items = this.#items[kind];
    if (items.has(beginning)) return beginning;
    if (beginning === "") return undefined;
    const found = [...items.keys()].filter((id) => id.startsWith(beginning));
    return found.length === 1 ? found[0] : undefined;
  }

  hasPodOf(uid: string): boolean {
    return (
      uid !== "" && [...this.#items.PodSandbox.values()].some((pod) => textAt(pod, METADATA_FIELD, UID_FIELD) === uid)
    );
  }

  /** What the list call of that kind would have answered when we last knew. */
  answer(kind: Kind, request: Uint8Array): Uint8Array {
    return messageOf(LIST_FIELD, this.#items[kind].values().filter(filterOf(kind, request)));
  }

  /** The same for lists that are not looked into: what the same question was answered last. */
  keepAnswer(path: string, request: Uint8Array, answer: readonly Uint8Array[]): void {
    const key = keyOf(path, request);
    this.#answers.delete(key);
    this.#answers.set(key, answer);
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > ANSWERS_KEPT && oldest !== undefined) this.#answers.delete(oldest);
  }

  lastAnswer(path: string, request: Uint8Array): readonly Uint8Array[] {
    return this.#answers.get(keyOf(path, request)) ?? [];
  }

  items(): Items {
    const { PodSandbox: pods, Container: containers, Image: images } = this.#items;
    return { PodSandbox: [...pods.values()], Container: [...containers.values()], Image: [...images.values()] };
  }

  #containersOf(sandboxId: string): string[] {
    const of = ([, item]: [string, Uint8Array]): boolean => textAt(item, SANDBOX_ID_FIELD) === sandboxId;
    return [...this.#items.Container].filter(of).map(([id]) => id);
  }

  #append(kind: Kind, id: string, fields: Uint8Array): void {
    this.#edit(kind, (items) => {
      const item = items.get(id);
      if (item !== undefined) items.set(id, Buffer.concat([item, fields]));
    });
  }

  #edit(kind: Kind, change: (items: Map<string, Uint8Array>) => void): void {
    change(this.#items[kind]);
    this.#wholeLists.delete(kind);
    this.#changes += 1;
    this.#onChange();
  }
}

const keyOf = (path: string, request: Uint8Array): string => `${path} ${Buffer.from(request).toString("base64")}`;
