import type { Engine } from "../engine/engine.ts";
import type {
  ContainerStats,
  ContainerStatsFilter,
  ListContainerStatsRequest,
  ListContainerStatsResponse,
  StreamContainerStatsRequest,
  StreamContainerStatsResponse,
} from "../gen/runtime.ts";
import { inPieces, matchesLabels } from "./convert-shared.ts";
import { containerStatsOf } from "./convert-stats.ts";
import { findMachineId, findPodId } from "./find.ts";
import type { Streamed, Unary } from "./handler.ts";

export const listContainerStats =
  (engine: Engine): Unary<ListContainerStatsRequest, ListContainerStatsResponse> =>
  async ({ filter }) => ({ stats: await list(engine, filter) });

export const streamContainerStats = (
  engine: Engine,
): Streamed<StreamContainerStatsRequest, StreamContainerStatsResponse> =>
  async function* ({ filter }) {
    for (const containerStats of inPieces(await list(engine, filter))) yield { containerStats };
  };

/** Of containers that run. */
async function list(engine: Engine, filter: ContainerStatsFilter | undefined): Promise<ContainerStats[]> {
  const machineId = findMachineId(engine, filter?.id ?? "");
  const podId = findPodId(engine, filter?.podSandboxId ?? "");
  const wanted = engine.pods
    .machines()
    .filter(
      ({ facts }) =>
        (machineId === "" || facts.machineId === machineId) &&
        (podId === "" || facts.podId === podId) &&
        matchesLabels(facts.spec.labels, filter?.labelSelector),
    );
  return (await engine.stats.running(wanted)).map(containerStatsOf);
}
