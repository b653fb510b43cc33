import type { Engine } from "../engine/engine.ts";
import type { PortForwardRequest, PortForwardResponse } from "../gen/runtime.ts";
import { invalid } from "../model/failure.ts";
import { findPodId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** A WebSocket has two channels a port, and 256 channels. */
const MAX_PORTS = 127;

export const portForward =
  (engine: Engine): Unary<PortForwardRequest, PortForwardResponse> =>
  async ({ podSandboxId, port: ports }, signal) => {
    if (podSandboxId === "") throw invalid("pod_sandbox_id", "is missing");
    if (ports.length > MAX_PORTS) throw invalid("port", `has ${ports.length} items, ${MAX_PORTS} at most`);
    const wrong = ports.find((port) => port < 1 || port > 65_535);
    if (wrong !== undefined) throw invalid("port", `${wrong} is no TCP port`);
    return { url: await engine.openPortForward(findPodId(engine, podSandboxId), ports, signal) };
  };
