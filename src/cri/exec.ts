import type { Engine } from "../engine/engine.ts";
import type { ExecRequest, ExecResponse } from "../gen/runtime.ts";
import { invalid } from "../model/failure.ts";
import { streamsWanted } from "./convert-streams.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const exec =
  (engine: Engine): Unary<ExecRequest, ExecResponse> =>
  async (request, signal) => {
    if (request.containerId === "") throw invalid("container_id", "is missing");
    const command = { argv: request.cmd, wanted: streamsWanted(request) };
    return { url: await engine.openExec(findMachineId(engine, request.containerId), command, signal) };
  };
