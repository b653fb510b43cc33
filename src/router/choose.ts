// Which of the two runtimes a call is for.

import { messageAt, textAt } from "./fields.ts";
import type { Route } from "./methods.ts";
import type { Runtime } from "./runtime.ts";

export interface Runtimes {
  /** containerd or CRI-O: everything that is not known to be a machine's. */
  readonly containers: Runtime;
  readonly machines: Runtime;
}

export interface ChooseOptions {
  /** Runtime handlers that are machines'. */
  readonly handlers: readonly string[];
  /** Beginnings of image names that are machines'. */
  readonly imagePrefixes: readonly string[];
}

/** ImageSpec. */
const IMAGE_FIELD = 1;
const IMAGE_NAME_FIELD = 1;
const IMAGE_HANDLER_FIELD = 19;
/** Of PullImageRequest, and on to PodSandboxConfig's metadata.uid. */
const PULL_POD_UID_PATH = [3, 1, 2];
const ID_FIELD = 1;

export type ChoosingRoute = Extract<Route, { by: "handler" | "id" | "image" }>;

/** Undefined: the id is not known, and whoever made it can be asked. @throws when the request is malformed. */
export function choose(
  route: ChoosingRoute,
  request: Uint8Array,
  runtimes: Runtimes,
  options: ChooseOptions,
): Runtime | undefined {
  const { containers, machines } = runtimes;
  if (route.by === "handler") return options.handlers.includes(textAt(request, route.field)) ? machines : containers;
  if (route.by === "image") return chooseByImage(request, runtimes, options);
  const id = textAt(request, ID_FIELD);
  const both = [machines, containers];
  const owner = both.find(({ saved: { mirror } }) => mirror.has(route.of, id)); // the usual case, with no look into lists
  return owner ?? both.find(({ saved: { mirror } }) => mirror.find(route.of, id) !== undefined);
}

/** A name says it first, then an id that one of them has, then what the kubelet adds: handler, pod. */
function chooseByImage(
  request: Uint8Array,
  { containers, machines }: Runtimes,
  { handlers, imagePrefixes }: ChooseOptions,
): Runtime | undefined {
  const image = messageAt(request, IMAGE_FIELD);
  const name = textAt(image, IMAGE_NAME_FIELD);
  if (imagePrefixes.some((prefix) => name.startsWith(prefix))) return machines;
  if (hasImage(containers, name)) return containers;
  if (hasImage(machines, name)) return machines;
  const handler = textAt(image, IMAGE_HANDLER_FIELD);
  if (handler !== "") return handlers.includes(handler) ? machines : containers;
  if (machines.saved.mirror.hasPodOf(textAt(request, ...PULL_POD_UID_PATH))) return machines;
  return imageIdIn(name) === undefined ? containers : undefined;
}

function hasImage({ saved: { mirror } }: Runtime, name: string): boolean {
  const id = imageIdIn(name);
  return id !== undefined && mirror.find("Image", id) !== undefined;
}

/** An image's id, or what crictl shows of one. */
function imageIdIn(name: string): string | undefined {
  if (name.startsWith("sha256:")) return name;
  return /^[0-9a-f]{8,64}$/.test(name) ? `sha256:${name}` : undefined;
}
