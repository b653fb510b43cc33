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
import type { Streamed, Unary } from "./handler.ts";

export const listContainers =
  (engine: Engine): Unary<ListContainersRequest, ListContainersResponse> =>
  ({ filter }) => ({ containers: list(engine, filter) });

export const streamContainers = (engine: Engine): Streamed<StreamContainersRequest, StreamContainersResponse> =>
  function* ({ filter }) {
    for (const containers of inPieces(list(engine, filter))) yield { containers };
  };

function list({ pods }: Engine, filter: ContainerFilter | undefined): Container[] {
  return pods
    .machines()
    .filter(isListed)
    .map(containerOf)
    .filter((container) => matchesContainerFilter(container, filter));
}
