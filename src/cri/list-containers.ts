import type { Engine } from "../engine/engine.ts";
import type {
  Container,
  ContainerFilter,
  ListContainersRequest,
  ListContainersResponse,
  StreamContainersRequest,
  StreamContainersResponse,
} from "../gen/runtime.ts";
import { containerOf, isListed, matchesContainerFilter } from "./convert-container.ts";
import { inPieces } from "./convert-shared.ts";
import { findMachineId, findPodId } from "./find.ts";
import type { Streamed, Unary } from "./handler.ts";
import { keptUntilChange } from "./kept-answers.ts";

export function listContainers(engine: Engine): Unary<ListContainersRequest, ListContainersResponse> {
  const answer = keptUntilChange(engine, (filter: ContainerFilter | undefined) => ({
    containers: list(engine, filter),
  }));
  return ({ filter }) => answer(filter);
}

export const streamContainers = (engine: Engine): Streamed<StreamContainersRequest, StreamContainersResponse> =>
  function* ({ filter }) {
    for (const containers of inPieces(list(engine, filter))) yield { containers };
  };

/** The filter's ids may be beginnings of ids, as people copy them from crictl's tables. */
function list(engine: Engine, filter: ContainerFilter | undefined): Container[] {
  const whole = filter && {
    ...filter,
    id: findMachineId(engine, filter.id),
    podSandboxId: findPodId(engine, filter.podSandboxId),
  };
  return engine.pods
    .machines()
    .filter(isListed)
    .map(containerOf)
    .filter((container) => matchesContainerFilter(container, whole));
}
