// The filters of the list calls, for answers that are given from memory: as the runtimes apply them.

import {
  Container,
  Image,
  ListContainersRequest,
  ListImagesRequest,
  ListPodSandboxRequest,
  PodSandbox,
} from "../gen/runtime.ts";
import type { Kind } from "./methods.ts";

/** Whether `item` (a PodSandbox, Container or Image) is asked for by `request`. @throws when either is malformed. */
export function filterOf(kind: Kind, request: Uint8Array): (item: Uint8Array) => boolean {
  if (request.length === 0) return () => true;
  return FILTERS[kind](request);
}

const FILTERS: Readonly<Record<Kind, (request: Uint8Array) => (item: Uint8Array) => boolean>> = {
  PodSandbox: (request) => {
    const { id = "", state, labelSelector = {} } = ListPodSandboxRequest.decode(request).filter ?? {};
    return (item) => {
      const pod = PodSandbox.decode(item);
      return pod.id.startsWith(id) && (!state || pod.state === state.state) && isLabelled(pod.labels, labelSelector);
    };
  },
  Container: (request) => {
    const {
      id = "",
      podSandboxId = "",
      state,
      labelSelector = {},
    } = ListContainersRequest.decode(request).filter ?? {};
    return (item) => {
      const one = Container.decode(item);
      return (
        one.id.startsWith(id) &&
        one.podSandboxId.startsWith(podSandboxId) &&
        (!state || one.state === state.state) &&
        isLabelled(one.labels, labelSelector)
      );
    };
  },
  Image: (request) => {
    const name = ListImagesRequest.decode(request).filter?.image?.image ?? "";
    return (item) => {
      const { id, repoTags, repoDigests } = Image.decode(item);
      return name === "" || id === name || repoTags.includes(name) || repoDigests.includes(name);
    };
  },
};

function isLabelled(labels: Readonly<Record<string, string>>, selector: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([name, value]) => labels[name] === value);
}
