import type { Engine } from "../engine/engine.ts";
import type { AttachRequest, AttachResponse } from "../gen/runtime.ts";
import { invalid } from "../model/failure.ts";
import { streamsWanted } from "./convert-streams.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const attach =
  (engine: Engine): Unary<AttachRequest, AttachResponse> =>
  async (request, signal) => {
    if (request.containerId === "") throw invalid("container_id", "is missing");
    const wanted = streamsWanted(request);
    return { url: await engine.openAttach(findMachineId(engine, request.containerId), wanted, signal) };
  };
